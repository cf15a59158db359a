//! Every way to read a pattern: as sequences of places that each take one record, with the rules between them.
//!
//! Sequences with the same beginning share it, as a tree. Repetitions without a limit go on until there are more places
//! than records.

use std::collections::{BTreeMap, BTreeSet};

use highwater_operators::pattern::{Contiguity, Inner};

use crate::described::{Described, Kind, Part, Rec, Test};

/// What a greedy stage keeps from what follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Greedy {
    letters: u8,
    until: Option<u8>,
    /// What follows is a `not_next`, which looks at one record only.
    only_first: bool,
}

impl Greedy {
    /// Whether the record is the greedy stage's; `first` is the one behind the last that the run took.
    pub fn keeps(&self, record: &Rec, first: Option<&Rec>) -> bool {
        let is = |record: &Rec, letters: u8| record.letters & letters != 0;
        let is_over = first.zip(self.until).is_some_and(|(first, until)| is(first, until));
        is(record, self.letters) && !is_over
    }
}

/// What ends a run if it is the very next record.
#[derive(Clone, Debug, PartialEq)]
pub struct Kill {
    letters: u8,
    greedy: Option<Greedy>,
}

impl Kill {
    pub fn by(&self, record: &Rec) -> bool {
        let kept = self.greedy.as_ref().is_some_and(|greedy| greedy.keeps(record, Some(record)));
        record.letters & self.letters != 0 && !kept
    }
}

/// A place that takes one record.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub name: String,
    test: Option<Test>,
    /// How the records before it are treated.
    gap: Option<Contiguity>,
    /// Letters that its record is not, and letters that no record before it is.
    not_taken: Vec<u8>,
    not_passed: Vec<u8>,
    /// Letters that end the run while it waits here.
    pub forbidden: Vec<u8>,
    /// Letters that the very next record is not, if it is taken here.
    pub not_first: Vec<u8>,
    greedy: Option<Greedy>,
    pub step: Option<i64>,
    /// Of the groups around it, which round this is, and which repetition of its stage.
    rounds: Vec<usize>,
}

impl Place {
    pub fn takes(&self, record: &Rec, taken: &[(&str, Rec)]) -> bool {
        let holds = self.test.as_ref().is_some_and(|test| test.holds(record, taken));
        holds && self.not_taken.iter().all(|letters| record.letters & letters == 0)
    }

    pub fn passes_over(&self, record: &Rec, taken: &[(&str, Rec)]) -> bool {
        let holds = || self.test.as_ref().is_some_and(|test| test.holds(record, taken));
        let passes = match self.gap {
            None | Some(Contiguity::Next) => false,
            Some(Contiguity::FollowedBy) => !holds(),
            Some(Contiguity::FollowedByAny) => true,
        };
        passes && self.not_passed.iter().all(|letters| record.letters & letters == 0)
    }

    pub fn is_left_to_greedy(&self, record: &Rec, first: Option<&Rec>, is_first: bool) -> bool {
        let greedy = self.greedy.as_ref().filter(|greedy| is_first || !greedy.only_first);
        greedy.is_some_and(|greedy| greedy.keeps(record, first))
    }
}

/// A `not` stage at the end of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Tail {
    NotNext { letters: u8, greedy: Option<Greedy> },
    NotUntilTheEnd { letters: u8, greedy: Option<Greedy> },
}

/// A beginning of the pattern.
#[derive(Debug, Default)]
pub struct Node {
    pub place: Place,
    pub next: BTreeMap<(String, Vec<usize>), Node>,
    pub tails: Vec<Tail>,
    pub kills: Vec<Kill>,
    /// It is a match.
    pub is_complete: bool,
}

#[derive(Clone, Debug)]
enum Piece {
    Place(Box<Place>),
    Not { letters: u8, next: bool },
    Greedy(Greedy),
}

type Word = Vec<Piece>;

fn places(word: &Word) -> usize {
    word.iter().filter(|piece| matches!(piece, Piece::Place(_))).count()
}

/// What is around a list of stages.
#[derive(Clone, Default)]
struct Around<'a> {
    gap: Option<Contiguity>,
    until: Option<u8>,
    rounds: Vec<usize>,
    next: Option<&'a Part>,
}

/// The ways to read a pattern, as far as so many places.
pub fn tree(described: &Described, room: usize) -> Node {
    let mut root = Node::default();
    for word in words(&described.parts, &Around::default(), room) {
        let is_whole = places(&word) < room;
        insert(&mut root, word, is_whole);
    }
    root.is_complete = false;
    root.tails.clear();
    root
}

/// Adds what does not differ from what is there already.
fn words_behind(before: Vec<Word>, behind: &[Word], room: usize) -> Vec<Word> {
    let nothing: &[Word] = &[Vec::new()];
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for word in before {
        let is_full = places(&word) >= room;
        for more in if is_full { nothing } else { behind } {
            let mut longer = word.clone();
            for piece in more {
                if places(&longer) >= room {
                    break;
                }
                longer.push(piece.clone());
            }
            if seen.insert(format!("{longer:?}")) {
                all.push(longer);
            }
        }
    }
    all
}

