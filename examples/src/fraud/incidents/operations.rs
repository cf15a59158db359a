//! Incidents: calls, responses, prices, error rates and servers.

use super::super::Rule;
use super::super::script::{MINUTE, SECOND, Script};
use super::{IN_AN_HOUR, Incident};

/// What clients get.
pub(in super::super) const CALLS: [Incident; 6] = [
    failed_calls,
    failed_calls_just_in_time,
    nine_failed_calls_are_one_alert,
    almost_failed_calls_too_late,
    almost_failed_calls,
    not_failed_calls,
];

/// How servers respond.
pub(in super::super) const RESPONSES: [Incident; 6] = [
    slow_responses,
    slow_responses_just_in_time,
    seven_slow_responses_are_two_alerts,
    almost_slow_responses_too_late,
    almost_slow_responses_by_a_millisecond,
    not_slow_responses_in_a_row,
];

/// What products cost.
pub(in super::super) const PRICES: [Incident; 6] = [
    rising_price,
    rising_price_just_in_time,
    almost_rising_price_too_late,
    almost_rising_price,
    not_a_rising_price_with_a_dip,
    not_a_rising_price_in_four_steps,
];

/// How often services fail.
pub(in super::super) const ERRORS: [Incident; 6] = [
    rising_errors,
    rising_errors_just_in_time,
    almost_rising_errors_too_late,
    almost_rising_errors,
    not_rising_errors_without_doubling,
    not_rising_errors_from_nothing,
];

/// How servers go down.
pub(in super::super) const SERVERS: [Incident; 5] = [
    server_down,
    server_down_up_too_late,
    server_down_twice,
    almost_server_down,
    not_server_down_after_it_was_up,
];

// --- calls ------------------------------------------------------------------------------------------------------

const IN_A_MINUTE: i64 = MINUTE - 1;

fn call<const N: usize>(s: &mut Script<'_>, times: [i64; N], ok: bool) -> [u64; N] {
    times.map(|at| s.call(at, ok))
}

fn five_failed(s: &mut Script<'_>, times: [i64; 5]) {
    let events = call(s, times, false);
    s.alert(Rule::FailedCalls, times[4], &events);
}

fn failed_calls(s: &mut Script<'_>) {
    let last = s.between(5 * SECOND, IN_A_MINUTE);
    let times = s.times(0, last);
    call(s, times.map(|at| at + 1), true);
    five_failed(s, times);
}

fn failed_calls_just_in_time(s: &mut Script<'_>) {
    let times = s.times(0, IN_A_MINUTE);
    five_failed(s, times);
}

fn nine_failed_calls_are_one_alert(s: &mut Script<'_>) {
    let [a, b, c, d, e, more @ ..]: [i64; 9] = s.times(0, IN_A_MINUTE);
    five_failed(s, [a, b, c, d, e]);
    call(s, more, false);
}

fn almost_failed_calls_too_late(s: &mut Script<'_>) {
    let times: [i64; 5] = s.times(0, IN_A_MINUTE + 1);
    call(s, times, false);
}

fn almost_failed_calls(s: &mut Script<'_>) {
    let [a, b, c, d, e]: [i64; 5] = s.times(0, IN_A_MINUTE);
    call(s, [a, b, d, e], false);
    s.call(c, true);
}

fn not_failed_calls(s: &mut Script<'_>) {
    let times: [i64; 12] = s.times(0, IN_A_MINUTE);
    call(s, times, true);
}

// --- responses --------------------------------------------------------------------------------------------------

const IN_5_MINUTES: i64 = 5 * MINUTE - 1;

fn slow<const N: usize>(s: &mut Script<'_>, times: [i64; N]) -> [u64; N] {
    times.map(|at| {
        let millis = s.between(1_001, 9_000);
        s.respond(at, millis)
    })
}

fn fast(s: &mut Script<'_>, at: i64) -> u64 {
    let millis = s.between(5, 900);
    s.respond(at, millis)
}

fn three_slow(s: &mut Script<'_>, times: [i64; 3]) {
    let events = slow(s, times);
    s.alert(Rule::SlowResponses, times[2], &events);
}

fn slow_responses(s: &mut Script<'_>) {
    let last = s.between(MINUTE, IN_5_MINUTES);
    let times = s.times(0, last);
    fast(s, -1);
    three_slow(s, times);
    fast(s, last + 1);
}

fn slow_responses_just_in_time(s: &mut Script<'_>) {
    let times = s.times(0, IN_5_MINUTES);
    three_slow(s, times);
}

fn seven_slow_responses_are_two_alerts(s: &mut Script<'_>) {
    let [a, b, c, d, e, f, g]: [i64; 7] = s.times(0, IN_5_MINUTES);
    three_slow(s, [a, b, c]);
    three_slow(s, [d, e, f]);
    slow(s, [g]);
}

fn almost_slow_responses_too_late(s: &mut Script<'_>) {
    let times: [i64; 3] = s.times(0, IN_5_MINUTES + 1);
    slow(s, times);
}

