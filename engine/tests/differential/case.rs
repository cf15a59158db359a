//! Random records and random topologies over them.
//!
//! Every stream of a case carries the same record type, so that stages compose freely. [`legal`] takes out what
//! has no single right answer: an order of arrival that nothing fixes, or lateness that depends on how the
//! splits were interleaved.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::patterns::{self, Search};

/// What flows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rec {
    pub split: u8,
    pub key: u8,
    pub at: i64,
    pub value: i64,
}

/// What reaches the sink: which output it came from, and the record.
pub type Out = (u8, Rec);

/// How records are grouped.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// All in one group.
    One,
    /// By the record's key; records of several splits meet.
    Number(u8),
    /// By split and key: the order within a group is fixed by HW-4.
    SplitAndNumber(u8),
}

/// A verb with state.
#[derive(Clone, Copy, Debug)]
pub enum Keyed {
    Count,
    Aggregate,
    Fold,
    Reduce,
    Window {
        size: u16,
        offset: u16,
        lateness: u16,
        with_late: bool,
        /// Time between early results, which are taken out again; none if 0.
        early: u16,
        of: WindowOf,
    },
    Sliding {
        size: u16,
        slide: u16,
        offset: u16,
        lateness: u16,
        with_late: bool,
        early: u16,
        of: WindowOf,
    },
    /// Sliding windows, in two stages.
    TwoStage {
        size: u16,
        slide: u16,
        lateness: u16,
        with_late: bool,
    },
    Session {
        gap: u16,
        with_late: bool,
        of: WindowOf,
    },
    /// Windows of so many records.
    Records(u8),
    Dedup {
        ttl: u16,
    },
    Sorted {
        with_late: bool,
    },
    Process {
        size: u16,
    },
    /// All records of a window at once.
    Apply {
        size: u16,
    },
    /// Windows of the test's own.
    Custom {
        size: u16,
    },
    /// A value that dies.
    Ttl {
        ttl: u16,
    },
    Latest,
    /// The changes of a table from which rows are deleted.
    Upsert(i64),
    /// The events and replies of aggregates.
    Sourced,
    /// What sagas ask for and how they end.
    Sagas,
    /// The matches of a pattern.
    Search(Search),
    /// Those of a pattern by types.
    Typed {
        within: u16,
    },
    /// What no order changes, when the input has ended.
    Whole(Whole),
}

/// Operators whose results depend on how records interleave, but for something that is known in the end.
#[derive(Clone, Copy, Debug)]
pub enum Whole {
    /// The last count, combined before it moves.
    TwoStage,
    /// The last rows of two tables joined.
    TableJoin,
    /// How many records have been joined with a table.
    StreamTable,
    /// The same with a table on every worker.
    Broadcast,
    /// How many records there were, by whatever clock.
    ProcessingTime,
}

/// What is made of a window.
#[derive(Clone, Copy, Debug)]
pub enum WindowOf {
    Count,
    Aggregate,
    Fold,
    Reduce,
}

/// One step of a chain.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    Filter(i64),
    Map(i64),
    FlatMap(i64),
    Fused(i64),
    Inspect,
    Skip(i64),
    DeadLetter(i64),
    BranchMerge(i64),
    CloneMerge(i64),
    /// The stream so far goes to the sink, too.
    Tap,
    /// Each record is asked for outside.
    Async {
        unordered: bool,
    },
    Keyed(Keys, Keyed),
    /// The records of even value with those of odd value.
    Join(Keys, Join),
}

/// How two sides are joined.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    pub kind: JoinKind,
    pub mode: Mode,
    pub with_late: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum JoinKind {
    Interval { lower: i64, upper: i64 },
    Window { size: u16, offset: u16 },
    AsOf,
}

/// Which sides a join keeps.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    Inner,
    Left,
    Right,
    Outer,
}

/// A topology and its input.
#[derive(Clone, Debug)]
pub struct Case {
    pub splits: Vec<Vec<Rec>>,
    /// How many of the splits belong to a second source.
    pub second: usize,
    /// Whether the two sources are merged before they get event time.
    pub merge_untimed: bool,
    pub lag: u64,
    pub stages: Vec<Stage>,
    /// In a simulation: whether the sources are topics.
    pub topics: bool,
    /// In a simulation: which outputs go into transactions, none, all, or every second.
    pub transactional: Sinks,
}

