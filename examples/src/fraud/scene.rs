//! Events made up by chance, scene by scene, and what the rules must find in them.
//!
//! A scene is eight hours with the same number of events. Every incident happens once in it, to somebody else each
//! time, and what it must give is written down when it is planted. All other events are ordinary: no rule finds
//! anything in them, whatever their order, nor in them and an incident together, because for more than an hour before
//! an incident and after it there are no ordinary events of the same key. A scene depends on the seed and its number
//! only.
//!
//! Why no rule finds anything in ordinary events: amounts are from 400 to 900, so none is over five times an average of
//! ten; who pays and logs in does it at home; a cart is bought within 25 minutes, a server is up within 9; a client
//! fails at most once in a third of a minute of the clock, so five times take over a minute; responses take less than a
//! second; prices differ by 5 % and error rates by a quarter at the most.

use std::sync::{Mutex, PoisonError};

use highwater::connectors::generator::{ChaCha8Rng, RngExt};
use highwater::prelude::*;

use super::incidents::{CLIENTS, Cast, PRODUCTS, RESPONDERS, SERVERS, SERVICES, USERS};
use super::script::{Draft, HOUR, MINUTE, SECOND, Script, own_address};
use super::{Alert, Event, Fraud, Noted};

/// How many splits the generator has. One, because with several the lateness of an event would depend on how far the
/// others have been read.
pub const SCENE_SPLITS: u32 = 1;

/// How many events a scene has.
pub const SCENE_EVENTS: u64 = 2_000;

/// 2025-01-01T00:00:00Z
const START_MILLIS: i64 = 1_735_689_600_000;
/// How long a scene is.
const SCENE_MILLIS: i64 = 8 * HOUR;
/// When incidents begin, after the beginning of their scene. They last for three hours at the most.
const INCIDENTS_BEGIN: [i64; 2] = [2 * HOUR + MINUTE, 3 * HOUR];
/// Those who have an incident have ordinary events up to the first and from the second on, after the beginning.
const ORDINARY_UNTIL: i64 = HOUR;
const ORDINARY_FROM: i64 = 7 * HOUR;
/// How much longer what belongs to an ordinary event may take.
const AFTERMATH: i64 = 25 * MINUTE;

/// Eight hours of events, and what is in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// The events in the order in which they come. Their numbers are in the order of their times.
    pub events: Vec<Event>,
    /// What the rules must find; all of it, in no particular order.
    pub alerts: Vec<Alert>,
    /// The users whose scores must become too high.
    pub frauds: Vec<Fraud>,
}

impl Scene {
    /// The scene of this number, with events that come up to `disorder` after their time. `random` is a generator
    /// that was seeded; nothing else of it counts.
    pub fn new(random: &ChaCha8Rng, number: u64, disorder: Duration) -> Scene {
        let mut random = random.clone();
        random.set_stream(number);
        random.set_word_pos(0);
        let start = Timestamp::from_millis(START_MILLIS + number as i64 * SCENE_MILLIS);
        let mut stage = Stage { random, start, draft: Draft::default() };
        let (users, clients) = (stage.play(USERS), stage.play(CLIENTS));
        let (responders, products) = (stage.play(RESPONDERS), stage.play(PRODUCTS));
        let (services, servers) = (stage.play(SERVICES), stage.play(SERVERS));
        stage.fill(&[
            (30, users, pay),
            (18, users, log_in),
            (6, users, shop),
            (24, clients, call),
            (9, responders, respond),
            (6, products, price),
            (6, services, fail),
            (1, servers, restart),
        ]);
        stage.finish(number, disorder)
    }
}

/// Makes the event of a number. `disorder` is as for [`Scene::new`].
pub fn made_up(disorder: Duration) -> impl Fn(&mut ChaCha8Rng, u64) -> Event + Send + Sync {
    // A scene is made as a whole, and its events are asked for one after the other.
    let last = Mutex::new(None::<(u64, Scene)>);
    move |random, number| {
        let (scene, place) = (number / SCENE_EVENTS, (number % SCENE_EVENTS) as usize);
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((made, events)) if *made == scene => events.events[place].clone(),
            _ => {
                let (_, made) = last.insert((scene, Scene::new(random, scene, disorder)));
                made.events[place].clone()
            }
        }
    }
}

/// A scene that is being made.
struct Stage {
    random: ChaCha8Rng,
    start: Timestamp,
    draft: Draft,
}

