//! A sink that pushes what a job tells to browsers, as soon as its epoch is committed.
//!
//! Records of an epoch travel in the receipts of its writers: nothing is shown before the commit, and an epoch that a
//! crash kept from being shown is shown by the next start. Invariants: what a client is shown is of committed epochs,
//! in their order; a client never holds up the job, nor another client; everything that is kept has a bound. It does
//! not know what is in a record, and it is no log: who was away gets the newest state, and is told how much it missed.

mod hub;
mod receipt;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use highwater::operators::batch::Batch;
use highwater::operators::codec::{Encode, Json};
use highwater::operators::error::Cause;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::state::Epoch;
use serde::Serialize;
use thiserror::Error;

use crate::limits::{CLIENTS_MAX, EPOCH_BYTES_MAX, KEPT_RECORDS, MESSAGE_BYTES_MAX};
use hub::Hub;
use receipt::{Receipt, Told};

/// Why a feed cannot take a record, or go on with what a state directory has of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeedError {
    /// A record that is no JSON.
    #[error("the feed `{feed}` cannot write record {record} of worker {worker} as JSON: {reason}")]
    Record {
        /// The feed.
        feed: String,
        /// Which worker had the record.
        worker: usize,
        /// Which record of the worker it was, counted from 1.
        record: u64,
        /// Why not.
        reason: String,
    },
    /// A receipt that this sink did not write.
    #[error(
        "what the state has of the feed `{feed}` is damaged ({reason}); was another sink called like it before? \
         give the feed another name in the topology"
    )]
    Receipt {
        /// The feed.
        feed: String,
        /// What is wrong with it.
        reason: String,
    },
}

type TextOf<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;
type Judge<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;

/// Records pushed to browsers: a sink of a topology, and an address of a [`Server`](crate::Server).
///
/// A feed with keys ([`upsert`](Feed::upsert)) shows the latest record of each key: to whoever connects all of them,
/// then those that change; within an epoch only the last of a key. A feed without ([`append`](Feed::append)) shows
/// every record, and to whoever connects the newest ones.
///
/// One address speaks three ways. A WebSocket gets text frames, a request with `Accept: text/event-stream` gets events
/// with the same text, any other `GET` the state as one JSON object. A message is
///
/// ```json
/// {"feed":"prices","kind":"epoch","run":"9a3f0c","epoch":7,"part":1,"parts":1,"missed":0,"omitted":0,
///  "records":[{"key":"tea","value":{"price":3}},{"key":"salt","value":null}]}
/// ```
///
/// | | |
/// | --- | --- |
/// | `kind` | `snapshot`: forget what was shown before, this is the state; `epoch`: what one more epoch changed |
/// | `run`, `epoch`, `part` | which message this is: of the same `run`, drop what is not behind the last one had |
/// | `parts` | into how many messages a snapshot or an epoch was cut, because one is at most 256 KiB |
/// | `missed` | how many messages this client did not get because it was slow; the snapshot makes up for keys |
/// | `omitted` | records of the epoch that nobody gets: too large, or too many |
/// | `value` | the record; `null` says that the key is gone |
///
/// What delivery means: only committed epochs are shown. A client that is connected and reads fast enough gets each of
/// them once, in order. After a crash the last epoch may be pushed again, with the same `run` and number. Who is away
/// gets the state when it comes back, and not what happened between. After a restart of the process the state is what
/// was pushed since then, and the last epoch before it if that told anything. A job that begins anew, as every one
/// without a state directory does, is a new `run`; a restart may be, too, when there is nothing that it could push
/// again.
///
/// A client that does not take a message for 10 seconds, or does not answer pings for 30, is let go. One that falls
/// behind by more than 64 messages gets a snapshot instead. Browsers on other sites are refused: `Origin` must be the
/// address that was asked, and `Host` an IP address, `localhost`, or a name given to [`allow_host`](Feed::allow_host),
/// so that a site cannot reach a server on loopback by giving its own name this machine's address.
///
/// Cost: an epoch's records once in the state, until the next epoch; once in memory for each message that is on its
/// way, for all clients together.
///
/// ```
/// use highwater::prelude::*;
/// use highwater_http::{Feed, Server};
///
/// let counts = Feed::upsert("counts", |(word, _): &(String, u64)| word.clone());
/// let topology = Topology::new("words");
/// let words = topology.source("words", Memory::source(["a", "b", "a"]).unending());
/// words.key_by(|word| word.to_string()).count("count").to_stream().sink("live", counts.clone());
/// let running = Job::new(topology).start()?;
/// let server = Server::new(running.queries()).routes(counts.routes("/live/counts")).start().expect("starts");
/// # drop(server);
/// # Ok::<(), JobError>(())
/// ```
pub struct Feed<T> {
    hub: Arc<Hub>,
    encode: Arc<dyn Encode<T>>,
    key: Option<TextOf<T>>,
    is_gone: Option<Judge<T>>,
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        let (hub, encode) = (Arc::clone(&self.hub), Arc::clone(&self.encode));
        Feed { hub, encode, key: self.key.clone(), is_gone: self.is_gone.clone() }
    }
}

impl<T> fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("name", &self.hub.name).finish_non_exhaustive()
    }
}