/// Where a simulation's outputs go.
#[derive(Clone, Copy, Debug)]
pub enum Sinks {
    Staging,
    Transactional,
    Both,
}

fn keys() -> impl Strategy<Value = Keys> {
    prop_oneof![Just(Keys::One), (1u8..7).prop_map(Keys::Number), (1u8..7).prop_map(Keys::SplitAndNumber),]
}

fn keyed() -> impl Strategy<Value = Keyed> {
    let of = prop_oneof![
        Just(WindowOf::Count),
        Just(WindowOf::Aggregate),
        Just(WindowOf::Fold),
        Just(WindowOf::Reduce)
    ];
    let lateness = prop_oneof![Just(0u16), 0u16..40];
    let two_stage = (1u16..60, 1u16..40, lateness.clone(), any::<bool>());
    let early = prop_oneof![3 => Just(0u16), 1 => 1u16..40];
    let window = (1u16..60, 0u16..70, lateness.clone(), any::<bool>(), early.clone(), of.clone());
    let sliding = (1u16..60, 1u16..40, 0u16..70, lateness, any::<bool>(), early, of.clone());
    let whole = prop_oneof![
        Just(Whole::TwoStage),
        Just(Whole::TableJoin),
        Just(Whole::StreamTable),
        Just(Whole::Broadcast),
        Just(Whole::ProcessingTime),
    ];
    prop_oneof![
        1 => Just(Keyed::Count),
        1 => Just(Keyed::Aggregate),
        1 => Just(Keyed::Fold),
        1 => Just(Keyed::Reduce),
        4 => window.prop_map(|(size, offset, lateness, with_late, early, of)| {
            Keyed::Window { size, offset, lateness, with_late, early, of }
        }),
        4 => sliding.prop_map(|(size, slide, offset, lateness, with_late, early, of)| {
            Keyed::Sliding { size, slide, offset, lateness, with_late, early, of }
        }),
        3 => (1u16..30, any::<bool>(), of.clone()).prop_map(|(gap, with_late, of)| {
            Keyed::Session { gap, with_late, of }
        }),
        1 => (1u8..5).prop_map(Keyed::Records),
        2 => (0u16..60).prop_map(|ttl| Keyed::Dedup { ttl }),
        2 => two_stage.prop_map(|(size, slide, lateness, with_late)| {
            Keyed::TwoStage { size, slide, lateness, with_late }
        }),
        2 => any::<bool>().prop_map(|with_late| Keyed::Sorted { with_late }),
        2 => (1u16..60).prop_map(|size| Keyed::Process { size }),
        1 => (1u16..60).prop_map(|size| Keyed::Apply { size }),
        1 => (1u16..60).prop_map(|size| Keyed::Custom { size }),
        1 => (0u16..60).prop_map(|ttl| Keyed::Ttl { ttl }),
        1 => Just(Keyed::Latest),
        1 => (2i64..5).prop_map(Keyed::Upsert),
        1 => Just(Keyed::Sourced),
        1 => Just(Keyed::Sagas),
        5 => patterns::search().prop_map(Keyed::Search),
        1 => (1u16..200).prop_map(|within| Keyed::Typed { within }),
        3 => whole.prop_map(Keyed::Whole),
    ]
}

fn join() -> impl Strategy<Value = Join> {
    let interval = (-40i64..40, 0i64..50);
    let kind = prop_oneof![
        3 => interval.prop_map(|(lower, length)| JoinKind::Interval { lower, upper: lower + length }),
        2 => (1u16..60, 0u16..70).prop_map(|(size, offset)| JoinKind::Window { size, offset }),
        2 => Just(JoinKind::AsOf),
    ];
    let mode = prop_oneof![Just(Mode::Inner), Just(Mode::Left), Just(Mode::Right), Just(Mode::Outer)];
    (kind, mode, any::<bool>()).prop_map(|(kind, mode, with_late)| Join { kind, mode, with_late })
}

fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![
        1 => (2i64..6).prop_map(Stage::Filter),
        1 => (0i64..9).prop_map(Stage::Map),
        1 => (1i64..4).prop_map(Stage::FlatMap),
        1 => (2i64..6).prop_map(Stage::Fused),
        1 => Just(Stage::Inspect),
        1 => (2i64..6).prop_map(Stage::Skip),
        1 => (2i64..6).prop_map(Stage::DeadLetter),
        1 => (2i64..4).prop_map(Stage::BranchMerge),
        1 => (2i64..4).prop_map(Stage::CloneMerge),
        1 => Just(Stage::Tap),
        1 => any::<bool>().prop_map(|unordered| Stage::Async { unordered }),
        6 => (keys(), keyed()).prop_map(|(keys, keyed)| Stage::Keyed(keys, keyed)),
        2 => (keys(), join()).prop_map(|(keys, join)| Stage::Join(keys, join)),
    ]
}

/// One split: `(step, how far behind, key, value)` become records in the order of arrival.
fn split(most: usize, disorder: i64) -> impl Strategy<Value = Vec<Rec>> {
    let step = prop_oneof![6 => Just(0i64), 6 => 1i64..6, 1 => 10i64..120];
    let behind = prop_oneof![Just(0i64), 0..disorder + 1];
    let record = (step, behind, 0u8..6, 0i64..1000);
    (-300i64..100, prop::collection::vec(record, 0..most)).prop_map(|(start, records)| {
        let mut now = start;
        let records = records.into_iter().map(|(step, behind, key, value)| {
            now += step;
            Rec { split: 0, key, at: now - behind, value }
        });
        records.collect()
    })
}

fn case(
    splits: impl Strategy<Value = Vec<Vec<Rec>>>,
    lag: impl Strategy<Value = u64>,
    late: bool,
) -> impl Strategy<Value = Case> {
    let stages = prop::collection::vec(stage(), 1..6);
    let sinks = prop_oneof![Just(Sinks::Staging), Just(Sinks::Transactional), Just(Sinks::Both)];
    let ends = (any::<bool>(), sinks);
    (splits, lag, stages, any::<prop::sample::Index>(), any::<bool>(), ends).prop_map(
        move |(mut splits, lag, stages, second, merge_untimed, (topics, transactional))| {
            for (number, split) in splits.iter_mut().enumerate() {
                split.iter_mut().for_each(|record| record.split = number as u8);
            }
            let several = splits.len() > 1;
            let second = if several { second.index(splits.len()) } else { 0 };
            let start = Known { late, ordered: true, fresh: second == 0 || merge_untimed, times_fixed: true };
            Case { stages: legal(stages, start), splits, second, merge_untimed, lag, topics, transactional }
        },
    )
}

/// Several splits, and no record at or behind the watermark.
pub fn calm(most: usize) -> impl Strategy<Value = Case> {
    let disorder = 30;
    case(prop::collection::vec(split(most, disorder), 1..5), disorder as u64 + 1..60, false)
}

/// One split, with records behind the watermark.
pub fn late(most: usize) -> impl Strategy<Value = Case> {
    case(prop::collection::vec(split(most, 60), 1), 0u64..40, true)
}

/// What is known of the stream at one point of the chain.
#[derive(Clone, Copy)]
struct Known {
    /// There may be records behind the watermark.
    late: bool,
    /// The records of one split come in its order.
    ordered: bool,
    /// No exchange and no merge so far: a late record meets the same watermark in every run.
    fresh: bool,
    /// Which record has which time is the same in every run.
    times_fixed: bool,
}

/// Takes out or replaces the stages whose result the interleaving of splits and workers would decide.
fn legal(stages: Vec<Stage>, mut known: Known) -> Vec<Stage> {
    let mut kept: Vec<Stage> = Vec::new();
    for stage in stages {
        match stage {
            Stage::BranchMerge(_) | Stage::CloneMerge(_) => {
                known.ordered = false;
                known.fresh = false;
                kept.push(stage);
            }
            // Of one record a pattern may make several matches.
            Stage::Keyed(_, Keyed::Search(_) | Keyed::Typed { .. }) if kept.iter().any(is_pattern) => {}
            Stage::Keyed(keys, keyed) => kept.extend(legal_keyed(keys, keyed, &mut known)),
            // A record that waits here over a restart may go on on another worker than the one that reads its split
            // then: neither its order among those of its split nor the watermark that it meets is fixed.
            Stage::Async { .. } => {
                known.ordered = false;
                known.fresh = false;
                kept.push(stage);
            }
            // A second one would give as many rows as the first, squared.
            Stage::Join(..) if kept.iter().any(|stage| matches!(stage, Stage::Join(..))) => {}
            Stage::Join(keys, join) => kept.extend(legal_join(keys, join, &mut known)),
            _ => kept.push(stage),
        }
    }
    kept
}

