//! Dead letters: what could not be read or dealt with, with all that it takes to try again; and `replay`, which does.
//!
//! A [`DeadLetter`] is a record like others: written to a topic or file as JSON, it waits there for a fix of the
//! program, and is then read and tried again. Invariant: a letter that is replayed is in exactly one of three streams
//! afterwards, and has one attempt more; none is tried more often than its limit, so that poison does not circulate for
//! ever. It knows neither topics nor clocks: where letters lie and when they are replayed is the topology's matter.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::batch::Batch;
use crate::codec::{Decode, Encode};
use crate::data::{Clock, Data};
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::source::{BadRecord, Origin};
use crate::stateless::tried::Refused;
use crate::stream::{Stream, here};

/// What begins the text of bytes that are written as hexadecimal digits.
const HEX: &str = "hex:";

/// A record that was not dealt with.
///
/// As JSON its bytes are a text if they are one, and `hex:` with their digits otherwise:
/// `{"raw":"{\"cents\":..","reason":"not the expected JSON","operator":"orders","origin":{"Topic":{"topic":"orders",
/// "partition":2,"offset":9001}},"attempts":0}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its bytes, as they were read.
    #[serde(serialize_with = "write_raw", deserialize_with = "read_raw")]
    pub raw: Vec<u8>,
    /// Why it was not dealt with, the last time.
    pub reason: String,
    /// Which operator could not deal with it.
    pub operator: String,
    /// Where it came from: topic, partition and offset, or file and line.
    pub origin: Origin,
    /// How often it was replayed.
    #[serde(default)]
    pub attempts: u32,
}

impl DeadLetter {
    /// A record that the source `operator` could not decode.
    ///
    /// ```
    /// use highwater_operators::dead_letter::DeadLetter;
    /// # use highwater_operators::{codec::Json, interpret::interpret, memory::Memory, topology::Topology};
    /// # use highwater_operators::source::BadRecord;
    /// # let sink = Memory::sink();
    /// # let topology = Topology::new("t");
    /// # let source = Memory::source([0u64]);
    /// let (orders, bad) = topology.try_source("orders", source).or_dead_letter();
    /// let letters = bad.map(|bad| DeadLetter::of("orders", bad));
    /// # letters.sink("letters", sink);
    /// # orders.sink("orders-out", Memory::sink());
    /// ```
    pub fn of(operator: &str, bad: BadRecord) -> DeadLetter {
        let BadRecord { raw, reason, origin } = bad;
        DeadLetter { raw, reason, operator: operator.to_owned(), origin, attempts: 0 }
    }

    /// A record that the operator `operator` refused: that of a
    /// [`try_map`](crate::stream::Stream::try_map) or [`map_async`](crate::stream::Stream::map_async). Its bytes are
    /// what the codec writes of it.
    ///
    /// # Errors
    /// If the codec cannot write it.
    pub fn refused<T>(
        operator: &str,
        refused: &Refused<T>,
        codec: &impl Encode<T>,
    ) -> Result<DeadLetter, String> {
        let mut raw = Vec::new();
        codec.encode(&refused.record, &mut raw)?;
        let origin = Origin::Text(format!("what came to `{operator}`"));
        Ok(DeadLetter {
            raw,
            reason: refused.reason.clone(),
            operator: operator.to_owned(),
            origin,
            attempts: 0,
        })
    }
}

fn write_raw<S: Serializer>(raw: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if !serializer.is_human_readable() {
        return serializer.serialize_bytes(raw);
    }
    match std::str::from_utf8(raw) {
        Ok(text) if !text.starts_with(HEX) => serializer.serialize_str(text),
        _ => {
            let digits = raw.iter().fold(HEX.to_owned(), |text, byte| text + &format!("{byte:02x}"));
            serializer.serialize_str(&digits)
        }
    }
}

fn read_raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    if !deserializer.is_human_readable() {
        return Vec::<u8>::deserialize(deserializer);
    }
    let text = String::deserialize(deserializer)?;
    let Some(digits) = text.strip_prefix(HEX) else { return Ok(text.into_bytes()) };
    let refused =
        || serde::de::Error::custom("behind `hex:` there must be two hexadecimal digits for each byte");
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2);
            let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(refused)
        })
        .collect()
}

/// What became of dead letters that were replayed. Each letter is in one of these, with one attempt more.
#[must_use = "letters that cannot be read or are given up must go somewhere"]
pub struct Replayed<T, C> {
    /// What can be read now, with its letter: [`raw`](DeadLetter::raw) for who sends it to where it came from.
    pub readable: Stream<(T, DeadLetter), C>,
    /// What still cannot be read, with the new reason: to the other dead letters, for the next fix.
    pub unreadable: Stream<DeadLetter, C>,
    /// What was replayed as often as it may: for a person.
    pub given_up: Stream<DeadLetter, C>,
}

