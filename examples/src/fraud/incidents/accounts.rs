//! Incidents: carts, logins, and what adds up to fraud.

use super::super::Rule;
use super::super::script::{HOUR, MINUTE, SECOND, Script, own_address};
use super::{IN_10_MINUTES, IN_AN_HOUR, Incident};

use super::spending::{far_from_new_york, in_three_countries, three_large, unusual_at};

/// What users do with carts and passwords, and what adds up.
pub(in super::super) const ACCOUNTS: [Incident; 22] = [
    abandoned_cart,
    abandoned_cart_bought_too_late,
    abandoned_cart_behind_a_purchase,
    two_abandoned_carts,
    not_an_abandoned_cart,
    not_abandoned_carts_bought_together,
    stolen_account,
    stolen_account_just_in_time,
    stolen_account_with_success_at_home_first,
    almost_stolen_account_too_late,
    not_stolen_from_the_same_address,
    not_stolen_after_two_failures,
    not_stolen_success_first,
    fraud_of_two_rules,
    fraud_of_three_rules,
    fraud_of_far_places,
    fraud_twice,
    fraud_just_in_time,
    almost_fraud_of_exactly_80,
    almost_fraud_too_late,
    almost_fraud_of_one_rule,
    almost_fraud_of_what_was_counted,
];

// --- carts ------------------------------------------------------------------------------------------------------

const HALF_AN_HOUR: i64 = 30 * MINUTE;

fn fill_and_abandon(s: &mut Script<'_>, at: i64) {
    let event = s.fill_cart(at);
    s.alert(Rule::AbandonedCart, at + HALF_AN_HOUR, &[event]);
}

fn abandoned_cart(s: &mut Script<'_>) {
    fill_and_abandon(s, 0);
}

fn abandoned_cart_bought_too_late(s: &mut Script<'_>) {
    fill_and_abandon(s, 0);
    s.purchase(HALF_AN_HOUR);
}

fn abandoned_cart_behind_a_purchase(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, 20 * MINUTE);
    s.fill_cart(a);
    s.purchase(b);
    fill_and_abandon(s, c);
}

fn two_abandoned_carts(s: &mut Script<'_>) {
    let second = s.between(MINUTE, HALF_AN_HOUR);
    fill_and_abandon(s, 0);
    fill_and_abandon(s, second);
}

fn not_an_abandoned_cart(s: &mut Script<'_>) {
    s.fill_cart(0);
    s.purchase(HALF_AN_HOUR - 1);
}

fn not_abandoned_carts_bought_together(s: &mut Script<'_>) {
    let [a, b, c, d] = s.times(0, HALF_AN_HOUR - 1);
    for at in [a, b, c] {
        s.fill_cart(at);
    }
    s.purchase(d);
}

// --- logins -----------------------------------------------------------------------------------------------------

const ELSEWHERE: &str = "198.51.100.7";

fn fail_to_log_in<const N: usize>(s: &mut Script<'_>, times: [i64; N], address: &str) -> [u64; N] {
    times.map(|at| s.login(at, false, address))
}

/// Three failures from the owner's address, and then a success from another.
fn stolen(s: &mut Script<'_>, [a, b, c, d]: [i64; 4]) {
    let own = own_address(s.number);
    let [a, b, c] = fail_to_log_in(s, [a, b, c], &own);
    let success = s.login(d, true, ELSEWHERE);
    s.alert(Rule::StolenAccount, d, &[a, b, c, success]);
}

fn stolen_account(s: &mut Script<'_>) {
    let last = s.between(10 * SECOND, IN_10_MINUTES);
    let times = s.times(0, last);
    stolen(s, times);
    s.login(last + SECOND, true, ELSEWHERE);
}

fn stolen_account_just_in_time(s: &mut Script<'_>) {
    let times = s.times(0, IN_10_MINUTES);
    stolen(s, times);
}

fn stolen_account_with_success_at_home_first(s: &mut Script<'_>) {
    let [a, b, c, d, e] = s.times(0, IN_10_MINUTES);
    s.login(d, true, &own_address(s.number));
    stolen(s, [a, b, c, e]);
}