fn is_pattern(stage: &Stage) -> bool {
    matches!(stage, Stage::Keyed(_, Keyed::Search(_) | Keyed::Typed { .. }))
}

fn legal_join(keys: Keys, join: Join, known: &mut Known) -> Option<Stage> {
    let in_order = known.ordered && (known.late || matches!(keys, Keys::SplitAndNumber(_)));
    let by_time = known.times_fixed && (!known.late || known.fresh);
    // Of two versions of one time the one that comes last counts.
    if !by_time || (matches!(join.kind, JoinKind::AsOf) && !in_order) {
        return None;
    }
    (known.late, known.ordered, known.fresh) = (false, false, false);
    Some(Stage::Join(keys, join))
}

fn legal_keyed(keys: Keys, keyed: Keyed, known: &mut Known) -> Option<Stage> {
    let in_order = known.ordered && (known.late || matches!(keys, Keys::SplitAndNumber(_)));
    let by_time = known.times_fixed && (!known.late || known.fresh);
    // Neither can be folded, and to be reduced the order must be known.
    let merged = if in_order { WindowOf::Reduce } else { WindowOf::Aggregate };
    let keyed = match keyed {
        Keyed::Aggregate | Keyed::Fold | Keyed::Reduce if !in_order => Keyed::Count,
        Keyed::Window { size, offset, lateness, with_late, early, of: WindowOf::Fold | WindowOf::Reduce }
            if !in_order =>
        {
            Keyed::Window { size, offset, lateness, with_late, early, of: WindowOf::Aggregate }
        }
        Keyed::Sliding {
            size,
            slide,
            offset,
            lateness,
            with_late,
            early,
            of: WindowOf::Fold | WindowOf::Reduce,
        } => Keyed::Sliding { size, slide, offset, lateness, with_late, early, of: merged },
        Keyed::Session { gap, with_late, of: WindowOf::Fold | WindowOf::Reduce } => {
            Keyed::Session { gap, with_late, of: merged }
        }
        Keyed::Sorted { .. } | Keyed::Records(_) | Keyed::Dedup { .. } | Keyed::Ttl { .. } if !in_order => {
            return None;
        }
        Keyed::Latest | Keyed::Upsert(_) | Keyed::Sourced if !in_order => return None,
        // Whether a late reply comes before a timeout depends on how far the watermark has come.
        Keyed::Sagas if !in_order || known.late => return None,
        Keyed::Search(search) if !in_order => Keyed::Search(search.in_any_order()),
        other => other,
    };
    match keyed {
        Keyed::Count | Keyed::Aggregate | Keyed::Fold | Keyed::Reduce => known.times_fixed &= in_order,
        Keyed::Latest | Keyed::Upsert(_) | Keyed::Sourced => {}
        // One record a key, at the end of time.
        Keyed::Whole(_) => (known.late, known.times_fixed) = (false, true),
        _ if !by_time => return None,
        // Whether a session has fired when a record comes at its very end depends on how watermarks follow each other,
        // where the record lies at the watermark itself: results of windows may.
        Keyed::Session { .. } if !known.fresh => return None,
        Keyed::Window { lateness, .. }
        | Keyed::Sliding { lateness, .. }
        | Keyed::TwoStage { lateness, .. } => known.late &= lateness > 0,
        Keyed::Sorted { .. } | Keyed::Session { .. } => known.late = false,
        Keyed::Apply { .. } | Keyed::Custom { .. } => known.late = false,
        Keyed::Search(_) | Keyed::Typed { .. } => known.late = false,
        Keyed::Process { .. } | Keyed::Records(_) | Keyed::Dedup { .. } | Keyed::Ttl { .. } => {}
        Keyed::Sagas => {}
    }
    known.ordered = false;
    known.fresh = false;
    Some(Stage::Keyed(keys, keyed))
}
