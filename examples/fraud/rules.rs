//! The rules: eleven patterns, each over the events of one kind and one key, and a twelfth over what they find about a
//! user.
//!
//! A pattern says which events, in which order, are a match; `select` makes an alert of each. `next` takes the very
//! next event, `followed_by` the next that fits. The time of `within` is open at its end: what comes exactly ten
//! minutes later does not come within ten minutes.
//!
//! Every incident is told once. Most rules skip past a match (`SkipPastLast`): of five large transactions in a row
//! the first three are an alert, and the other two may be part of the next. A match that began later then waits for
//! one that began earlier and may still come, at the most for the time of `within`. The rules without a strategy need
//! none: each of their matches begins or ends with an event of its own.

use highwater::prelude::*;
use highwater_examples::fraud::{
    Alert, Call, Cart, CartStep, ErrorRate, Event, Fraud, Login, Outcome, Price, Response, Rule, Score,
    Server, Transaction,
};

/// Events of one kind, by whom they are about.
type Of<T> = KeyedStream<String, T>;

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

const HOUR: Duration = minutes(60);

/// What is to be told of these events: what the rules find, users with a high score, and late events.
///
/// A late event is late for all rules of its kind; one of them tells it.
pub fn watch(events: Stream<Event>) -> Stream<Outcome> {
    let spending = events.clone().flat_map(Event::transaction).key_by(|spent| spent.user.clone());
    let carts = events.clone().flat_map(Event::cart).key_by(|cart| cart.user.clone());
    let logins = events.clone().flat_map(Event::login).key_by(|login| login.user.clone());
    let calls = events.clone().flat_map(Event::call).key_by(|call| call.client.clone());
    let responses = events.clone().flat_map(Event::response).key_by(|response| response.server.clone());
    let prices = events.clone().flat_map(Event::price).key_by(|price| price.product.clone());
    let error_rates = events.clone().flat_map(Event::error_rate).key_by(|errors| errors.service.clone());
    let servers = events.flat_map(Event::server).key_by(|server| server.server.clone());

    let (large, late_transactions) = large_transactions(spending.clone());
    let (abandoned, late_carts) = abandoned_cart(carts);
    let (stolen, late_logins) = stolen_account(logins);
    let of_users = large
        .merge(three_countries(spending.clone()))
        .merge(far_apart(spending.clone()))
        .merge(unusual_amount(spending))
        .merge(abandoned)
        .merge(stolen);

    let (failed, late_calls) = failed_calls(calls);
    let (slow, late_responses) = slow_responses(responses);
    let (expensive, late_prices) = rising_price(prices);
    let (failing, late_rates) = rising_errors(error_rates);
    let (down, late_servers) = server_down(servers);

    let late = late_transactions
        .map(Event::Transaction)
        .merge(late_carts.map(Event::Cart))
        .merge(late_logins.map(Event::Login))
        .merge(late_calls.map(Event::Call))
        .merge(late_responses.map(Event::Response))
        .merge(late_prices.map(Event::Price))
        .merge(late_rates.map(Event::ErrorRate))
        .merge(late_servers.map(Event::Server));
    let frauds = high_score(of_users.clone());
    let alerts = of_users.merge(failed).merge(slow).merge(expensive).merge(failing).merge(down);
    alerts.map(Outcome::Alert).merge(frauds.map(Outcome::Fraud)).merge(late.map(Outcome::late))
}

/// Three transactions over 1000 in 10 minutes.
fn large_transactions(spending: Of<Transaction>) -> (Stream<Alert>, Stream<Transaction>) {
    let pattern = Pattern::begin("large", |spent: &Transaction| spent.amount > 1000.0)
        .times(3)
        .after_match(AfterMatch::SkipPastLast)
        .within(minutes(10));
    let (matches, late) = spending.pattern(pattern).with_late();
    let alerts = matches
        .select("large-transactions", |user, (large,)| Alert::new(Rule::LargeTransactions, user, large));
    (alerts.values(), late)
}