fn almost_stolen_account_too_late(s: &mut Script<'_>) {
    let [a, b, c, d] = s.times(0, IN_10_MINUTES + 1);
    fail_to_log_in(s, [a, b, c], ELSEWHERE);
    s.login(d, true, &own_address(s.number));
}

fn not_stolen_from_the_same_address(s: &mut Script<'_>) {
    let [a, b, c, d, e] = s.times(0, 5 * MINUTE);
    fail_to_log_in(s, [a, b, c, d], ELSEWHERE);
    s.login(e, true, ELSEWHERE);
}

fn not_stolen_after_two_failures(s: &mut Script<'_>) {
    let [a, b, c] = s.times(0, 5 * MINUTE);
    fail_to_log_in(s, [a, b], ELSEWHERE);
    s.login(c, true, &own_address(s.number));
}

fn not_stolen_success_first(s: &mut Script<'_>) {
    let [a, b, c, d] = s.times(0, 5 * MINUTE);
    s.login(a, true, &own_address(s.number));
    fail_to_log_in(s, [b, c, d], ELSEWHERE);
}

// --- scores -----------------------------------------------------------------------------------------------------

/// Three large transactions of which the last is at `at`.
fn large_at(s: &mut Script<'_>, at: i64) {
    three_large(s, [at - 5 * MINUTE, at - 4 * MINUTE, at]);
}

/// An account that is stolen at `at`.
fn stolen_at(s: &mut Script<'_>, at: i64) {
    stolen(s, [at - 4 * MINUTE, at - 3 * MINUTE, at - MINUTE, at]);
}

fn fraud_of_two_rules(s: &mut Script<'_>) {
    stolen_at(s, 10 * MINUTE);
    large_at(s, 30 * MINUTE);
    s.fraud(&[Rule::StolenAccount, Rule::LargeTransactions]);
}

fn fraud_of_three_rules(s: &mut Script<'_>) {
    fill_and_abandon(s, 0);
    unusual_at(s, 40 * MINUTE);
    stolen_at(s, 50 * MINUTE);
    s.fraud(&[Rule::AbandonedCart, Rule::UnusualAmount, Rule::StolenAccount]);
}

fn fraud_of_far_places(s: &mut Script<'_>) {
    far_from_new_york(s, 0, 50 * MINUTE);
    stolen_at(s, 55 * MINUTE);
    s.fraud(&[Rule::FarApart, Rule::StolenAccount]);
}

fn fraud_twice(s: &mut Script<'_>) {
    fraud_of_two_rules(s);
    // Nothing of it counts again: that takes as much once more.
    large_at(s, 36 * MINUTE);
    stolen_at(s, 46 * MINUTE);
    s.fraud(&[Rule::LargeTransactions, Rule::StolenAccount]);
}

fn fraud_just_in_time(s: &mut Script<'_>) {
    in_three_countries(s, [0, 10 * MINUTE, 20 * MINUTE]);
    stolen_at(s, 20 * MINUTE + IN_AN_HOUR);
    s.fraud(&[Rule::ThreeCountries, Rule::StolenAccount]);
}

fn almost_fraud_of_exactly_80(s: &mut Script<'_>) {
    unusual_at(s, 20 * MINUTE);
    stolen_at(s, 30 * MINUTE);
}

fn almost_fraud_too_late(s: &mut Script<'_>) {
    in_three_countries(s, [0, 10 * MINUTE, 20 * MINUTE]);
    stolen_at(s, 20 * MINUTE + HOUR);
}

fn almost_fraud_of_one_rule(s: &mut Script<'_>) {
    stolen_at(s, 10 * MINUTE);
    stolen_at(s, 25 * MINUTE);
    stolen_at(s, 40 * MINUTE);
}

fn almost_fraud_of_what_was_counted(s: &mut Script<'_>) {
    fraud_of_two_rules(s);
    large_at(s, 45 * MINUTE);
}
