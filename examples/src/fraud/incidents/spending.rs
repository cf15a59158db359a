//! Incidents: transactions that are large, far apart or unusual.

use super::super::Rule;
use super::super::script::{HOUR, MINUTE, Place, Script};
use super::{IN_10_MINUTES, IN_AN_HOUR, Incident};

/// What users spend.
pub(in super::super) const SPENDING: [Incident; 21] = [
    large_transactions,
    large_transactions_just_in_time,
    four_large_transactions_are_one_alert,
    six_large_transactions_are_two_alerts,
    almost_large_transactions_too_late,
    almost_large_transactions_one_of_1000,
    not_two_large_transactions,
    three_countries,
    three_countries_just_in_time,
    almost_three_countries_too_late,
    not_two_countries,
    far_apart,
    far_apart_over_a_place_between,
    far_apart_by_a_kilometre,
    almost_far_apart,
    almost_far_apart_too_late,
    unusual_amount,
    unusual_amounts_twice,
    almost_unusual_amount,
    almost_unusual_amount_by_the_tenth,
    not_an_unusual_amount_of_a_newcomer,
];

// --- transactions: three large ones -----------------------------------------------------------------------------

/// Amounts that are large, and not unusual behind ordinary ones.
fn pay_large<const N: usize>(s: &mut Script<'_>, times: [i64; N]) -> [u64; N] {
    times.map(|at| {
        let amount = s.between(1_001, 1_900);
        s.pay(at, amount)
    })
}

/// An amount that is neither large nor unusual; whole tens, so that the average of ten is a whole number.
fn ordinary_amount(s: &mut Script<'_>) -> i64 {
    s.between(40, 90) * 10
}

fn pay_ordinary(s: &mut Script<'_>, at: i64) -> u64 {
    let amount = ordinary_amount(s);
    s.pay(at, amount)
}

pub(super) fn three_large(s: &mut Script<'_>, times: [i64; 3]) {
    let events = pay_large(s, times);
    s.alert(Rule::LargeTransactions, times[2], &events);
}

fn large_transactions(s: &mut Script<'_>) {
    let last = s.between(2 * MINUTE, IN_10_MINUTES);
    let times = s.times(0, last);
    pay_ordinary(s, times[1] - 1);
    pay_ordinary(s, times[2] - 1);
    three_large(s, times);
}

fn large_transactions_just_in_time(s: &mut Script<'_>) {
    let times = s.times(0, IN_10_MINUTES);
    three_large(s, times);
}

fn four_large_transactions_are_one_alert(s: &mut Script<'_>) {
    let [a, b, c, d] = s.times(0, IN_10_MINUTES);
    three_large(s, [a, b, c]);
    pay_large(s, [d]);
}

fn six_large_transactions_are_two_alerts(s: &mut Script<'_>) {
    let [a, b, c, d, e, f] = s.times(0, IN_10_MINUTES);
    three_large(s, [a, b, c]);
    three_large(s, [d, e, f]);
}

fn almost_large_transactions_too_late(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, IN_10_MINUTES + 1);
    pay_large(s, [a, b, c]);
}

fn almost_large_transactions_one_of_1000(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, IN_10_MINUTES);
    pay_large(s, [a]);
    s.pay(b, 1_000);
    pay_large(s, [c]);
}

fn not_two_large_transactions(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, 5 * MINUTE);
    pay_large(s, [a]);
    pay_ordinary(s, b);
    pay_large(s, [c]);
}

// --- transactions: places ---------------------------------------------------------------------------------------

/// Three countries whose towns lie within 40 kilometres.
const AACHEN: Place = ("DE", 50.78, 6.08);
const MAASTRICHT: Place = ("NL", 50.85, 5.69);
const LIEGE: Place = ("BE", 50.63, 5.57);

const NEW_YORK: Place = ("US", 40.71, -74.01);
const LOS_ANGELES: Place = ("US", 34.05, -118.24);

/// A place so many degrees, of 111.19 kilometres each, north of Santiago.
fn north_of_santiago(degrees: f64) -> Place {
    ("CL", -33.45 + degrees, -70.67)
}

fn pay_in<const N: usize>(s: &mut Script<'_>, places: [(i64, Place); N]) -> [u64; N] {
    places.map(|(at, place)| pay_there(s, at, place))
}

fn pay_there(s: &mut Script<'_>, at: i64, place: Place) -> u64 {
    let amount = ordinary_amount(s);
    s.pay_in(at, amount, place)
}

pub(super) fn in_three_countries(s: &mut Script<'_>, [a, b, c]: [i64; 3]) {
    let events = pay_in(s, [(a, LIEGE), (b, AACHEN), (c, MAASTRICHT)]);
    s.alert(Rule::ThreeCountries, c, &events);
}