fn almost_slow_responses_by_a_millisecond(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, IN_5_MINUTES);
    slow(s, [a]);
    s.respond(b, 1_000);
    slow(s, [c]);
}

fn not_slow_responses_in_a_row(s: &mut Script<'_>) {
    let [a, b, c, d, e]: [i64; 5] = s.times(0, IN_5_MINUTES);
    slow(s, [a, b]);
    fast(s, c);
    slow(s, [d, e]);
}

// --- prices -----------------------------------------------------------------------------------------------------

fn prices<const N: usize>(s: &mut Script<'_>, times: [i64; N], prices: [i64; N]) -> [u64; N] {
    let mut prices = prices.into_iter();
    times.map(|at| s.price(at, prices.next().unwrap_or_default()))
}

fn rising_price(s: &mut Script<'_>) {
    let last = s.between(4 * MINUTE, IN_AN_HOUR);
    let times = s.times(0, last);
    let events = prices(s, times, [104, 100, 107, 114, 121, 128, 120]);
    s.alert(Rule::RisingPrice, times[4], &events[1..5]);
}

fn rising_price_just_in_time(s: &mut Script<'_>) {
    let times = s.times(0, IN_AN_HOUR);
    let events = prices(s, times, [200, 201, 220, 241]);
    s.alert(Rule::RisingPrice, IN_AN_HOUR, &events);
}

fn almost_rising_price_too_late(s: &mut Script<'_>) {
    let times = s.times(0, IN_AN_HOUR + 1);
    prices(s, times, [100, 120, 140, 160]);
}

fn almost_rising_price(s: &mut Script<'_>) {
    let times = s.times(0, 30 * MINUTE);
    prices(s, times, [100, 107, 114, 120]);
}

fn not_a_rising_price_with_a_dip(s: &mut Script<'_>) {
    let times = s.times(0, 30 * MINUTE);
    prices(s, times, [100, 115, 114, 121, 130, 130, 140]);
}

fn not_a_rising_price_in_four_steps(s: &mut Script<'_>) {
    let times = s.times(0, 30 * MINUTE);
    prices(s, times, [100, 106, 112, 118, 124]);
}

// --- error rates ------------------------------------------------------------------------------------------------

const IN_30_MINUTES: i64 = 30 * MINUTE - 1;

fn rates<const N: usize>(s: &mut Script<'_>, rates: [(i64, i64); N]) -> [u64; N] {
    rates.map(|(at, of_1024)| s.fail(at, of_1024))
}

fn rising_errors(s: &mut Script<'_>) {
    let base = s.between(10, 20);
    let last = s.between(6 * MINUTE, IN_30_MINUTES);
    let [a, b, c, d, e] = s.times(0, last);
    let rising = [(a, base), (b, base), (c, 2 * base), (d, 5 * base - 1), (e, 5 * base)];
    let [first, _, doubled, _, last] = rates(s, rising);
    s.alert(Rule::RisingErrors, e, &[first, doubled, last]);
}

fn rising_errors_just_in_time(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, IN_30_MINUTES);
    let events = rates(s, [(a, 16), (b, 79), (c, 1_000)]);
    s.alert(Rule::RisingErrors, c, &events);
}

fn almost_rising_errors_too_late(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, IN_30_MINUTES + 1);
    rates(s, [(a, 10), (b, 20), (c, 50)]);
}

fn almost_rising_errors(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, IN_30_MINUTES);
    rates(s, [(a, 10), (b, 20), (c, 49)]);
}

fn not_rising_errors_without_doubling(s: &mut Script<'_>) {
    let [a, b, c, d] = s.times(0, IN_30_MINUTES);
    rates(s, [(a, 10), (b, 19), (c, 50), (d, 50)]);
}

fn not_rising_errors_from_nothing(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, IN_30_MINUTES);
    rates(s, [(a, 0), (b, 10), (c, 30)]);
}

// --- servers ----------------------------------------------------------------------------------------------------

fn down_and_out(s: &mut Script<'_>, at: i64) {
    let event = s.down(at);
    s.alert(Rule::ServerDown, at + 10 * MINUTE, &[event]);
}

fn server_down(s: &mut Script<'_>) {
    down_and_out(s, 0);
    s.up(25 * MINUTE);
}

fn server_down_up_too_late(s: &mut Script<'_>) {
    down_and_out(s, 0);
    s.up(10 * MINUTE);
}

fn server_down_twice(s: &mut Script<'_>) {
    s.down(0);
    s.up(5 * MINUTE);
    down_and_out(s, 6 * MINUTE);
}

fn almost_server_down(s: &mut Script<'_>) {
    s.down(0);
    s.up(10 * MINUTE - 1);
}

fn not_server_down_after_it_was_up(s: &mut Script<'_>) {
    s.up(0);
    s.down(MINUTE);
    s.up(2 * MINUTE);
    s.down(3 * MINUTE);
    s.up(12 * MINUTE);
}
