//! What a feed has shown, and who is shown it.
//!
//! Invariant: a client that subscribes gets the state as of one epoch, and then every message of later ones, because
//! both are taken under one lock with publishing. Messages on their way are shared by all clients: what a slow one has
//! before it costs no more memory than what a fast one has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::receipt::{Receipt, Told};
use crate::limits::{KEPT_BYTES_MAX, MESSAGE_BYTES_MAX, QUEUE_MESSAGES};

/// A message as it goes out, and what it is called where messages have names.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) text: Arc<str>,
    pub(super) kind: &'static str,
    pub(super) id: String,
}

/// The place between the job that publishes and the clients.
pub(super) struct Hub {
    pub(super) name: String,
    shown: Mutex<Shown>,
    out: Sender<Message>,
    settings: Mutex<Settings>,
}

struct Settings {
    clients: Arc<Semaphore>,
    hosts: HashSet<String>,
}

struct Shown {
    run: String,
    epoch: u64,
    kept_max: usize,
    /// By when they were told, the oldest first.
    kept: BTreeMap<u64, Told>,
    of_key: HashMap<String, u64>,
    bytes: usize,
    next: u64,
}

/// A number that no other start has, likely.
fn new_run() -> String {
    format!("{:x}", RandomState::new().hash_one(SystemTime::now()))
}

impl Hub {
    pub(super) fn new(name: String, kept_max: usize, clients: usize) -> Hub {
        let shown = Shown {
            run: new_run(),
            epoch: 0,
            kept_max,
            kept: BTreeMap::new(),
            of_key: HashMap::new(),
            bytes: 0,
            next: 0,
        };
        let settings = Settings { clients: Arc::new(Semaphore::new(clients)), hosts: HashSet::new() };
        let (out, _) = broadcast::channel(QUEUE_MESSAGES);
        Hub { name, shown: Mutex::new(shown), out, settings: Mutex::new(settings) }
    }

    pub(super) fn allow_clients(&self, most: usize) {
        self.settings().clients = Arc::new(Semaphore::new(most));
    }

    pub(super) fn allow_host(&self, host: String) {
        self.settings().hosts.insert(host.to_ascii_lowercase());
    }

    pub(super) fn keep(&self, most: usize) {
        self.shown().kept_max = most;
    }

    pub(super) fn hosts(&self) -> HashSet<String> {
        self.settings().hosts.clone()
    }