fn three_countries(s: &mut Script<'_>) {
    let last = s.between(5 * MINUTE, IN_AN_HOUR);
    let times = s.times(0, last);
    pay_there(s, times[1] - 1, LIEGE);
    pay_there(s, times[2] - 1, LIEGE);
    in_three_countries(s, times);
}

fn three_countries_just_in_time(s: &mut Script<'_>) {
    let times = s.times(0, IN_AN_HOUR);
    in_three_countries(s, times);
}

fn almost_three_countries_too_late(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, IN_AN_HOUR + 1);
    pay_in(s, [(a, LIEGE), (b, AACHEN), (c, MAASTRICHT)]);
}

fn not_two_countries(s: &mut Script<'_>) {
    let [a, b, c, d] = s.times(0, 30 * MINUTE);
    pay_in(s, [(a, LIEGE), (b, AACHEN), (c, LIEGE), (d, AACHEN)]);
}

pub(super) fn far_from_new_york(s: &mut Script<'_>, here: i64, there: i64) {
    let events = pay_in(s, [(here, NEW_YORK), (there, LOS_ANGELES)]);
    s.alert(Rule::FarApart, there, &events);
}

fn far_apart(s: &mut Script<'_>) {
    let there = s.between(5 * MINUTE, IN_AN_HOUR);
    far_from_new_york(s, 0, there);
    // The first place within the hour is told, and once: what lies between and behind is part of the same journey.
    pay_there(s, there / 2, NEW_YORK);
    pay_there(s, there + MINUTE, LOS_ANGELES);
}

fn far_apart_over_a_place_between(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, IN_AN_HOUR);
    let here = pay_there(s, a, north_of_santiago(0.0));
    pay_there(s, b, north_of_santiago(5.0));
    let there = pay_there(s, c, north_of_santiago(10.0));
    s.alert(Rule::FarApart, c, &[here, there]);
}

fn far_apart_by_a_kilometre(s: &mut Script<'_>) {
    let here = pay_there(s, 0, north_of_santiago(0.0));
    let there = pay_there(s, IN_AN_HOUR, north_of_santiago(9.0));
    s.alert(Rule::FarApart, IN_AN_HOUR, &[here, there]);
}

fn almost_far_apart(s: &mut Script<'_>) {
    pay_there(s, 0, north_of_santiago(0.0));
    pay_there(s, 10 * MINUTE, north_of_santiago(8.99));
}

fn almost_far_apart_too_late(s: &mut Script<'_>) {
    pay_there(s, 0, NEW_YORK);
    pay_there(s, IN_AN_HOUR + 1, LOS_ANGELES);
}

// --- transactions: unusual amounts ------------------------------------------------------------------------------

/// Ten ordinary transactions from `from` on, one every two minutes; gives their average.
fn ten_ordinary(s: &mut Script<'_>, from: i64) -> i64 {
    let amounts = [(); 10].map(|()| ordinary_amount(s));
    for (place, amount) in (0..).zip(amounts) {
        s.pay(from + place * 2 * MINUTE, amount);
    }
    amounts.iter().sum::<i64>() / 10
}

/// An unusual amount at `at`, and ten ordinary ones in the 20 minutes before.
pub(super) fn unusual_at(s: &mut Script<'_>, at: i64) {
    let usual = ten_ordinary(s, at - 20 * MINUTE);
    let more = s.between(1, 1_000);
    let event = s.pay(at, 5 * usual + more);
    s.alert(Rule::UnusualAmount, at, &[event]);
}

fn unusual_amount(s: &mut Script<'_>) {
    unusual_at(s, 20 * MINUTE);
}

fn unusual_amounts_twice(s: &mut Script<'_>) {
    let usual = ten_ordinary(s, 0);
    let first = 5 * usual + 1;
    let events = [s.pay(20 * MINUTE, first), s.pay(50 * MINUTE, 6 * first)];
    // The second is over five times what it would be if all of the last ten had been like the first.
    s.alert(Rule::UnusualAmount, 20 * MINUTE, &events[..1]);
    s.alert(Rule::UnusualAmount, 50 * MINUTE, &events[1..]);
}

fn almost_unusual_amount(s: &mut Script<'_>) {
    let usual = ten_ordinary(s, 0);
    s.pay(20 * MINUTE, 5 * usual);
}

fn almost_unusual_amount_by_the_tenth(s: &mut Script<'_>) {
    // Over five times the average of the last nine, and not of the last ten.
    let amounts = [1_900, 400, 400, 400, 400, 400, 400, 400, 400, 400, 2_500];
    for (place, amount) in (0..).zip(amounts) {
        s.pay(place * 2 * MINUTE, amount);
    }
}

fn not_an_unusual_amount_of_a_newcomer(s: &mut Script<'_>) {
    let times = s.start.as_millis() / HOUR;
    s.about = format!("newcomer-{times}");
    for place in 0..9 {
        s.pay(place * 2 * MINUTE, 10);
    }
    s.pay(20 * MINUTE, 900);
}
