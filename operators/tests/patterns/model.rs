//! A model of patterns by brute force: every way to read a pattern as a sequence of places, every choice of records for
//! them, and the rules that say what may come between two records.
//!
//! It keeps no runs: that a run lives is read off the records afterwards, for the skip strategies and for what runs out
//! of time.

use std::collections::{BTreeMap, BTreeSet};

use highwater_operators::pattern::AfterMatch;

use crate::described::{Described, Rec};
use crate::places::{Greedy, Node, Place, Tail, tree};

/// What comes out: results with their times.
#[derive(Debug, Default, PartialEq)]
pub struct Results {
    /// For each match its time and its records with their stages; as often as it is found.
    pub matches: Vec<(i64, Vec<(String, u32)>)>,
    /// For each run that ran out of time its deadline and its records.
    pub timed_out: BTreeSet<(i64, Vec<u32>)>,
    /// Whether the order of two matches is left open, and something depends on it.
    pub is_ambiguous: bool,
}

/// When something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Instant {
    /// With this record.
    Record(usize),
    /// With time alone.
    Time(i64),
}

#[derive(Clone, Debug)]
struct Found {
    when: Instant,
    taken: Vec<(String, usize)>,
}

/// Something that waits for a record: from the one before until the one that ends it.
#[derive(Clone, Debug)]
struct Live {
    taken: Vec<usize>,
    until: usize,
}

/// The records of one key in order, and what has been found among them.
struct Search<'a> {
    records: &'a [Rec],
    within: Option<i64>,
    found: Vec<Found>,
    lives: Vec<Live>,
}

/// What a pattern gives for the records of one key, which are in order, if time goes on for ever behind them.
pub fn expected(described: &Described, records: &[Rec]) -> Results {
    let root = tree(described, records.len() + 1);
    let within = described.within;
    let mut search = Search { records, within, found: Vec::new(), lives: Vec::new() };
    for next in root.next.values() {
        for (at, record) in records.iter().enumerate() {
            if next.place.takes(record, &[]) && !next.place.is_left_to_greedy(record, Some(record), true) {
                search.from(next, &mut vec![(&next.place.name, at)], true);
            }
        }
    }
    search.results(&described.after)
}

impl Search<'_> {
    fn deadline(&self, began: usize) -> i64 {
        self.within.map_or(i64::MAX, |within| self.records[began].time + within)
    }

    /// Goes on from a node of which the last record has just been taken; `lives` if it may go on at all.
    fn from<'p>(&mut self, node: &'p Node, taken: &mut Vec<(&'p str, usize)>, lives: bool) {
        let last = taken[taken.len() - 1].1;
        let found = |taken: &[(&str, usize)], when| {
            let taken = taken.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
            Found { when, taken }
        };
        if node.is_complete {
            self.found.push(found(taken, Instant::Record(last)));
        }
        if !lives {
            return;
        }
        for tail in &node.tails {
            self.tail(node, tail, taken, &found);
        }
        for next in node.next.values() {
            self.wait(node, next, taken);
        }
    }

    /// Whether the very next record is refused by a `not` stage, wherever the run could go from here.
    fn is_killed(&self, node: &Node, at: usize, last: usize) -> bool {
        let record = &self.records[at];
        let is_refused = |next: &Node| {
            let place = &next.place;
            place.forbidden.iter().any(|letters| record.letters & letters != 0)
                && !place.is_left_to_greedy(record, Some(record), true)
        };
        at == last + 1
            && (node.kills.iter().any(|kill| kill.by(record)) || node.next.values().any(is_refused))
    }

    /// Every record that the next place may take.
    fn wait<'p>(&mut self, node: &'p Node, next: &'p Node, taken: &mut Vec<(&'p str, usize)>) {
        let place: &Place = &next.place;
        let (began, last) = (taken[0].1, taken[taken.len() - 1].1);
        let seen: Vec<(&str, Rec)> = taken.iter().map(|(name, at)| (*name, self.records[*at])).collect();
        let mut until = self.records.len();
        for at in last + 1..self.records.len() {
            let record = self.records[at];
            if record.time >= self.deadline(began) {
                break;
            }
            let refused =
                self.is_killed(node, at, last) || place.forbidden.iter().any(|x| record.letters & x != 0);
            let is_first = at == last + 1;
            let left = place.is_left_to_greedy(&record, self.records.get(last + 1), is_first)
                || (is_first && place.not_first.iter().any(|letters| record.letters & letters != 0));
            let in_time = place.step.is_none_or(|step| record.time - self.records[last].time < step);
            if !left && in_time && place.takes(&record, &seen) {
                taken.push((&place.name, at));
                self.from(next, taken, !refused);
                taken.pop();
            }
            if refused || left || !place.passes_over(&record, &seen) {
                until = at;
                break;
            }
        }
        self.lives.push(Live { taken: taken.iter().map(|(_, at)| *at).collect(), until });
    }

    /// A `not` stage at the end.
    fn tail(
        &mut self,
        node: &Node,
        tail: &Tail,
        taken: &[(&str, usize)],
        found: &impl Fn(&[(&str, usize)], Instant) -> Found,
    ) {
        let (began, last) = (taken[0].1, taken[taken.len() - 1].1);
        let deadline = self.deadline(began);
        let in_time: Vec<usize> =
            (last + 1..self.records.len()).filter(|&at| self.records[at].time < deadline).collect();
        let left_to = |greedy: &Option<Greedy>, at: usize| {
            let after = self.records.get(last + 1);
            greedy.as_ref().is_some_and(|greedy| greedy.keeps(&self.records[at], after))
        };
        let refuses = |letters: u8, greedy: &Option<Greedy>, at: usize| {
            self.is_killed(node, at, last) || self.records[at].letters & letters != 0 || left_to(greedy, at)
        };
        let positions: Vec<usize> = taken.iter().map(|(_, at)| *at).collect();
        match tail {
            Tail::NotNext { letters, greedy } => {
                if let Some(&at) = in_time.first()
                    && !refuses(*letters, greedy, at)
                {
                    self.found.push(found(taken, Instant::Record(at)));
                }
                self.lives.push(Live { taken: positions, until: last + 1 });
            }
            Tail::NotUntilTheEnd { letters, greedy } => {
                let refused = in_time.iter().copied().find(|&at| refuses(*letters, greedy, at));
                // Also a run that could still repeat its last stage is behind it when the time is over.
                if refused.is_none() {
                    self.found.push(found(taken, Instant::Time(deadline)));
                }
                let until = refused.unwrap_or(self.records.len());
                let matches_then = refused.is_none();
                self.lives.push(Live {
                    taken: if matches_then { vec![began] } else { positions },
                    until: if matches_then { usize::MAX } else { until },
                });
            }
        }
    }

    /// Goes through time, and gives what is found as the strategy says.
    fn results(&self, after: &AfterMatch) -> Results {
        let mut given =
            Giving { search: self, after, bound: 0, queue: Vec::new(), results: Results::default() };
        let mut deadlines: BTreeSet<i64> = BTreeSet::new();
        if self.within.is_some() {
            deadlines.extend((0..self.records.len()).map(|began| self.deadline(began)));
        }
        for (at, record) in self.records.iter().enumerate() {
            let later = deadlines.split_off(&(record.time + 1));
            for deadline in std::mem::replace(&mut deadlines, later) {
                given.at(Instant::Time(deadline), at, deadline);
            }
            given.at(Instant::Record(at), at + 1, record.time);
        }
        for deadline in deadlines {
            given.at(Instant::Time(deadline), self.records.len(), deadline);
        }
        given.results
    }
}