fn words(parts: &[Part], around: &Around<'_>, room: usize) -> Vec<Word> {
    let mut all = vec![Vec::new()];
    for (at, part) in parts.iter().enumerate() {
        let next = parts.get(at + 1).or(around.next);
        let gap = if at == 0 { around.gap.unwrap_or(Contiguity::Next) } else { part.contiguity };
        all = words_behind(all, &words_of(part, gap, &Around { next, ..around.clone() }, room), room);
    }
    all
}

/// The ways to read one stage with its repetitions.
fn words_of(part: &Part, gap: Contiguity, around: &Around<'_>, room: usize) -> Vec<Word> {
    if let Kind::Not { letters, next, .. } = part.kind {
        return vec![vec![Piece::Not { letters, next }]];
    }
    let inner = match part.quantifier.inner {
        Inner::Relaxed => Contiguity::FollowedBy,
        Inner::Consecutive => Contiguity::Next,
        Inner::Combinations => Contiguity::FollowedByAny,
    };
    let least = part.quantifier.min.max(1) as usize;
    let most = part.quantifier.max.map_or(room.max(least), |max| max as usize);
    let mut all = if part.may_be_left_out() { vec![Vec::new()] } else { Vec::new() };
    let mut rounds = vec![Vec::new()];
    for round in 0..most {
        let gap = if round == 0 { gap } else { inner };
        rounds = words_behind(rounds, &one_round(part, round, gap, around, room), room);
        if round + 1 >= least {
            all.extend(rounds.iter().cloned());
        }
    }
    let repeats = part.quantifier.max.is_none_or(|max| max as usize > least);
    if part.quantifier.greedy
        && repeats
        && let Kind::Take { test, .. } = &part.kind
    {
        let greedy = Greedy { letters: test.letters, until: part.until, only_first: false };
        all.iter_mut()
            .filter(|word| places(word) < room)
            .for_each(|word| word.push(Piece::Greedy(greedy.clone())));
    }
    all
}

fn one_round(part: &Part, round: usize, gap: Contiguity, around: &Around<'_>, room: usize) -> Vec<Word> {
    let rounds: Vec<usize> = around.rounds.iter().copied().chain([round]).collect();
    let (name, test) = match &part.kind {
        Kind::Group(parts) => {
            let inside = Around { gap: Some(gap), until: part.until, rounds, next: around.next };
            return words(parts, &inside, room);
        }
        Kind::Take { name, test } => (name, test),
        Kind::Not { .. } => return Vec::new(),
    };
    let own = part.until.filter(|_| round > 0);
    let forbidden = match around.next.map(|next| &next.kind) {
        Some(&Kind::Not { letters, next: false, .. }) if round > 0 => vec![letters],
        _ => Vec::new(),
    };
    vec![vec![Piece::Place(Box::new(Place {
        name: name.clone(),
        test: Some(test.clone()),
        gap: Some(gap),
        not_taken: part.until.into_iter().chain(around.until).collect(),
        not_passed: own.into_iter().chain(around.until).collect(),
        forbidden,
        not_first: Vec::new(),
        greedy: None,
        step: part.step,
        rounds,
    }))]]
}

/// Adds a sequence to the tree; `is_whole` if it is not cut off.
fn insert(root: &mut Node, word: Word, is_whole: bool) {
    let mut node = root;
    let (mut nots, mut greedy): (Vec<(u8, bool)>, Option<Greedy>) = (Vec::new(), None);
    for piece in word {
        match piece {
            Piece::Greedy(of) => greedy = Some(of),
            Piece::Not { letters, next } => {
                let kill = Kill { letters, greedy: greedy.clone() };
                if !node.kills.contains(&kill) {
                    node.kills.push(kill);
                }
                greedy = greedy.map(|greedy| Greedy { only_first: next, ..greedy });
                nots.push((letters, next));
            }
            Piece::Place(mut place) => {
                for (letters, next) in nots.drain(..) {
                    let refused = if next { &mut place.not_first } else { &mut place.forbidden };
                    refused.push(letters);
                }
                place.greedy = greedy.take();
                let name = (place.name.clone(), place.rounds.clone());
                node = node.next.entry(name).or_insert_with(|| Node { place: *place, ..Node::default() });
            }
        }
    }
    if !is_whole {
        return;
    }
    let tail = match nots.last() {
        None => {
            node.is_complete = true;
            return;
        }
        Some(&(letters, true)) => Tail::NotNext { letters, greedy },
        Some(&(letters, false)) => Tail::NotUntilTheEnd { letters, greedy },
    };
    if !node.tails.contains(&tail) {
        node.tails.push(tail);
    }
}
