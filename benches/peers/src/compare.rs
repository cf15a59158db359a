//! The same work done by several engines, and what each took, round by round.

use std::hint::black_box;
use std::time::Duration;

use highwater_benches::cpu::{Taken, measure};
use highwater_benches::tally::Tally;

/// One engine's way to do the work.
pub struct Case {
    /// Who does it.
    pub engine: &'static str,
    /// By which of its means; empty if there is only one.
    pub how: &'static str,
    run: Box<dyn Fn(u64, usize) -> Tally>,
}

impl Case {
    /// A way to do the work: gets the number of records and of workers, gives what came out.
    pub fn new(engine: &'static str, how: &'static str, run: impl Fn(u64, usize) -> Tally + 'static) -> Case {
        Case { engine, how, run: Box::new(run) }
    }

    /// What the table calls it.
    pub fn name(&self) -> String {
        if self.how.is_empty() { self.engine.to_owned() } else { format!("{}, {}", self.engine, self.how) }
    }

    fn run(&self, records: u64, workers: usize) -> (Tally, Taken) {
        measure(|| black_box((self.run)(black_box(records), workers)))
    }
}

/// One piece of work: the loop written by hand first, then the engines.
pub struct Comparison {
    /// What the work is called on the command line.
    pub name: &'static str,
    /// What the work is.
    pub what: &'static str,
    /// Records of a run, if nothing else is asked for.
    pub records: u64,
    /// The loop first.
    pub cases: Vec<Case>,
}

/// A case whose run that warms up took more CPU time is not run again: that run is its only round.
const SLOW: Duration = Duration::from_secs(4);

/// What each case of a comparison took: in the order of the cases, then of the rounds.
pub type Rounds = Vec<Vec<Taken>>;

impl Comparison {
    /// Runs all cases in `rounds` rounds, one after the other in each, and one round more before, which warms up and
    /// is reported only where it took so long that it is not repeated (4 s of CPU time). Every run's output is
    /// compared with that of the loop in the same round.
    ///
    /// # Errors
    /// If an engine's output differs from the loop's, or nothing came out.
    pub fn run(&self, records: u64, workers: usize, rounds: usize) -> Result<Rounds, String> {
        let mut taken: Rounds = vec![Vec::new(); self.cases.len()];
        let mut slow = vec![false; self.cases.len()];
        for round in 0..=rounds {
            let mut expected = Tally::default();
            for (number, case) in self.cases.iter().enumerate() {
                if round > 0 && slow[number] {
                    continue;
                }
                let (found, took) = case.run(records, workers);
                if number == 0 {
                    expected = found;
                }
                if found != expected || found == Tally::default() {
                    let (name, case, hand) = (self.name, case.name(), self.cases[0].name());
                    return Err(format!("{name}: {case} gives {found:?}, {hand} gives {expected:?}"));
                }
                slow[number] |= number > 0 && took.cpu > SLOW;
                if round > 0 || slow[number] {
                    taken[number].push(took);
                }
            }
        }
        Ok(taken)
    }
}