/// A cast, and whose turn it was: so many incidents from the `first` on.
#[derive(Clone, Copy)]
struct Played {
    cast: Cast,
    first: u64,
    incidents: u64,
}

impl Played {
    fn had_an_incident(&self, number: u64) -> bool {
        let population = self.cast.population;
        (number + population - self.first) % population < self.incidents
    }
}

impl Stage {
    /// Lets every incident happen to somebody else of the cast.
    fn play(&mut self, cast: Cast) -> Played {
        let first = self.random.random_range(0..cast.population);
        let mut incidents = 0;
        for incident in cast.incidents.iter().copied().flatten() {
            let begin = self.random.random_range(INCIDENTS_BEGIN[0]..INCIDENTS_BEGIN[1]);
            incident(&mut self.script(&cast, (first + incidents) % cast.population, begin));
            incidents += 1;
        }
        Played { cast, first, incidents }
    }

    fn script(&mut self, cast: &Cast, number: u64, at: i64) -> Script<'_> {
        let start = Timestamp::from_millis(self.start.as_millis() + at);
        let about = format!("{}-{number}", cast.name);
        Script { draft: &mut self.draft, random: &mut self.random, start, number, about }
    }

    /// Fills the scene up with ordinary events, each kind as often as its weight says.
    fn fill(&mut self, kinds: &[(u32, Played, fn(&mut Script<'_>))]) {
        let all: u32 = kinds.iter().map(|(weight, ..)| weight).sum();
        while self.draft.events.len() < SCENE_EVENTS as usize {
            // Where there is room for one only, it is of the first kind, which is always one event.
            let last = self.draft.events.len() + 1 == SCENE_EVENTS as usize;
            let mut drawn = if last { 0 } else { self.random.random_range(0..all) };
            let chosen = kinds.iter().find(|(weight, ..)| match drawn.checked_sub(*weight) {
                Some(left) => {
                    drawn = left;
                    false
                }
                None => true,
            });
            let Some((_, played, ordinary)) = chosen else { return };
            let number = self.random.random_range(0..played.cast.population);
            let at = self.ordinary_time(played.had_an_incident(number));
            ordinary(&mut self.script(&played.cast, number, at));
        }
    }

    fn ordinary_time(&mut self, had_an_incident: bool) -> i64 {
        let begins = match (had_an_incident, self.random.random_bool(0.5)) {
            (true, true) => 0..ORDINARY_UNTIL - AFTERMATH,
            (true, false) => ORDINARY_FROM..SCENE_MILLIS - AFTERMATH,
            (false, _) => 0..SCENE_MILLIS - AFTERMATH,
        };
        self.random.random_range(begins)
    }

    /// Numbers the events, and puts them in the order in which they come.
    fn finish(mut self, number: u64, disorder: Duration) -> Scene {
        self.draft.number_from(number * SCENE_EVENTS);
        let Draft { mut events, alerts, frauds, .. } = self.draft;
        let most = i64::try_from(disorder.as_millis()).unwrap_or(i64::MAX);
        events.sort_by_cached_key(|event| {
            let behind = self.random.random_range(0..=most);
            (event.time().as_millis().saturating_add(behind), event.id())
        });
        Scene { events, alerts, frauds }
    }
}

fn pay(s: &mut Script<'_>) {
    let amount = s.between(400, 900);
    s.pay(0, amount);
}

fn log_in(s: &mut Script<'_>) {
    let ok = s.between(0, 4) > 0;
    s.login(0, ok, &own_address(s.number));
}

fn shop(s: &mut Script<'_>) {
    let later = s.between(MINUTE, AFTERMATH);
    s.fill_cart(0);
    s.purchase(later);
}

fn call(s: &mut Script<'_>) {
    let third_of_a_minute = s.start.as_millis().div_euclid(20 * SECOND);
    let fails = s.between(0, 9) == 0 && s.draft.failures.insert((s.number, third_of_a_minute));
    s.call(0, !fails);
}

fn respond(s: &mut Script<'_>) {
    let millis = s.between(5, 900);
    s.respond(0, millis);
}

fn price(s: &mut Script<'_>) {
    let price = s.between(100, 105);
    s.price(0, price);
}

fn fail(s: &mut Script<'_>) {
    let of_1024 = s.between(16, 20);
    s.fail(0, of_1024);
}

fn restart(s: &mut Script<'_>) {
    let later = s.between(SECOND, 9 * MINUTE);
    s.down(0);
    s.up(later);
}
