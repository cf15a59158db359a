//! Random lives of a log, in memory and on disk, beside vectors that are pushed to.

use std::collections::BTreeMap;

use super::*;
use proptest::prelude::*;

const TOPICS: [(&str, u32); 2] = [("a", 1), ("b", 3)];

type Pair = (u8, Vec<u8>);

#[derive(Clone, Debug)]
enum Deed {
    Append(usize, Pair),
    AppendAll(usize, Vec<Pair>),
    /// A job writes these by two workers, and dies after so many of the steps write, stage, stage, commit, publish.
    Epoch {
        writes: [Vec<Pair>; 2],
        steps: u8,
    },
    /// The job loses its state.
    BeginAnew,
    /// The process ends.
    Reopen,
}

fn pair() -> impl Strategy<Value = Pair> {
    (0_u8..8, prop::collection::vec(any::<u8>(), 0..6))
}

fn pairs() -> impl Strategy<Value = Vec<Pair>> {
    prop::collection::vec(pair(), 0..5)
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        2 => (0_usize..2, pair()).prop_map(|(topic, pair)| Deed::Append(topic, pair)),
        2 => (0_usize..2, pairs()).prop_map(|(topic, pairs)| Deed::AppendAll(topic, pairs)),
        6 => (pairs(), pairs(), 0_u8..8).prop_map(|(a, b, steps)| Deed::Epoch { writes: [a, b], steps }),
        1 => Just(Deed::BeginAnew),
        2 => Just(Deed::Reopen),
    ]
}

/// What a topic should hold: of each partition, keys and values.
type Model = BTreeMap<&'static str, Vec<Vec<(Vec<u8>, Vec<u8>)>>>;

/// A log, the job that writes to its topic `b`, and what should be there.
struct Life {
    directory: Option<tempfile::TempDir>,
    log: Option<Log>,
    sink: Option<LogSink<Pair>>,
    committed: u64,
    receipts: Vec<Vec<u8>>,
    model: Model,
    /// Where each key goes, learnt from another log.
    places: BTreeMap<(&'static str, u8), usize>,
}

struct PairCodec;

impl highwater_operators::codec::Encode<Pair> for PairCodec {
    fn encode(&self, pair: &Pair, into: &mut Vec<u8>) -> Result<(), String> {
        into.extend_from_slice(&pair.1);
        Ok(())
    }
}

impl Life {
    fn new(directory: Option<tempfile::TempDir>) -> Life {
        let (other, mut places, mut model) = (Log::in_memory(), BTreeMap::new(), Model::new());
        for (topic, partitions) in TOPICS {
            other.topic(topic, partitions).unwrap();
            model.insert(topic, vec![Vec::new(); partitions as usize]);
            for key in 0..8 {
                let (partition, _) = other.append(topic, Some(&[key]), b"").unwrap();
                places.insert((topic, key), partition as usize);
            }
        }
        let (log, sink, receipts) = (None, None, Vec::new());
        let mut life = Life { directory, log, sink, committed: 0, receipts, model, places };
        life.open();
        life
    }

    fn open(&mut self) {
        self.sink = None;
        match &self.directory {
            Some(directory) => {
                self.log = None;
                self.log = Some(Log::open(directory.path()).unwrap());
            }
            // What is in memory stays while the process lives: only the job ends.
            None => drop(self.log.get_or_insert_with(Log::in_memory)),
        }
        for (topic, partitions) in TOPICS {
            self.log().topic(topic, partitions).unwrap();
        }
        self.recover();
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    /// The job starts from its state.
    fn recover(&mut self) {
        self.sink = None;
        let sink = self.log().producer("job").sink("b", PairCodec).key(|pair: &Pair| vec![pair.0]);
        sink.recover(Epoch(self.committed), &self.receipts).unwrap();
        self.sink = Some(sink);
    }

    fn expect(&mut self, topic: &'static str, pairs: &[Pair]) {
        for (key, value) in pairs {
            let partition = self.places[&(topic, *key)];
            self.model.get_mut(topic).unwrap()[partition].push((vec![*key], value.clone()));
        }
    }

    fn epoch(&mut self, writes: &[Vec<Pair>; 2], steps: u8) {
        let sink = self.sink.clone().unwrap();
        let mut writers: Vec<_> = (0..2).map(|worker| sink.open(worker).unwrap()).collect();
        let next = Epoch(self.committed + 1);
        let mut receipts = Vec::new();
        if steps > 0 {
            for (writer, pairs) in writers.iter_mut().zip(writes) {
                writer.write(&mut Batch::untimed(pairs.clone())).unwrap();
            }
        }
        for (_, writer) in (1..steps).zip(&mut writers) {
            receipts.push(writer.stage(next).unwrap());
        }
        if steps > 3 {
            (self.committed, self.receipts) = (next.0, receipts);
            writes.iter().for_each(|pairs| self.expect("b", pairs));
        }
        if steps > 4 {
            sink.publish(next, &self.receipts).unwrap();
            if steps > 5 {
                sink.publish(next, &self.receipts).unwrap();
            }
        }
        drop((writers, sink));
        if steps < 7 {
            self.open();
        }
    }

    fn does(&mut self, deed: Deed) {
        match deed {
            Deed::Append(topic, (key, value)) => {
                let topic = TOPICS[topic].0;
                self.log().append(topic, Some(&[key]), &value).unwrap();
                self.expect(topic, &[(key, value)]);
            }
            Deed::AppendAll(topic, pairs) => {
                let topic = TOPICS[topic].0;
                let records = pairs.iter().map(|(key, value)| (Some([*key]), value));
                self.log().append_all(topic, records).unwrap();
                self.expect(topic, &pairs);
            }
            Deed::Epoch { writes, steps } => self.epoch(&writes, steps),
            Deed::BeginAnew => {
                (self.committed, self.receipts) = (0, Vec::new());
                self.recover();
            }
            Deed::Reopen => self.open(),
        }
    }

    fn is_as_the_model_says(&self) {
        for (topic, partitions) in &self.model {
            for (number, expected) in partitions.iter().enumerate() {
                let number = number as u32;
                assert_eq!(self.log().end(topic, number).unwrap(), expected.len() as u64);
                for from in 0..=expected.len() {
                    let found = self.log().read(topic, number, from as u64, usize::MAX).unwrap();
                    let offsets: Vec<u64> = found.iter().map(|record| record.offset).collect();
                    assert_eq!(offsets, (from as u64..expected.len() as u64).collect::<Vec<_>>());
                    let found: Vec<_> =
                        found.into_iter().map(|record| (record.key.unwrap(), record.value)).collect();
                    assert_eq!(found, expected[from..]);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every record that was appended, or committed by the job, is there once and in order, whatever died when.
    #[test]
    fn a_log_is_vectors_that_are_pushed_to(deeds in prop::collection::vec(deed(), 0..24)) {
        for directory in [None, Some(tempfile::tempdir().unwrap())] {
            let mut life = Life::new(directory);
            for deed in &deeds {
                life.does(deed.clone());
                life.is_as_the_model_says();
            }
        }
    }
}
