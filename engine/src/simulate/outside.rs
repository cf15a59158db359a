//! What there is outside of a process, and the one gate by which a process reaches it.
//!
//! Disk, brokers, directories of sinks and the clock are one value behind one lock. Every call goes through
//! [`Process::call`], which decides by dice whether the process dies before or after it, and whether it fails.
//! Invariants: a process that is dead changes nothing; nothing but the dice decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_operators::error::{Cause, TryAgain};
use highwater_state::Timestamp;
use thiserror::Error;

use super::broker::Broker;
use super::dice::Dice;
use super::disk::Disk;
use super::fault::{Call, Coverage, Fault};
use super::planted::Bug;
use super::staged::Directory;
use crate::step::{Moment, Step};

/// How many of the last events a failure shows.
const EVENTS_SHOWN: usize = 40;

/// Everything that a process can reach, and everything that outlives it.
pub(super) struct Outside {
    pub(super) dice: Dice,
    pub(super) trace: Trace,
    pub(super) coverage: Coverage,
    pub(super) clock: Timestamp,
    pub(super) disk: Disk,
    pub(super) broker: Broker,
    pub(super) directories: BTreeMap<String, Directory>,
    /// How many more faults may be injected; so that a run comes to an end.
    pub(super) faults_left: usize,
    /// One call in so many fails.
    pub(super) fails_one_in: usize,
    /// The process that holds the state directory; an older one has lost it.
    pub(super) owner: usize,
    /// What the processes that can still do something are to die of.
    dooms: BTreeMap<usize, Doom>,
    /// The processes that something was done to since their attempt began.
    hurt: BTreeSet<usize>,
    planted: Option<Bug>,
}

/// When a process dies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doom {
    /// Not before it has ended.
    Never,
    /// After so many moves.
    Moves(usize),
    /// At such a call, after so many of them.
    At(Call, Moment, usize),
    /// At a step, after so many of them.
    AtStep(Step, Moment, usize),
    /// It is dead.
    Dead,
}

/// Why a call of the simulated world failed.
#[derive(Debug, Error)]
pub(super) enum Injected {
    #[error("the process is dead")]
    Dead,
    #[error("the simulated call {0:?} failed")]
    Failed(Call),
    #[error("another process has the state directory")]
    LostDirectory,
    #[error("another process has taken over")]
    Fenced,
}

impl Outside {
    pub(super) fn new(seed: u64, planted: Option<Bug>) -> Outside {
        let mut dice = Dice::new(seed);
        // Some runs are calm but for deaths, in others every tenth call fails.
        let fails_one_in = dice.pick(&[usize::MAX, 400, 100, 30, 10]);
        let faults_left = dice.pick(&[2, 6, 12, 30]);
        Outside {
            trace: Trace::default(),
            coverage: Coverage::default(),
            clock: Timestamp::from_millis(1_700_000_000_000 + dice.roll(1_000_000_000) as i64),
            disk: Disk::default(),
            broker: Broker::default(),
            directories: BTreeMap::new(),
            faults_left,
            fails_one_in,
            owner: 0,
            dooms: BTreeMap::new(),
            hurt: BTreeSet::new(),
            planted,
            dice,
        }
    }

    /// Whether a test has planted this bug; nothing else ever does.
    pub(super) fn planted(&self, bug: Bug) -> bool {
        self.planted == Some(bug)
    }

    pub(super) fn bug(&self) -> Option<Bug> {
        self.planted
    }

    pub(super) fn doom(&mut self, process: usize, doom: Doom) {
        self.dooms.insert(process, doom);
    }

    pub(super) fn is_dead(&self, process: usize) -> bool {
        matches!(self.dooms.get(&process), Some(Doom::Dead))
    }

    /// Something was done to the process: what it says next is no bug of the engine.
    pub(super) fn hurt(&mut self, process: usize) {
        self.hurt.insert(process);
    }

    pub(super) fn was_hurt(&self, process: usize) -> bool {
        self.hurt.contains(&process)
    }

    pub(super) fn heal(&mut self, process: usize) {
        self.hurt.remove(&process);
    }

    /// Takes one of the faults that are left.
    pub(super) fn inject(&mut self, fault: Fault) {
        self.faults_left = self.faults_left.saturating_sub(1);
        self.coverage.count(fault);
        self.trace.event(format_args!("fault {fault:?}"));
    }

