//! Programs that change: kinds of events that get other fields, come and go, and another `evolve`.

use serde::{Deserialize, Serialize};

use highwater_operators::error::RunError;
use highwater_operators::sourcing::{Command, Envelope, EventSourced, EventStore, Sourcing};
use highwater_operators::stream::Stream;
use highwater_operators::testkit::{Harness, Kept, at};

/// A list of texts of whatever happened; each edition of the program has events of its own.
macro_rules! edition {
    ($account:ident, $entry:ident, $decide:expr) => {
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename = "Account")]
        struct $account {
            past: Vec<String>,
        }

        impl EventSourced for $account {
            type Command = &'static str;
            type Event = $entry;
            type Rejection = ();

            fn decide(&self, owner: &'static str) -> Result<Vec<$entry>, ()> {
                let decide: fn(&'static str) -> $entry = $decide;
                Ok(vec![decide(owner)])
            }

            fn evolve(&mut self, event: &$entry) {
                self.past.push(format!("{event:?}"));
            }
        }
    };
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum First {
    Opened { owner: String },
    Closed,
}
edition!(FirstAccount, First, |owner| match owner {
    "" => First::Closed,
    owner => First::Opened { owner: owner.to_owned() },
});

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Second {
    /// One more in front: numbers of variants are not what is kept.
    Moved(u8),
    Opened {
        owner: String,
        currency: String,
    },
    Closed,
}
edition!(SecondAccount, Second, |owner| Second::Opened {
    owner: owner.to_owned(),
    currency: "EUR".to_owned()
});

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Third {
    Opened { owner: String, currency: String, limit: u64 },
    Ended { why: String },
    Moved(u8),
}
edition!(ThirdAccount, Third, |owner| Third::Opened {
    owner: owner.to_owned(),
    currency: "USD".to_owned(),
    limit: 9
});

#[derive(Serialize, Deserialize)]
struct OpenedV1 {
    owner: String,
}

#[derive(Serialize, Deserialize)]
struct OpenedV2 {
    owner: String,
    currency: String,
}

fn in_euros(old: OpenedV1) -> OpenedV2 {
    OpenedV2 { owner: old.owner, currency: "EUR".to_owned() }
}

fn second() -> Sourcing<SecondAccount> {
    Sourcing::new().upcast("Opened", 1, |old: OpenedV1| {
        let OpenedV2 { owner, currency } = in_euros(old);
        Second::Opened { owner, currency }
    })
}

fn third() -> Sourcing<ThirdAccount> {
    // In whatever order they are told.
    Sourcing::new()
        .upcast("Opened", 2, |old: OpenedV2| Third::Opened {
            owner: old.owner,
            currency: old.currency,
            limit: 0,
        })
        .upcast("Opened", 1, in_euros)
        .upcast("Closed", 1, |(): ()| Third::Ended { why: "closed".to_owned() })
}

fn chain<A>(stream: Stream<&'static str>, sourcing: Sourcing<A>) -> Stream<Envelope<u8, A::Event>>
where
    A: EventSourced<Command = &'static str, Rejection = ()>,
{
    let commands = stream.key_by(|_| 7u8).map_values(|owner| Command::new("command", owner));
    commands.event_sourced("accounts", sourcing).0.values()
}

fn after<A>(
    kept: Kept,
    sourcing: &Sourcing<A>,
) -> Result<Harness<&'static str, Envelope<u8, A::Event>>, RunError>
where
    A: EventSourced<Command = &'static str, Rejection = ()>,
{
    Harness::after(kept, |stream| chain(stream, sourcing.clone()))
}

fn first() -> Harness<&'static str, Envelope<u8, First>> {
    let mut harness = Harness::new(|stream| chain(stream, Sourcing::<FirstAccount>::new()));
    harness.record("ada", at(1));
    harness.record("", at(2));
    harness
}

#[test]
fn events_of_every_version_are_read_as_those_of_today_through_all_steps() {
    let mut harness = after(first().kept().clone(), &second()).expect("opens");
    harness.record("bob", at(3));
    assert_eq!(harness.take()[0].0.schema, 2);
    let kept = harness.kept().clone();
    let mut harness = after(kept, &third().revision(2)).expect("opens");
    harness.record("eve", at(4));
    let store = EventStore::<u8, _>::open(harness.kept(), "accounts", third().revision(2)).expect("opens");
    let opened = |owner: &str, currency: &str, limit| Third::Opened {
        owner: owner.to_owned(),
        currency: currency.to_owned(),
        limit,
    };
    let events = store.load(&7, 1).expect("reads");
    let found: Vec<_> =
        events.into_iter().map(|event| (event.kind.into_owned(), event.schema, event.event)).collect();
    let expected = [
        ("Opened".to_owned(), 1, opened("ada", "EUR", 0)),
        ("Closed".to_owned(), 1, Third::Ended { why: "closed".to_owned() }),
        ("Opened".to_owned(), 2, opened("bob", "EUR", 0)),
        ("Opened".to_owned(), 3, opened("eve", "USD", 9)),
    ];
    assert_eq!(found, expected);
    // The state of this revision was made anew from all of them, by the aggregate as it is today.
    let state = store.state(&7).expect("reads");
    let texts = expected.map(|(_, _, event)| format!("{event:?}"));
    assert_eq!((state.version, state.state.past), (4, texts.to_vec()));
}

