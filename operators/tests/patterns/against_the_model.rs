//! The operator gives what the model does, for random patterns and records, however these arrive.

use std::collections::BTreeSet;

use highwater_operators::pattern::AfterMatch;
use highwater_operators::testkit::{Harness, at};
use proptest::prelude::*;

use crate::described::{Described, Kind, Part, Rec, described};
use crate::model::{Results, expected};

/// How far records are out of order, in milliseconds.
const LATENESS: i64 = 3;

#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Match(Vec<(String, u32)>),
    TimedOut(Vec<u32>),
}

/// Records in the order of their arrival, at most `LATENESS` behind one that came before.
fn records(keys: u8) -> impl Strategy<Value = Vec<Rec>> {
    let letters = prop_oneof![
        4 => Just(1u8), 4 => Just(2), 3 => Just(4), 2 => Just(8),
        1 => Just(3), 1 => Just(9), 1 => Just(10), 1 => Just(12)
    ];
    let record = (letters, 0..=2i64, 0..4u8, 0..keys, 0..=LATENESS);
    prop::collection::vec(record, 1..=4 + 2 * usize::from(keys)).prop_map(|records| {
        let mut time = 0;
        let mut arriving = Vec::new();
        for (id, (letters, after, value, key, delay)) in (0..).zip(records) {
            time += after;
            arriving.push((time + delay, Rec { id, key, time, letters, value }));
        }
        arriving.sort_by_key(|(arrives, _)| *arrives);
        arriving.into_iter().map(|(_, record)| record).collect()
    })
}

/// What the model expects of all keys.
fn modelled(described: &Described, arriving: &[Rec]) -> Results {
    let mut all = Results::default();
    let keys: BTreeSet<u8> = arriving.iter().map(|record| record.key).collect();
    for key in keys {
        let mut records: Vec<Rec> = arriving.iter().filter(|record| record.key == key).copied().collect();
        records.sort_by_key(|record| record.time);
        let of_key = expected(described, &records);
        all.matches.extend(of_key.matches);
        all.timed_out.extend(of_key.timed_out);
        all.is_ambiguous |= of_key.is_ambiguous;
    }
    all.matches.sort();
    all
}

/// What the operator gives, with a restart after every record and every watermark, and how many rows it keeps.
fn given(described: &Described, arriving: &[Rec], every: usize) -> (Results, usize) {
    let mut harness = Harness::new(|stream| {
        let (matches, partial) = stream
            .key_by(|record: &Rec| record.key)
            .pattern(described.pattern())
            .with_timed_out(|_, taken| Seen::TimedOut(taken.iter().map(|(_, record)| record.id).collect()));
        let matches = matches.select("matches", |_, taken| {
            Seen::Match(taken.iter().map(|(name, record)| (name.to_owned(), record.id)).collect())
        });
        matches.values().merge(partial.values())
    });
    let mut largest = i64::MIN;
    for (number, record) in arriving.iter().enumerate() {
        harness.record(*record, at(record.time));
        largest = largest.max(record.time);
        if number % every == 0 {
            harness.watermark(at(largest - LATENESS));
        }
    }
    harness.watermark(at(10_000));
    let mut results = Results::default();
    for (seen, time) in harness.take() {
        match seen {
            Seen::Match(taken) => results.matches.push((time.as_millis(), taken)),
            Seen::TimedOut(ids) => drop(results.timed_out.insert((time.as_millis(), ids))),
        }
    }
    results.matches.sort();
    (results, harness.rows())
}

/// The names of the stages at the top.
fn names(parts: &[Part]) -> Vec<String> {
    let name = |part: &Part| match &part.kind {
        Kind::Take { name, .. } => Some(name.clone()),
        _ => None,
    };
    parts.iter().filter_map(name).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_match_is_found_as_often_as_it_is_there(
        described in described(),
        arriving in records(2),
        every in 1..4usize,
    ) {
        let model = modelled(&described, &arriving);
        let (results, rows) = given(&described, &arriving, every);
        prop_assert_eq!(&results.matches, &model.matches);
        if !described.has_steps() {
            prop_assert_eq!(&results.timed_out, &model.timed_out);
        }
        if described.within.is_some() {
            prop_assert_eq!(rows, 0);
        }
    }

    #[test]
    fn what_a_match_skips_is_not_given(
        mut described in described(),
        arriving in records(1),
        strategy in 0..4usize,
        stage in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!described.has_steps());
        let names = names(&described.parts);
        described.after = match (strategy, names.is_empty()) {
            (0, _) => AfterMatch::SkipToNext,
            (1, _) | (_, true) => AfterMatch::SkipPastLast,
            (2, _) => AfterMatch::SkipToFirst(stage.get(&names).clone()),
            (_, _) => AfterMatch::SkipToLast(stage.get(&names).clone()),
        };
        let model = modelled(&described, &arriving);
        prop_assume!(!model.is_ambiguous);
        let (results, rows) = given(&described, &arriving, 1);
        prop_assert_eq!(&results.matches, &model.matches);
        prop_assert_eq!(&results.timed_out, &model.timed_out);
        prop_assert!(rows == 0 || described.within.is_none(), "{} rows are left", rows);
    }
}