    fn kill(&mut self, process: usize, fault: Fault) {
        self.inject(fault);
        self.dooms.insert(process, Doom::Dead);
        self.hurt(process);
    }

    /// One more move of the process; it may be its last.
    pub(super) fn moves(&mut self, process: usize) {
        match self.dooms.get_mut(&process) {
            Some(Doom::Moves(0)) => self.kill(process, Fault::Killed),
            Some(Doom::Moves(left)) => *left -= 1,
            _ => {}
        }
    }

    /// The process is at a step.
    pub(super) fn passes(&mut self, process: usize, step: Step, moment: Moment) {
        self.trace.event(format_args!("process {process} {moment:?} {step}"));
        match self.dooms.get_mut(&process) {
            Some(Doom::AtStep(doomed, side, left)) if *doomed == step && *side == moment => match left {
                0 => self.kill(process, Fault::KilledAt(step, moment)),
                _ => *left -= 1,
            },
            _ => {}
        }
    }

    /// Whether the process dies at this side of a call.
    fn dies(&mut self, process: usize, call: Call, moment: Moment) -> bool {
        match self.dooms.get_mut(&process) {
            Some(Doom::At(doomed, side, left)) if *doomed == call && *side == moment => match left {
                0 => {
                    let before = moment == Moment::Before;
                    let fault = if before { Fault::KilledBefore(call) } else { Fault::KilledAfter(call) };
                    self.kill(process, fault);
                    true
                }
                _ => {
                    *left -= 1;
                    false
                }
            },
            _ => false,
        }
    }

    fn fails(&mut self) -> bool {
        self.faults_left > 0 && self.dice.one_in(self.fails_one_in)
    }

    /// An error that may pass, or one that ends the job.
    fn failure(&mut self, process: usize, call: Call) -> Cause {
        self.hurt(process);
        let failed = Cause::from(Injected::Failed(call));
        if self.dice.one_in(3) { failed } else { TryAgain(failed).into() }
    }
}

/// One process, as seen by what it reaches outside with.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) outside: Arc<Mutex<Outside>>,
    pub(super) number: usize,
}

impl Process {
    pub(super) fn lock(&self) -> MutexGuard<'_, Outside> {
        self.outside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call to the outside.
    pub(super) fn call<R>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut Outside) -> Result<R, Cause>,
    ) -> Result<R, Cause> {
        let mut outside = self.lock();
        let outside = &mut *outside;
        if outside.is_dead(self.number) || outside.dies(self.number, call, Moment::Before) {
            return Err(Injected::Dead.into());
        }
        if outside.fails() {
            outside.inject(Fault::Failed(call));
            return Err(outside.failure(self.number, call));
        }
        let done = effect(outside);
        let how = if done.is_ok() { "did" } else { "was refused" };
        outside.trace.event(format_args!("process {} {how} {call:?}", self.number));
        if outside.dies(self.number, call, Moment::After) {
            return Err(Injected::Dead.into());
        }
        if done.is_ok() && call.may_lose_its_answer() && outside.fails() {
            outside.inject(Fault::AnswerLost(call));
            return Err(outside.failure(self.number, call));
        }
        done
    }

    /// As [`call`](Process::call), on the machine that has the state directory.
    pub(super) fn call_at_home<R>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut Outside) -> Result<R, Cause>,
    ) -> Result<R, Cause> {
        let number = self.number;
        self.call(call, |outside| {
            if outside.owner != number {
                outside.hurt(number);
                return Err(Injected::LostDirectory.into());
            }
            effect(outside)
        })
    }
}

/// What happened, in order: the last events in words, and all of them as one number.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
    last: VecDeque<String>,
    /// Only a test that compares two runs keeps all.
    pub(super) keeps_all: bool,
}

impl Trace {
    pub(super) fn event(&mut self, event: fmt::Arguments<'_>) {
        let mut line = if self.last.len() < EVENTS_SHOWN || self.keeps_all {
            String::new()
        } else {
            self.last.pop_front().unwrap_or_default()
        };
        line.clear();
        let _ = line.write_fmt(event);
        self.hash = hash_of(&(self.hash, &line));
        self.events += 1;
        self.last.push_back(line);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn into_last(self) -> Vec<String> {
        self.last.into()
    }
}

/// A number for what is hashed, the same in every process.
pub(super) fn hash_of(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