/// Transactions in three different countries in an hour.
fn three_countries(spending: Of<Transaction>) -> Stream<Alert> {
    let pattern = Pattern::begin("first", any::<Transaction>)
        .followed_by("second", any)
        .when(|spent, (first,)| spent.country != first.country)
        .followed_by("third", any)
        .when(|spent, (first, second)| spent.country != first.country && spent.country != second.country)
        .after_match(AfterMatch::SkipPastLast)
        .within(HOUR);
    let alerts = spending.pattern(pattern).select("three-countries", |user, (first, second, third)| {
        Alert::new(Rule::ThreeCountries, user, &[first, second, third])
    });
    alerts.values()
}

/// Two places further apart than 1000 km within an hour.
fn far_apart(spending: Of<Transaction>) -> Stream<Alert> {
    let pattern = Pattern::begin("here", any::<Transaction>)
        .followed_by("there", any)
        .when(|there, (here,)| there.kilometres_to(here) > 1000.0)
        .after_match(AfterMatch::SkipPastLast)
        .within(HOUR);
    let alerts = spending
        .pattern(pattern)
        .select("far-apart", |user, (here, there)| Alert::new(Rule::FarApart, user, &[here, there]));
    alerts.values()
}

/// An amount over 5 times the average of the last ten.
///
/// The ten are kept as their sum. Without `within` ten runs of every user live for ever: each transaction begins one
/// that ends ten transactions later.
fn unusual_amount(spending: Of<Transaction>) -> Stream<Alert> {
    let pattern = Pattern::begin("usual", any::<Transaction>)
        .times(10)
        .consecutive()
        .fold(|| 0.0, |sum: &mut f64, spent| *sum += spent.amount)
        .next("unusual", any)
        .when(|spent, (sum,)| spent.amount > 5.0 * (sum / 10.0));
    let alerts = spending
        .pattern(pattern)
        .select("unusual-amount", |user, (_, unusual)| Alert::new(Rule::UnusualAmount, user, &[unusual]));
    alerts.values()
}

/// A cart without a purchase in 30 minutes.
fn abandoned_cart(carts: Of<Cart>) -> (Stream<Alert>, Stream<Cart>) {
    const PATIENCE: Duration = minutes(30);
    let pattern = Pattern::begin("filled", |cart: &Cart| cart.step == CartStep::Filled)
        .not_followed_by("purchased", |cart| cart.step == CartStep::Purchased)
        .within(PATIENCE);
    let (matches, late) = carts.pattern(pattern).with_late();
    let alerts = matches.select("abandoned-cart", |user, (filled,)| {
        Alert::nothing_after(Rule::AbandonedCart, user, filled, PATIENCE)
    });
    (alerts.values(), late)
}

/// Three failed logins, and then a success from another address, in 10 minutes.
fn stolen_account(logins: Of<Login>) -> (Stream<Alert>, Stream<Login>) {
    let pattern = Pattern::begin("failed", |login: &Login| !login.ok)
        .times(3)
        .followed_by("success", |login| login.ok)
        .when(|login, (failed,)| failed.newest_first().all(|failed| failed.address != login.address))
        .after_match(AfterMatch::SkipPastLast)
        .within(minutes(10));
    let (matches, late) = logins.pattern(pattern).with_late();
    let alerts = matches.select("stolen-account", |user, (failed, success)| {
        Alert::new(Rule::StolenAccount, user, &[failed, &[success]].concat())
    });
    (alerts.values(), late)
}

/// Five failed API calls in a minute.
fn failed_calls(calls: Of<Call>) -> (Stream<Alert>, Stream<Call>) {
    let pattern = Pattern::begin("failed", |call: &Call| !call.ok)
        .times(5)
        .after_match(AfterMatch::SkipPastLast)
        .within(minutes(1));
    let (matches, late) = calls.pattern(pattern).with_late();
    let alerts =
        matches.select("failed-calls", |client, (failed,)| Alert::new(Rule::FailedCalls, client, failed));
    (alerts.values(), late)
}

