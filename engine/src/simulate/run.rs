//! One run: processes one after the other, and what happens to them, until the input has been dealt with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_operators::graph::Graph;

use super::broker::Written;
use super::disk;
use super::fault::{Call, Fault};
use super::life::{Ended, Life};
use super::outside::{Doom, Outside, Process};
use super::planted::{self, Bug};
use super::sources;
use super::transactions;
use crate::step::{Moment, Step};

/// Moves after which a run that has not ended never will: a million, for topologies and inputs of a test's size.
const MOVES_MAX: u64 = 1_000_000;

/// How many processes may be alive and standing still at a time: few, so that those that are there get their turns.
const ASLEEP_MAX: usize = 2;

/// How many moves those that stood still get when the last process has ended.
const LAST_MOVES: usize = 5_000;

/// What a process is started with.
pub(super) struct Settings {
    pub(super) idle_after: Duration,
    pub(super) workers_max: usize,
}

/// Makes the topology of one process.
pub(super) type Build<'a> = dyn Fn(&Process) -> Result<Graph, String> + 'a;

/// A run on its way.
pub(super) struct Course<'a> {
    pub(super) outside: Arc<Mutex<Outside>>,
    build: &'a Build<'a>,
    settings: &'a Settings,
    processes: usize,
    /// Processes that stand still, or have since woken up.
    asleep: Vec<Life>,
}

impl<'a> Course<'a> {
    pub(super) fn new(seed: u64, bug: Option<Bug>, settings: &'a Settings, build: &'a Build<'a>) -> Self {
        let mut outside = Outside::new(seed, bug);
        outside.broker.lets_all_in = outside.planted(Bug::NothingFenced);
        outside.broker.marks_at_once = outside.planted(Bug::MarkerAtOnce);
        let outside = Arc::new(Mutex::new(outside));
        Course { outside, build, settings, processes: 0, asleep: Vec::new() }
    }

    fn process(&self) -> Process {
        Process { outside: Arc::clone(&self.outside), number: self.processes }
    }

    fn start(&mut self) -> Result<Life, String> {
        self.processes += 1;
        let process = self.process();
        {
            let outside = &mut *process.lock();
            outside.trace.event(format_args!("process {} starts", process.number));
            outside.owner = process.number;
            let doom = roll_doom(outside);
            outside.doom(process.number, doom);
            planted::at_start(outside);
        }
        let graph = (self.build)(&process)?;
        Ok(Life::start(process, graph, self.settings.idle_after, self.settings.workers_max))
    }

    /// Runs to the end, or to what cannot be right.
    pub(super) fn run(&mut self) -> Result<(), String> {
        let mut life = self.start()?;
        for _ in 0..MOVES_MAX {
            self.weather(&life);
            self.wake_one()?;
            if self.falls_asleep() {
                life.process.lock().hurt(life.process.number);
                let successor = self.start()?;
                self.asleep.push(std::mem::replace(&mut life, successor));
            }
            let Some(ended) = life.turn() else { continue };
            match ended {
                Ended::Dead | Ended::Failed => self.cut_power(),
                Ended::Stopped => {}
                Ended::Broken(error) => return Err(error.to_string()),
                Ended::Finished if self.starts_again() => {}
                Ended::Finished => return self.let_all_end(),
            }
            life = self.start()?;
        }
        Err(format!("after {MOVES_MAX} moves the input has not been dealt with: something waits for ever"))
    }

    /// What happens outside of all processes, and what is asked of one.
    fn weather(&self, life: &Life) {
        let outside = &mut *life.process.lock();
        if outside.dice.one_in(10) {
            sources::grow(outside);
        }
        if outside.dice.one_in(50) {
            transactions::arrive(outside);
        }
        if outside.dice.one_in(20) {
            outside.broker.complete();
        }
        if outside.faults_left == 0 {
            return;
        }
        if outside.dice.one_in(1500) && outside.broker.time_out() {
            outside.inject(Fault::TimedOut);
        }
        if outside.dice.one_in(3000) {
            outside.inject(Fault::Stopped);
            life.stop();
        }
        if outside.dice.one_in(3000) && life.divide() {
            outside.inject(Fault::Divided);
        }
    }

    fn falls_asleep(&self) -> bool {
        let process = self.process();
        let outside = &mut *process.lock();
        outside.faults_left > 0 && self.asleep.len() < ASLEEP_MAX && outside.dice.one_in(2500)
    }

    /// Gives one of those that stood still a move.
    fn wake_one(&mut self) -> Result<(), String> {
        let asleep = self.asleep.len();
        let number = {
            let process = self.process();
            let outside = &mut *process.lock();
            if asleep == 0 || !outside.dice.one_in(3) {
                return Ok(());
            }
            let number = outside.dice.roll(asleep);
            if !std::mem::replace(&mut self.asleep[number].woken, true) {
                outside.coverage.count(Fault::Woken);
            }
            number
        };
        match self.asleep[number].turn() {
            None => Ok(()),
            Some(Ended::Broken(error)) => Err(format!("a process that was taken over says: {error}")),
            Some(_) => {
                self.asleep.swap_remove(number);
                Ok(())
            }
        }
    }

    fn cut_power(&self) {
        let process = self.process();
        let outside = &mut *process.lock();
        // The machine whose power fails is that of the state directory.
        if outside.dice.one_in(2) {
            disk::cut_power(outside);
        }
    }

    fn starts_again(&self) -> bool {
        let process = self.process();
        let outside = &mut *process.lock();
        let again = outside.faults_left > 0 && outside.dice.one_in(3);
        if again {
            outside.inject(Fault::StartedAgain);
        }
        again
    }

    /// The last process has ended; those that stood still may yet do what they can.
    fn let_all_end(&mut self) -> Result<(), String> {
        for _ in 0..LAST_MOVES {
            if self.asleep.is_empty() {
                break;
            }
            self.wake_one()?;
        }
        let process = self.process();
        let outside = &mut *process.lock();
        while !outside.broker.on_the_way.is_empty() {
            transactions::arrive(outside);
        }
        Ok(())
    }

    /// What is visible in the end, by sink.
    pub(super) fn outputs(&self) -> BTreeMap<String, Vec<Written>> {
        let process = self.process();
        let outside = &mut *process.lock();
        let mut outputs = outside.broker.committed();
        for (sink, directory) in &mut outside.directories {
            outputs.entry(sink.clone()).or_default().append(&mut directory.published);
        }
        outputs
    }
}

/// What the next process is to die of.
fn roll_doom(outside: &mut Outside) -> Doom {
    if outside.faults_left == 0 {
        return Doom::Never;
    }
    let dice = &mut outside.dice;
    let side = dice.pick(&[Moment::Before, Moment::After]);
    match dice.roll(10) {
        0 => Doom::Never,
        1 | 2 => Doom::Moves(dice.roll(1000)),
        3..6 => {
            let call = dice.pick(Call::ALL);
            let often = matches!(call, Call::Poll | Call::Produce);
            Doom::At(call, side, dice.roll(if often { 60 } else { 4 }))
        }
        _ => Doom::AtStep(dice.pick(Step::ALL), side, dice.roll(4)),
    }
}