impl<C: Clock> Stream<DeadLetter, C> {
    /// Tries dead letters once more, each at most `attempts` times in its life.
    ///
    /// A letter that could not be read for the last time is given up at once; one that comes back although it could be
    /// read, because it was refused further on, is given up when its attempts are used up. Attempts are counted in the
    /// letter, so they count on as long as what comes back is this letter: give its `raw` to the topic that it came
    /// from, and what is refused there again is a new letter. The codec should refuse what the program would refuse.
    ///
    /// ```
    /// use highwater_operators::codec::Json;
    /// use highwater_operators::dead_letter::DeadLetter;
    /// use highwater_operators::source::Origin;
    /// # use highwater_operators::testkit::output_of;
    ///
    /// let letter = |raw: &str, attempts| DeadLetter {
    ///     raw: raw.into(),
    ///     reason: "not the expected JSON".to_owned(),
    ///     operator: "orders".to_owned(),
    ///     origin: Origin::Topic { topic: "orders".to_owned(), partition: 2, offset: 9001 },
    ///     attempts,
    /// };
    /// let letters = [letter("7", 0), letter("poison", 0), letter("poison", 2)];
    /// let told = output_of(letters, |letters| {
    ///     let replayed = letters.replay(Json::<u32>::new(), 3);
    ///     let readable = replayed.readable.map(|(number, letter)| format!("{number}, attempt {}", letter.attempts));
    ///     let unreadable = replayed.unreadable.map(|letter| format!("next time, attempt {}", letter.attempts));
    ///     readable.merge(unreadable).merge(replayed.given_up.map(|letter| format!("after {}", letter.attempts)))
    /// });
    /// # let mut told = told;
    /// # told.sort();
    /// assert_eq!(told, ["7, attempt 1", "after 3", "next time, attempt 1"]);
    /// ```
    #[track_caller]
    pub fn replay<T: Data>(self, codec: impl Decode<T>, attempts: u32) -> Replayed<T, C> {
        let place = here("replay", None);
        if attempts == 0 {
            self.wire.refuse(
                &place,
                "letters that may be replayed 0 times never are; give them at least 1 attempt",
            );
        }
        let codec: Arc<dyn Decode<T>> = Arc::new(codec);
        let wire = self.wire.then::<Batch<DeadLetter>, Out<T>>(place, move |_| {
            Ok(Box::new(Replay { codec: Arc::clone(&codec), attempts }))
        });
        let (unreadable, given_up) = (wire.output(1), wire.output(2));
        Replayed {
            readable: Stream::at(wire),
            unreadable: Stream::at(unreadable),
            given_up: Stream::at(given_up),
        }
    }
}

type Out<T> = (Outbox<Batch<(T, DeadLetter)>>, (Outbox<Batch<DeadLetter>>, Outbox<Batch<DeadLetter>>));

struct Replay<T> {
    codec: Arc<dyn Decode<T>>,
    attempts: u32,
}