/// Matches on their way out.
struct Giving<'a> {
    search: &'a Search<'a>,
    after: &'a AfterMatch,
    /// What began before is skipped.
    bound: usize,
    queue: Vec<Found>,
    results: Results,
}

impl Giving<'_> {
    /// What happens at an instant, when so many records have been dealt with.
    fn at(&mut self, when: Instant, dealt_with: usize, now: i64) {
        let search = self.search;
        let bound = self.bound;
        let lives = |live: &&Live| {
            let last = live.taken[live.taken.len() - 1];
            live.taken[0] >= bound && last < dealt_with && live.until >= dealt_with
        };
        if let Instant::Time(deadline) = when {
            let over = search.lives.iter().filter(lives).filter(|live| live.until != usize::MAX);
            for live in over.filter(|live| search.deadline(live.taken[0]) == deadline) {
                let ids = live.taken.iter().map(|&at| search.records[at].id).collect();
                self.results.timed_out.insert((deadline, ids));
            }
        }
        let new = search.found.iter().filter(|found| found.when == when && found.taken[0].1 >= bound);
        self.queue.extend(new.cloned());
        let order = |found: &Found| (found.taken[0].1, positions(found));
        // What came earlier is in front already; only what began with the same record and came now is ordered.
        let mut by_beginning: BTreeMap<usize, Vec<Found>> = BTreeMap::new();
        for found in std::mem::take(&mut self.queue) {
            by_beginning.entry(found.taken[0].1).or_default().push(found);
        }
        for (_, mut same) in by_beginning {
            same.sort_by_key(|found| if found.when != when { (0, Vec::new()) } else { (1, order(found).1) });
            self.queue.extend(same);
        }
        while let Some(first) = self.queue.first().cloned() {
            let began = first.taken[0].1;
            let bound = self.bound;
            let earlier = search.lives.iter().any(|live| {
                let last = live.taken[live.taken.len() - 1];
                let is_live = last < dealt_with && live.until >= dealt_with;
                let in_time = search.deadline(live.taken[0]) > now;
                is_live && in_time && (bound..began).contains(&live.taken[0])
            });
            if earlier && *self.after != AfterMatch::NoSkip {
                return;
            }
            if let Some(second) = self.queue.get(1)
                && positions(second) == positions(&first)
                && second.taken != first.taken
            {
                self.results.is_ambiguous = true;
            }
            self.queue.remove(0);
            let taken = first.taken.iter().map(|(name, at)| (name.clone(), search.records[*at].id)).collect();
            self.results.matches.push((now, taken));
            self.bound = self.bound.max(skipped_to(self.after, &first));
            let bound = self.bound;
            self.queue.retain(|found| found.taken[0].1 >= bound);
        }
    }
}

fn positions(found: &Found) -> Vec<usize> {
    found.taken.iter().map(|(_, at)| *at).collect()
}

/// What begins before this record is skipped once a match is given.
fn skipped_to(after: &AfterMatch, found: &Found) -> usize {
    let of = |stage: &String| {
        let taken = found.taken.iter().filter(|(name, _)| name == stage).map(|(_, at)| *at);
        let taken: Vec<usize> = taken.collect();
        (taken.first().copied().unwrap_or(0), taken.last().copied().unwrap_or(0))
    };
    match after {
        AfterMatch::NoSkip => 0,
        AfterMatch::SkipToNext => found.taken[0].1 + 1,
        AfterMatch::SkipPastLast => found.taken[found.taken.len() - 1].1 + 1,
        AfterMatch::SkipToFirst(stage) => of(stage).0,
        AfterMatch::SkipToLast(stage) => of(stage).1,
    }
}