/// Three slow responses (over a second) in a row in 5 minutes.
fn slow_responses(responses: Of<Response>) -> (Stream<Alert>, Stream<Response>) {
    let pattern = Pattern::begin("slow", |response: &Response| response.millis > 1000)
        .times(3)
        .consecutive()
        .after_match(AfterMatch::SkipPastLast)
        .within(minutes(5));
    let (matches, late) = responses.pattern(pattern).with_late();
    let alerts =
        matches.select("slow-responses", |server, (slow,)| Alert::new(Rule::SlowResponses, server, slow));
    (alerts.values(), late)
}

/// A price that rises over 20 % in three steps within an hour.
fn rising_price(prices: Of<Price>) -> (Stream<Alert>, Stream<Price>) {
    let pattern = Pattern::begin("start", any::<Price>)
        .next("higher", any)
        .when(|price, (start,)| price.price > start.price)
        .next("higher still", any)
        .when(|price, (_, higher)| price.price > higher.price)
        .next("highest", any)
        .when(|price, (start, _, higher)| price.price > higher.price && price.price > 1.2 * start.price)
        .after_match(AfterMatch::SkipPastLast)
        .within(HOUR);
    let (matches, late) = prices.pattern(pattern).with_late();
    let alerts = matches.select("rising-price", |product, (start, one, two, three)| {
        Alert::new(Rule::RisingPrice, product, &[start, one, two, three])
    });
    (alerts.values(), late)
}

/// An error rate that goes baseline, doubled, five-fold within 30 minutes.
fn rising_errors(error_rates: Of<ErrorRate>) -> (Stream<Alert>, Stream<ErrorRate>) {
    let pattern = Pattern::begin("baseline", |errors: &ErrorRate| errors.rate > 0.0)
        .followed_by("doubled", any)
        .when(|errors, (baseline,)| (2.0..5.0).contains(&(errors.rate / baseline.rate)))
        .followed_by("five-fold", any)
        .when(|errors, (baseline, _)| errors.rate >= 5.0 * baseline.rate)
        .after_match(AfterMatch::SkipPastLast)
        .within(minutes(30));
    let (matches, late) = error_rates.pattern(pattern).with_late();
    let alerts = matches.select("rising-errors", |service, (baseline, doubled, five_fold)| {
        Alert::new(Rule::RisingErrors, service, &[baseline, doubled, five_fold])
    });
    (alerts.values(), late)
}

/// A server that goes down and does not recover in 10 minutes.
fn server_down(servers: Of<Server>) -> (Stream<Alert>, Stream<Server>) {
    const PATIENCE: Duration = minutes(10);
    let pattern = Pattern::begin("down", |server: &Server| !server.up)
        .not_followed_by("up", |server| server.up)
        .within(PATIENCE);
    let (matches, late) = servers.pattern(pattern).with_late();
    let alerts = matches.select("server-down", |server, (down,)| {
        Alert::nothing_after(Rule::ServerDown, server, down, PATIENCE)
    });
    (alerts.values(), late)
}

/// Different rules about one user that add up to more than 0.8 in an hour. What has been counted does not count again.
fn high_score(alerts: Stream<Alert>) -> Stream<Fraud> {
    let pattern = Pattern::begin("signals", any::<Alert>)
        .one_or_more()
        .consecutive()
        .fold(Score::default, Score::add)
        .next("last", any)
        .when(|alert, (score,)| score.with(alert).is_fraud())
        .after_match(AfterMatch::SkipPastLast)
        .within(HOUR)
        .order_ties_by(|one, other| one.rule.cmp(&other.rule));
    let frauds = alerts.key_by(|alert| alert.about.clone()).pattern(pattern);
    let frauds =
        frauds.select("high-score", |user, (score, last)| Fraud::new(user, score.with(last), last.time));
    frauds.values()
}