#[test]
fn without_another_revision_the_state_stays_what_it_was_made_to_be() {
    let mut harness = after(first().kept().clone(), &second()).expect("opens");
    harness.record("bob", at(3));
    let store = EventStore::<u8, _>::open(harness.kept(), "accounts", second()).expect("opens");
    let past = store.state(&7).expect("reads").state.past;
    assert_eq!(past[0], "Opened { owner: \"ada\" }");
    assert_eq!(past.len(), 3);
}

#[test]
fn a_program_that_would_misread_events_is_refused_when_it_starts() {
    let kept = || first().kept().clone();
    let refused = |outcome: Result<(), RunError>| outcome.expect_err("cannot be read").to_string();
    let open = |sourcing: Sourcing<SecondAccount>| refused(after(kept(), &sourcing).map(drop));
    let changed = open(Sourcing::new());
    for part in ["accounts", "`Opened`", "{owner:str}", "{owner:str,currency:str}", "upcast(\"Opened\", 1"] {
        assert!(changed.contains(part), "{part}: {changed}");
    }
    // A kind that is gone, with nothing that says what becomes of it.
    let gone =
        Sourcing::<ThirdAccount>::new().upcast("Opened", 1, in_euros).upcast("Opened", 2, |old: OpenedV2| {
            Third::Opened { owner: old.owner, currency: old.currency, limit: 0 }
        });
    let gone = refused(after(kept(), &gone).map(drop));
    assert!(gone.contains("`Closed`") && gone.contains("does not know"), "{gone}");
    // A step that takes something else than what was written.
    let wrong = Sourcing::<SecondAccount>::new()
        .upcast("Opened", 1, |old: OpenedV2| Second::Opened { owner: old.owner, currency: old.currency });
    let store = EventStore::<u8, _>::open(&kept(), "accounts", wrong.clone()).map(drop);
    let read = store.expect_err("cannot be read").to_string();
    assert!(read.contains("`Opened`") && open(wrong).contains(&read), "{read}");
}

#[test]
fn nobody_goes_back_to_a_revision_whose_states_have_not_followed() {
    let kept = first().kept().clone();
    let mut harness = after(kept, &second().revision(3)).expect("opens");
    harness.record("bob", at(3));
    let back = after(harness.kept().clone(), &second().revision(2)).map(drop).expect_err("goes back");
    let text = back.to_string();
    assert!(text.contains("revision 3") && text.contains("revision 2"), "{text}");
    assert!(EventStore::<u8, _>::open(harness.kept(), "accounts", second()).is_err());
}

#[test]
fn steps_with_a_gap_are_refused_before_anything_runs() {
    let reason = |sourcing: Sourcing<ThirdAccount>| sourcing.check().expect_err("has a gap");
    let end = |old: OpenedV2| Third::Opened { owner: old.owner, currency: old.currency, limit: 0 };
    let gap = reason(Sourcing::new().upcast("Opened", 2, end));
    assert!(gap.contains("version 1") && gap.contains("version 2"), "{gap}");
    let gap = reason(Sourcing::new().upcast("Opened", 1, in_euros).upcast("Opened", 3, end));
    assert!(gap.contains("version 2") && gap.contains("version 3"), "{gap}");
    let twice = reason(Sourcing::new().upcast("Opened", 1, end).upcast("Opened", 1, end));
    assert!(twice.contains("two steps"), "{twice}");
    let open_end = reason(Sourcing::new().upcast("Opened", 1, in_euros));
    assert!(open_end.contains("OpenedV2") && open_end.contains("Third"), "{open_end}");
    let apart =
        reason(Sourcing::new().upcast("Opened", 1, |old: OpenedV1| old.owner).upcast("Opened", 2, end));
    assert!(apart.contains("String") && apart.contains("OpenedV2"), "{apart}");
    let topology = highwater_operators::topology::Topology::new("gap");
    let sourcing = Sourcing::<ThirdAccount>::new().upcast("Opened", 2, end);
    let source = topology.source("owners", highwater_operators::memory::Memory::source(["ada"]));
    let timed = source.event_time(|_| at(0), std::time::Duration::ZERO);
    chain(timed, sourcing).sink("out", highwater_operators::memory::Memory::sink());
    let refused = topology.finish().map(drop).expect_err("has a gap");
    assert!(refused[0].to_string().contains("no step leads from version 1"), "{refused:?}");
}

#[test]
fn what_cannot_be_an_event_is_refused() {
    #[derive(Default, Serialize, Deserialize)]
    struct Counter;
    impl EventSourced for Counter {
        type Command = u64;
        type Event = u64;
        type Rejection = ();
        fn decide(&self, number: u64) -> Result<Vec<u64>, ()> {
            Ok(vec![number])
        }
        fn evolve(&mut self, _: &u64) {}
    }
    let reason = Sourcing::<Counter>::new().check().expect_err("a number has no kind");
    assert!(reason.contains("u64") && reason.contains("enum"), "{reason}");
    assert!(Sourcing::<FirstAccount>::new().snapshot_every(0).check().is_err());
    assert!(Sourcing::<FirstAccount>::new().revision(0).check().is_err());
}