    /// Room for one more client.
    pub(super) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let clients = Arc::clone(&self.settings().clients);
        clients.try_acquire_owned().ok()
    }

    pub(super) fn run(&self) -> String {
        self.shown().run.clone()
    }

    /// The state as messages, and all messages that follow it.
    pub(super) fn subscribe(&self, missed: u64) -> (Vec<Message>, Receiver<Message>) {
        let shown = self.shown();
        let messages = self.messages(&shown, "snapshot", missed, 0, &Vec::from_iter(shown.kept.values()));
        (messages, self.out.subscribe())
    }

    /// The state as one object, however large.
    pub(super) fn state(&self) -> String {
        let shown = self.shown();
        let part = Part { kind: "snapshot", part: 1, parts: 1, missed: 0, omitted: 0 };
        self.text(&shown, &part, &Vec::from_iter(shown.kept.values()))
    }

    /// Shows an epoch, unless it has been shown.
    pub(super) fn publish(&self, epoch: u64, receipts: Vec<Receipt>) {
        let mut shown = self.shown();
        if epoch <= shown.epoch && receipts.iter().all(|receipt| receipt.run == shown.run) {
            return;
        }
        self.show(&mut shown, epoch, receipts);
    }

    /// The job starts: goes on with the run of the receipts, or of what was shown in this process; begins anew where
    /// neither is known.
    pub(super) fn recover(&self, last: u64, receipts: Vec<Receipt>) {
        let mut shown = self.shown();
        let run = receipts.first().map(|receipt| receipt.run.clone());
        let goes_on = last > 0 && shown.epoch > 0 && run.as_ref().is_none_or(|run| *run == shown.run);
        if !goes_on {
            shown.kept.clear();
            shown.of_key.clear();
            shown.bytes = 0;
            shown.epoch = 0;
            shown.run = run.filter(|_| last > 0).unwrap_or_else(new_run);
            if last > 0 {
                receipts.into_iter().flat_map(|receipt| receipt.told).for_each(|told| shown.keep(told));
                shown.epoch = last;
            }
            let kept = Vec::from_iter(shown.kept.values());
            self.send(self.messages(&shown, "snapshot", 0, 0, &kept));
        } else if last > shown.epoch {
            self.show(&mut shown, last, receipts);
        }
    }

    fn show(&self, shown: &mut Shown, epoch: u64, receipts: Vec<Receipt>) {
        shown.epoch = epoch;
        let omitted = receipts.iter().map(|receipt| receipt.omitted).sum();
        let told: Vec<Told> = receipts.into_iter().flat_map(|receipt| receipt.told).collect();
        if self.out.receiver_count() > 0 {
            self.send(self.messages(shown, "epoch", 0, omitted, &Vec::from_iter(&told)));
        }
        told.into_iter().for_each(|told| shown.keep(told));
    }

    fn send(&self, messages: Vec<Message>) {
        for message in messages {
            // Without clients it goes nowhere.
            let _ = self.out.send(message);
        }
    }

    fn messages(
        &self,
        shown: &Shown,
        kind: &'static str,
        missed: u64,
        omitted: u64,
        told: &[&Told],
    ) -> Vec<Message> {
        let mut cuts = vec![0];
        let mut bytes = 0;
        for (number, told) in told.iter().enumerate() {
            if bytes + told.bytes() > MESSAGE_BYTES_MAX && bytes > 0 {
                cuts.push(number);
                bytes = 0;
            }
            bytes += told.bytes();
        }
        let parts = cuts.len();
        let ends = cuts.iter().skip(1).copied().chain([told.len()]);
        let pieces = cuts.iter().zip(ends).enumerate();
        let message = |(number, (from, to)): (usize, (&usize, usize))| {
            let part = Part { kind, part: number + 1, parts, missed, omitted };
            let id = format!("{}-{}-{}", shown.run, shown.epoch, part.part);
            Message { text: self.text(shown, &part, &told[*from..to]).into(), kind, id }
        };
        pieces.map(message).collect()
    }

    fn text(&self, shown: &Shown, part: &Part, told: &[&Told]) -> String {
        let Part { kind, part, parts, missed, omitted } = part;
        let (feed, run, epoch) = (Value::from(self.name.as_str()), &shown.run, shown.epoch);
        let mut text = format!(
            "{{\"feed\":{feed},\"kind\":\"{kind}\",\"run\":\"{run}\",\"epoch\":{epoch},\"part\":{part},\
             \"parts\":{parts},\"missed\":{missed},\"omitted\":{omitted},\"records\":["
        );
        for (number, told) in told.iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            told.write(&mut text);
        }
        text.push_str("]}");
        text
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Part {
    kind: &'static str,
    part: usize,
    parts: usize,
    missed: u64,
    omitted: u64,
}

impl Shown {
    fn keep(&mut self, told: Told) {
        if let Some(key) = &told.key {
            if let Some(before) = self.of_key.remove(key) {
                self.bytes -= self.kept.remove(&before).map_or(0, |told| told.bytes());
            }
            if told.value == "null" {
                return;
            }
            self.of_key.insert(key.clone(), self.next);
        }
        self.bytes += told.bytes();
        self.kept.insert(self.next, told);
        self.next += 1;
        while self.kept.len() > self.kept_max || self.bytes > KEPT_BYTES_MAX {
            let Some((_, oldest)) = self.kept.pop_first() else { return };
            self.bytes -= oldest.bytes();
            oldest.key.map(|key| self.of_key.remove(&key));
        }
    }
}
