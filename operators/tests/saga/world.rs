//! Participants that do what they are asked, refuse, fail, fall silent, answer late and twice: whatever they do, a saga
//! leaves them all done or, but for what cannot be undone, all undone; or says who has to see to it.

use std::collections::{BTreeMap, BTreeSet};

use highwater_operators::testkit::batched_output_of;
use proptest::prelude::*;

use super::*;

/// The steps in order, and whether each can be undone.
const STEPS: [(&str, bool); 4] = [("flight", true), ("mail", false), ("hotel", true), ("car", false)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Done,
    /// It does what it is asked, and the answer is lost.
    DoneSilently,
    Refused,
    Failed,
    Silent,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Happening {
    /// The oldest request that was not dealt with meets its fate; the answer comes so often.
    Deal(Fate, usize),
    /// An answer that is on its way arrives.
    Arrive(usize),
    Pass(i64),
    Start(char),
}

fn happening() -> impl Strategy<Value = Happening> {
    let fate = prop_oneof![
        6 => Just(Fate::Done),
        1 => Just(Fate::DoneSilently),
        1 => Just(Fate::Refused),
        2 => Just(Fate::Failed),
        1 => Just(Fate::Silent),
    ];
    prop_oneof![
        6 => (fate, 1..3usize).prop_map(|(fate, times)| Happening::Deal(fate, times)),
        6 => (0..4usize).prop_map(Happening::Arrive),
        2 => (1..12i64).prop_map(Happening::Pass),
        1 => prop_oneof![Just('a'), Just('b')].prop_map(Happening::Start),
    ]
}

/// What participants have done, by idempotency key, and how it was asked for.
#[derive(Default)]
struct World {
    requests: Vec<SagaRequest<char, String>>,
    dealt: usize,
    answers: Vec<SagaReply<char, u64>>,
    settled: BTreeMap<String, Fate>,
    /// In the order in which it was acknowledged that something is undone.
    ends: BTreeMap<char, SagaOutcome>,
    inputs: Vec<(i64, (char, Input))>,
    told: Vec<Told>,
}

impl World {
    fn take(&mut self, told: Vec<(Told, Timestamp)>) {
        for (told, _) in told {
            match &told {
                Told::Asked(request) => self.requests.push(request.clone()),
                Told::Ended(end) => {
                    let before = self.ends.insert(end.saga, end.outcome.clone());
                    assert_eq!(before, None, "a saga ends once");
                }
                Told::Ignored(_) => {}
            }
            self.told.push(told);
        }
    }

    fn deal(&mut self, fate: Fate, times: usize) {
        let Some(request) = self.requests.get(self.dealt) else { return };
        self.dealt += 1;
        // Whoever has settled a request of this key before answers as it did then.
        let key = request.idempotency_key.clone();
        let fate = match (self.settled.get(&key), fate) {
            (Some(Fate::Done), Fate::DoneSilently | Fate::Silent) => Fate::DoneSilently,
            (Some(&settled), _) => settled,
            (None, Fate::Done | Fate::DoneSilently) => {
                self.settled.insert(key, Fate::Done);
                fate
            }
            (None, Fate::Refused) => {
                self.settled.insert(key, Fate::Refused);
                fate
            }
            (None, fate) => fate,
        };
        let answer = match fate {
            Fate::Done => request.done(1),
            Fate::Refused => request.refused("no"),
            Fate::Failed => request.failed("busy"),
            Fate::DoneSilently | Fate::Silent => return,
        };
        self.answers.extend(vec![answer; times]);
    }

    fn is_done(&self, saga: char, step: &str, direction: &str) -> bool {
        self.settled.get(&format!("{saga}/{step}/{direction}")) == Some(&Fate::Done)
    }

    /// What a saga asked for, each thing once, in order.
    fn asked(&self, saga: char) -> Vec<(Direction, usize)> {
        let mut asked = Vec::new();
        for request in self.requests.iter().filter(|request| request.saga == saga) {
            let step = STEPS.iter().position(|(name, _)| *name == request.step).expect("a step");
            if asked.last() != Some(&(request.direction, step)) {
                asked.push((request.direction, step));
            }
        }
        asked
    }

    fn check(&self, saga: char) {
        let asked = self.asked(saga);
        let forth: Vec<_> =
            asked.iter().filter(|asked| asked.0 == Direction::Do).map(|asked| asked.1).collect();
        let back: Vec<_> = asked.iter().skip(forth.len()).copied().collect();
        assert_eq!(forth, (0..forth.len()).collect::<Vec<_>>(), "one step after the other: {asked:?}");
        assert!(
            back.iter().all(|asked| asked.0 == Direction::Undo),
            "no step follows a compensation: {asked:?}"
        );
        let back: Vec<_> = back.into_iter().map(|asked| asked.1).collect();
        assert!(back.windows(2).all(|pair| pair[0] > pair[1]), "in reverse order, each once: {asked:?}");
        assert!(back.iter().all(|&step| STEPS[step].1 && step < forth.len()), "{asked:?}");
        let left: Vec<&str> = STEPS
            .iter()
            .rev()
            .filter(|(step, can)| *can && self.is_done(saga, step, "do") && !self.is_done(saga, step, "undo"))
            .map(|(step, _)| *step)
            .collect();
        match &self.ends[&saga] {
            SagaOutcome::Completed => {
                assert!(STEPS.iter().all(|(step, _)| self.is_done(saga, step, "do")), "all is done");
                assert_eq!((forth.len(), back.len()), (STEPS.len(), 0));
            }
            SagaOutcome::Compensated { failed, .. } => {
                assert_eq!(STEPS[forth.len() - 1].0, failed);
                assert_eq!(left, [""; 0], "all is undone");
            }
            SagaOutcome::NeedsHelp { failed, not_undone, .. } => {
                assert_eq!(STEPS[forth.len() - 1].0, failed);
                let told: BTreeSet<&str> = not_undone.iter().map(String::as_str).collect();
                assert!(left.iter().all(|step| told.contains(step)), "{left:?} of {told:?} are left");
                assert_eq!(STEPS[back[back.len() - 1]].0, not_undone[0]);
            }
        }
    }
}

fn requests_of(saga: char, told: &[Told]) -> Vec<&SagaRequest<char, String>> {
    let requests = told.iter().filter_map(|told| match told {
        Told::Asked(request) => Some(request),
        _ => None,
    });
    requests.filter(|request| request.saga == saga).collect()
}

fn ends_of(saga: char, told: &[Told]) -> Vec<&SagaEnd<char, u64>> {
    let ends = told.iter().filter_map(|told| match told {
        Told::Ended(end) => Some(end),
        _ => None,
    });
    ends.filter(|end| end.saga == saga).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_participants_do_all_is_done_or_undone_with_a_restart_after_every_input(
        happenings in proptest::collection::vec(happening(), 0..80),
    ) {
        let (mut rig, mut world, mut now) = (Rig::new(), World::default(), 0);
        let starts = ['a', 'b'].map(Happening::Start);
        for happening in starts.into_iter().chain(happenings) {
            let input = match happening {
                Happening::Start(saga) => Some((saga, SagaInput::Start(100))),
                Happening::Arrive(number) if !world.answers.is_empty() => {
                    let number = number % world.answers.len();
                    let reply = world.answers.remove(number);
                    Some((reply.saga, SagaInput::Reply(reply)))
                }
                Happening::Arrive(_) => None,
                Happening::Deal(fate, times) => {
                    world.deal(fate, times);
                    None
                }
                Happening::Pass(millis) => {
                    now += millis;
                    rig.harness.watermark(at(now));
                    None
                }
            };
            if let Some(input) = input {
                world.inputs.push((now, input.clone()));
                rig.harness.record(input, at(now));
            }
            world.take(rig.told());
        }
        // Nobody answers any more; every saga comes to an end by its timeouts, before it is forgotten.
        let answered = world.inputs.len();
        for _ in 0..200 {
            now += 4;
            rig.harness.watermark(at(now));
            world.take(rig.told());
        }
        for saga in ['a', 'b'] {
            world.check(saga);
        }

        // The same inputs in batches, with a watermark that follows them as it likes, are told the same.
        let inputs = world.inputs[..answered].to_vec();
        let batched = batched_output_of(inputs, Duration::ZERO, |inputs| chain(inputs, trip()));
        let batched: Vec<Told> = batched.into_iter().map(|(_, told)| told).collect();
        for saga in ['a', 'b'] {
            prop_assert_eq!(requests_of(saga, &batched), requests_of(saga, &world.told));
            prop_assert_eq!(ends_of(saga, &batched), ends_of(saga, &world.told));
        }
    }
}