impl<T: Data> Operator<Batch<DeadLetter>, Out<T>> for Replay<T> {
    fn on_batch(&mut self, batch: &mut Batch<DeadLetter>, out: &mut Out<T>) -> Result<(), Fault> {
        let batch = std::mem::take(batch);
        let (readable, (unreadable, given_up)) = out;
        let mut times = batch.times.into_iter();
        for mut letter in batch.values {
            let time = times.next();
            if letter.attempts >= self.attempts {
                given_up.push_like(letter, time, batch.split);
                continue;
            }
            letter.attempts += 1;
            match self.codec.decode(&letter.raw) {
                Ok(value) => readable.push_like((value, letter), time, batch.split),
                Err(reason) => {
                    letter.reason = reason;
                    let is_last = letter.attempts >= self.attempts;
                    let way = if is_last { &mut *given_up } else { &mut *unreadable };
                    way.push_like(letter, time, batch.split);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{Json, Text};
    use crate::interpret::interpret;
    use crate::memory::Memory;
    use crate::topology::Topology;

    fn letter(raw: &[u8], attempts: u32) -> DeadLetter {
        let origin = Origin::File { file: "a.log".to_owned(), line: 17 };
        let (reason, operator) = ("no number".to_owned(), "numbers".to_owned());
        DeadLetter { raw: raw.to_vec(), reason, operator, origin, attempts }
    }

    /// Replays letters until none is left that may be; what could be read and what was given up.
    fn to_the_end(mut letters: Vec<DeadLetter>, attempts: u32) -> (Vec<u32>, Vec<DeadLetter>, u32) {
        let (mut read, mut lost, mut rounds) = (Vec::new(), Vec::new(), 0);
        while !letters.is_empty() {
            let (readable, unreadable, given_up) = (Memory::sink(), Memory::sink(), Memory::sink());
            let topology = Topology::new("replay");
            let replayed =
                topology.source("letters", Memory::source(letters)).replay(Json::<u32>::new(), attempts);
            replayed.readable.map(|(number, _)| number).sink("readable", readable.clone());
            replayed.unreadable.sink("unreadable", unreadable.clone());
            replayed.given_up.sink("given-up", given_up.clone());
            interpret(topology).expect("it runs");
            read.extend(readable.take());
            lost.extend(given_up.take());
            letters = unreadable.take();
            rounds += 1;
        }
        (read, lost, rounds)
    }

    #[test]
    fn poison_is_given_up_after_its_attempts_and_what_can_be_read_is_read_once() {
        let (read, lost, rounds) = to_the_end(vec![letter(b"7", 0), letter(b"x", 0), letter(b"8", 2)], 3);
        assert_eq!((read, rounds), (vec![7, 8], 3));
        assert_eq!(lost.len(), 1);
        assert_eq!((lost[0].raw.as_slice(), lost[0].attempts), (&b"x"[..], 3));
        assert!(lost[0].reason.starts_with("not the expected JSON"), "{}", lost[0].reason);
        // One that comes back although it can be read is not read for ever.
        assert_eq!(to_the_end(vec![letter(b"7", 3)], 3), (vec![], vec![letter(b"7", 3)], 1));
    }

    #[test]
    fn no_attempt_at_all_is_refused() {
        let topology = Topology::new("replay");
        let letters = topology.source("letters", Memory::source([letter(b"7", 0)]));
        let replayed = letters.replay(Json::<u32>::new(), 0);
        replayed.readable.sink("a", Memory::sink());
        replayed.unreadable.merge(replayed.given_up).sink("b", Memory::sink());
        let error = interpret(topology).expect_err("0 attempts").to_string();
        assert!(error.contains("at least 1 attempt"), "{error}");
    }

    #[test]
    fn what_an_operator_refused_is_a_letter_of_what_came_to_it() {
        let refused = Refused { record: "tea".to_owned(), reason: "sold out".to_owned() };
        let letter = DeadLetter::refused("price", &refused, &Text).expect("is text");
        assert_eq!((letter.raw.as_slice(), letter.operator.as_str()), (&b"tea"[..], "price"));
        assert_eq!((letter.reason.as_str(), letter.attempts), ("sold out", 0));
    }

    #[test]
    fn letters_are_read_by_people_and_those_without_attempts_have_none() {
        let text = serde_json::to_string(&letter(br#"{"a":1}"#, 1)).expect("is JSON");
        assert!(text.starts_with(r#"{"raw":"{\"a\":1}","reason":"#), "{text}");
        let hex = serde_json::to_string(&letter(&[0xff, 0x00], 1)).expect("is JSON");
        assert!(hex.starts_with(r#"{"raw":"hex:ff00","#), "{hex}");
        let old = r#"{"raw":"x","reason":"r","operator":"o","origin":{"Text":"t"}}"#;
        assert_eq!(serde_json::from_str::<DeadLetter>(old).expect("is a letter").attempts, 0);
        for bad in ["hex:f", "hex:fg", "hex:+1", "hex:é"] {
            let text = format!(r#"{{"raw":"{bad}","reason":"r","operator":"o","origin":{{"Text":"t"}}}}"#);
            assert!(serde_json::from_str::<DeadLetter>(&text).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_letter_keeps_its_bytes(
            raw in prop_oneof![
                any::<Vec<u8>>(),
                ".*".prop_map(String::into_bytes),
                ".*".prop_map(|text: String| format!("hex:{text}").into_bytes()),
            ],
        ) {
            let letter = letter(&raw, 2);
            let json = serde_json::to_vec(&letter).expect("is JSON");
            prop_assert_eq!(&serde_json::from_slice::<DeadLetter>(&json).expect("is a letter"), &letter);
            let mut kept = Vec::new();
            highwater_state::persist::encode("letter", &letter, &mut kept).expect("can be kept");
            let again: DeadLetter = highwater_state::persist::decode("letter", &kept).expect("was kept");
            prop_assert_eq!(again, letter);
        }
    }
}