impl<T: Serialize + 'static> Feed<T> {
    /// A feed of the latest record of each key.
    pub fn upsert(name: impl Into<String>, key: impl Fn(&T) -> String + Send + Sync + 'static) -> Feed<T> {
        let hub = Arc::new(Hub::new(name.into(), KEPT_RECORDS, CLIENTS_MAX));
        Feed { hub, encode: Arc::new(Json::<T>::new()), key: Some(Arc::new(key)), is_gone: None }
    }

    /// A feed of all records; who connects gets the newest `kept` of them first.
    pub fn append(name: impl Into<String>, kept: usize) -> Feed<T> {
        let hub = Arc::new(Hub::new(name.into(), kept, CLIENTS_MAX));
        Feed { hub, encode: Arc::new(Json::<T>::new()), key: None, is_gone: None }
    }

    /// Says of which records the key is gone: they are taken out of the state, and shown as `null`.
    pub fn removing(mut self, is_gone: impl Fn(&T) -> bool + Send + Sync + 'static) -> Feed<T> {
        self.is_gone = Some(Arc::new(is_gone));
        self
    }
}

impl<T: 'static> Feed<T> {
    /// How many clients there may be at one time: [`CLIENTS_MAX`] unless said. More are refused with status 503.
    pub fn clients(self, most: usize) -> Feed<T> {
        self.hub.allow_clients(most);
        self
    }

    /// How many records are kept for those who connect, [`KEPT_RECORDS`] unless said; of more, those go first that were
    /// changed longest ago.
    pub fn keep(self, most: usize) -> Feed<T> {
        self.hub.keep(most);
        self
    }

    /// Answers requests for this host, too: the name under which browsers reach the server, without a port.
    pub fn allow_host(self, host: impl Into<String>) -> Feed<T> {
        self.hub.allow_host(host.into());
        self
    }

    /// The address of the feed, for [`Server::routes`](crate::Server::routes).
    pub fn routes(&self, path: &str) -> Router {
        Router::new().route(path, get(serve::serve)).with_state(Arc::clone(&self.hub))
    }
}

impl<T: 'static> Publish for Feed<T> {
    fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        let receipts = self.read(receipts)?;
        self.hub.recover(last.0, receipts);
        Ok(())
    }

    fn publish(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        let receipts = self.read(receipts)?;
        self.hub.publish(epoch.0, receipts);
        Ok(())
    }
}

impl<T> Feed<T> {
    fn read(&self, receipts: &[Vec<u8>]) -> Result<Vec<Receipt>, FeedError> {
        let receipts = receipts.iter().filter(|bytes| !bytes.is_empty());
        let refused = |reason| FeedError::Receipt { feed: self.hub.name.clone(), reason };
        receipts.map(|bytes| Receipt::read(bytes).map_err(refused)).collect()
    }
}

impl<T: 'static> Sink<T> for Feed<T> {
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        Ok(Box::new(FeedWriter { feed: self.clone(), worker, taken: 0, pending: Pending::default() }))
    }
}

/// What a worker has told since the last epoch, within bounds.
#[derive(Default)]
struct Pending {
    told: VecDeque<Option<Told>>,
    /// The place of each key, counted from the first record of the epoch.
    of_key: HashMap<String, u64>,
    /// How many were taken from the front of `told`.
    gone: u64,
    bytes: usize,
    omitted: u64,
}

impl Pending {
    fn take(&mut self, told: Told) {
        if told.bytes() > MESSAGE_BYTES_MAX {
            self.omitted += 1;
            return;
        }
        if let Some(key) = &told.key {
            let place = self.gone + self.told.len() as u64;
            if let Some(before) = self.of_key.insert(key.clone(), place) {
                // Replaced, and not omitted: nobody misses it.
                let before = usize::try_from(before - self.gone).expect("it is in memory");
                self.bytes -= self.told[before].take().map_or(0, |told| told.bytes());
            }
        }
        self.bytes += told.bytes();
        self.told.push_back(Some(told));
        while self.bytes > EPOCH_BYTES_MAX || self.told.front().is_some_and(Option::is_none) {
            self.gone += 1;
            let Some(Some(oldest)) = self.told.pop_front() else { continue };
            self.bytes -= oldest.bytes();
            self.omitted += 1;
            oldest.key.map(|key| self.of_key.remove(&key));
        }
    }
}

/// The writer of one worker.
struct FeedWriter<T> {
    feed: Feed<T>,
    worker: usize,
    /// How many records were taken.
    taken: u64,
    pending: Pending,
}

impl<T: 'static> FeedWriter<T> {
    fn told(&self, record: &T) -> Result<Told, FeedError> {
        let key = self.feed.key.as_ref().map(|key| key(record));
        if self.feed.is_gone.as_ref().is_some_and(|is_gone| is_gone(record)) {
            return Ok(Told { key, value: "null".to_owned() });
        }
        let mut bytes = Vec::new();
        let refused = |reason| {
            let (feed, worker) = (self.feed.hub.name.clone(), self.worker);
            FeedError::Record { feed, worker, record: self.taken, reason }
        };
        self.feed.encode.encode(record, &mut bytes).map_err(refused)?;
        let value = String::from_utf8(bytes).expect("JSON is UTF-8");
        Ok(Told { key, value })
    }
}

impl<T: 'static> Writer<T> for FeedWriter<T> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        for record in &batch.values {
            self.taken += 1;
            let told = self.told(record)?;
            self.pending.take(told);
        }
        batch.values.clear();
        batch.times.clear();
        Ok(())
    }

    fn stage(&mut self, epoch: Epoch) -> Result<Vec<u8>, Cause> {
        let Pending { told, omitted, .. } = std::mem::take(&mut self.pending);
        if omitted > 0 {
            let (feed, worker) = (&self.feed.hub.name, self.worker);
            let why = "records of the epoch are too large, or too many, to be pushed";
            tracing::warn!(%feed, worker, %epoch, omitted, "{why}");
        }
        let told: Vec<Told> = told.into_iter().flatten().collect();
        if told.is_empty() && omitted == 0 {
            return Ok(Vec::new());
        }
        Ok(Receipt { run: self.feed.hub.run(), omitted, told }.write())
    }
}
