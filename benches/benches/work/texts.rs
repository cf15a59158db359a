//! State that is larger than memory: a text for each of many keys, the last one that came for it.
//!
//! The source needs no memory of its own: record and key follow from the record's number. First every key comes once,
//! in an order that is not that of the keys, then keys are drawn at random, each as likely as every other.

use highwater::operators::error::Cause;
use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::prelude::*;

/// Bytes of a text; its row has some ten more on disk.
pub const TEXT_BYTES: usize = 200;

/// A text that came for a key.
pub struct Sent {
    key: u64,
    text: String,
}

/// Texts for `keys` keys: one for each, and then `draws` for some of them.
#[derive(Clone, Copy)]
pub struct Texts {
    pub keys: u64,
    pub draws: u64,
    /// Whether the input ends; if not, there is nothing more for now.
    pub ends: bool,
}

struct TextsReader {
    of: Texts,
    next: u64,
}

/// Coprime to every number of keys that is used, so that its multiples are all of them.
const STEP: u64 = 2_654_435_761;

/// Bits in which no order is to be seen.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl Texts {
    /// The key of a record.
    pub fn key(&self, number: u64) -> u64 {
        match number < self.keys {
            true => ((u128::from(number) * u128::from(STEP)) % u128::from(self.keys)) as u64,
            false => ((u128::from(mixed(number)) * u128::from(self.keys)) >> 64) as u64,
        }
    }

    /// The text of a record: six random bits in each byte, so that hardly anything is gained by compressing it.
    fn text(number: u64) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::with_capacity(TEXT_BYTES);
        let mut part = 0;
        while text.len() < TEXT_BYTES {
            let mut bits = mixed(number.wrapping_mul(32).wrapping_add(part));
            part += 1;
            for _ in 0..10.min(TEXT_BYTES - text.len()) {
                text.push(char::from(LETTERS[(bits & 63) as usize]));
                bits >>= 6;
            }
        }
        text
    }
}

impl Source for Texts {
    type Item = Sent;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(vec!["all".to_owned()])
    }

    fn open(
        &self,
        _: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = Sent, Position = u64>>, Cause> {
        Ok(Box::new(TextsReader { of: *self, next: from.unwrap_or(0) }))
    }
}

impl Reader for TextsReader {
    type Item = Sent;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<Sent>) -> Result<Poll, Cause> {
        let records = self.of.keys + self.of.draws;
        let until = records.min(self.next + limit as u64);
        let sent = |number| Sent { key: self.of.key(number), text: Texts::text(number) };
        into.values.extend((self.next..until).map(sent));
        let some = until > self.next;
        self.next = until;
        Ok(match (self.of.ends, some) {
            (true, _) if until == records => Poll::Finished,
            (false, false) => Poll::Pending,
            _ => Poll::Ready,
        })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Keeps the last text of each key; `kept` is called with the length of each.
pub fn topology(texts: Texts, kept: impl Fn(usize) + Send + Sync + 'static) -> Topology {
    let topology = Topology::new("texts");
    topology
        .source("texts", texts)
        .key_by(|sent| sent.key)
        .fold("last", String::new, move |last, sent| {
            *last = sent.text;
            kept(last.len());
        })
        .keep();
    topology
}
