//! The shop of `orders`: whatever fails, and whatever is killed when, each order is paid and shipped, or cancelled with
//! everything undone once, the last first; what is on the shelves and what was paid add up; what the server shows is
//! what the topics say. If a test fails, the saga, the topics or the queries lose or repeat something.

mod client;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use client::Listening;
use highwater::prelude::Log;
use program::{Program, text};
use serde_json::{Value, json};
use tempfile::tempdir;

fn shop(directory: &Path) -> Program {
    Program::new("orders").with(["--epoch", "20ms", "--patience", "1s"]).path("--dir", directory)
}

/// What the topics hold, in the order of each partition.
struct Books(Log);

impl Books {
    fn open(directory: &Path) -> Books {
        Books(Log::open(directory.join("log")).expect("the log opens"))
    }

    fn records(&self, topic: &str) -> Vec<Value> {
        let partitions = 0..self.0.partitions(topic).expect("the topic is there");
        let all = partitions.flat_map(|number| self.0.read(topic, number, 0, usize::MAX).expect("is read"));
        all.map(|record| serde_json::from_slice(&record.value).expect("is JSON")).collect()
    }

    /// The orders that were placed, by name.
    fn placed(&self) -> BTreeMap<String, Value> {
        let commands = self.records("order-commands").into_iter();
        let placed = commands.filter_map(|command| command.get("place").cloned());
        placed.map(|order| (string(&order["order"]), order)).collect()
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What was done for each order, by what the services have replied: each step and direction once, in order.
fn deeds(books: &Books) -> BTreeMap<String, Vec<(String, String)>> {
    let mut deeds: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for reply in books.records("replies") {
        if reply["answer"].get("Done").is_none() {
            continue;
        }
        let deed = (string(&reply["step"]), string(&reply["direction"]));
        let of_order = deeds.entry(string(&reply["saga"])).or_default();
        // A request that was repeated is answered again.
        if !of_order.contains(&deed) {
            of_order.push(deed);
        }
    }
    deeds
}

/// Checks everything that must hold of a shop that has come to rest; the orders that were shipped.
fn check(books: &Books, stock: i64) -> BTreeSet<String> {
    let placed = books.placed();
    let mut ends: BTreeMap<String, Value> = BTreeMap::new();
    for event in books.records("order-events") {
        let Some(end) = event.get("ended") else { continue };
        let before = ends.insert(string(&end["purchase"]["order"]["order"]), end["outcome"].clone());
        assert!(before.is_none(), "an order ends once: {end}");
    }
    assert_eq!(ends.keys().collect::<Vec<_>>(), placed.keys().collect::<Vec<_>>(), "all have ended");

    let deeds = deeds(books);
    let mut shipped = BTreeSet::new();
    for (order, outcome) in &ends {
        let deeds = deeds.get(order).cloned().unwrap_or_default();
        let told: Vec<_> = deeds.iter().map(|(step, way)| (step.as_str(), way.as_str())).collect();
        let forth: Vec<_> = told.iter().take_while(|(_, way)| *way == "Do").map(|(step, _)| *step).collect();
        let back: Vec<_> = told[forth.len()..].iter().map(|(step, way)| (*way, *step)).collect();
        if *outcome == json!("Completed") {
            assert_eq!(told, [("reserve", "Do"), ("pay", "Do"), ("ship", "Do")], "{order}");
            shipped.insert(order.clone());
        } else {
            assert!(outcome.get("Compensated").is_some(), "{order}: {outcome}");
            let undone: Vec<_> = forth.iter().rev().map(|step| ("Undo", *step)).collect();
            assert_eq!(back, undone, "{order}: the last first, each once");
            assert!(forth.len() < 3, "{order} has left and was cancelled");
        }
    }
    check_stock(books, &placed, &shipped, stock);
    check_money(books, &placed, &shipped);
    let parcels: Vec<_> = books.records("shipments").iter().map(|parcel| string(&parcel["order"])).collect();
    assert_eq!(parcels.len(), shipped.len(), "one parcel for each");
    assert_eq!(parcels.into_iter().collect::<BTreeSet<_>>(), shipped);
    shipped
}

fn check_stock(books: &Books, placed: &BTreeMap<String, Value>, shipped: &BTreeSet<String>, stock: i64) {
    let mut left: BTreeMap<String, i64> = BTreeMap::new();
    let mut moves: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for moved in books.records("stock-moves") {
        let now = left.entry(string(&moved["product"])).or_insert(stock);
        *now += number(&moved["pieces"]);
        assert!(*now >= 0 && *now == number(&moved["left"]), "{moved}");
        moves.entry(string(&moved["order"])).or_default().push(number(&moved["pieces"]));
    }
    let mut sold: BTreeMap<String, i64> = BTreeMap::new();
    for order in shipped {
        *sold.entry(string(&placed[order]["product"])).or_default() += number(&placed[order]["pieces"]);
    }
    for (product, left) in left {
        assert_eq!(stock - left, sold.get(&product).copied().unwrap_or_default(), "{product}");
    }
    for (order, moves) in moves {
        let pieces = number(&placed[&order]["pieces"]);
        let meant = if shipped.contains(&order) { vec![-pieces] } else { vec![-pieces, pieces] };
        assert_eq!(moves, meant, "{order}");
    }
}

fn check_money(books: &Books, placed: &BTreeMap<String, Value>, shipped: &BTreeSet<String>) {
    let mut payments: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for payment in books.records("payments") {
        payments.entry(string(&payment["order"])).or_default().push(number(&payment["cents"]));
    }
    for (order, payments) in &payments {
        let cents = number(&placed[order]["cents"]);
        let meant = if shipped.contains(order) { vec![cents] } else { vec![cents, -cents] };
        assert_eq!(*payments, meant, "{order}");
        assert_ne!(placed[order]["card"], "declined");
    }
    assert!(shipped.iter().all(|order| payments.contains_key(order)), "nothing leaves unpaid");
    let taken: i64 = payments.values().flatten().sum();
    let sold: i64 = shipped.iter().map(|order| number(&placed[order]["cents"])).sum();
    assert_eq!(taken, sold);
}

#[test]
fn each_order_is_shipped_or_undone_and_stock_and_money_add_up() {
    let directory = tempdir().expect("there is room");
    let program = || shop(directory.path()).with(["--orders", "400", "--stock", "60", "--workers", "2"]);
    let told = text(&program().succeeds().stdout);
    let books = Books::open(directory.path());
    let placed = books.placed();
    assert_eq!(placed.len(), 400);
    let shipped = check(&books, 60);
    assert!((50..350).contains(&shipped.len()), "{}", shipped.len());
    for reason in ["out of stock", "the card was declined", "nobody lives there", "cancelled by the customer"]
    {
        assert!(told.contains(reason), "{told}");
    }
    assert!(told.contains(&format!("{} shipped\n", shipped.len())), "{told}");

    // What the program tells of days is what the topics say.
    let mut days: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for order in &shipped {
        let at = chrono::DateTime::from_timestamp_millis(number(&placed[order]["at"])).expect("a time");
        let day = days.entry(at.format("%Y-%m-%d").to_string()).or_default();
        *day = (day.0 + 1, day.1 + number(&placed[order]["cents"]) as u64);
    }
    for (day, (count, cents)) in days {
        let line = format!("{day}: {count} sold for {}.{:02}, ", cents / 100, cents % 100);
        assert!(told.contains(&line), "{line} in {told}");
    }
    drop(books);
    assert_eq!(text(&program().succeeds().stdout), told, "the second time there is nothing to do");
}

/// A shop without customers that answers over HTTP.
fn open(directory: &Path) -> Listening {
    Listening::start(&shop(directory).with(["--orders", "0", "--stock", "5", "--listen", "0"]))
}

/// Places an order: its name, and the command's position.
fn place(open: &Listening, order: &Value) -> (String, String) {
    let (status, answer) = open.post("/orders", order);
    assert_eq!(status, 202, "{answer}");
    (string(&answer["order"]), answer["position"].to_string())
}

fn status(answer: &Value) -> &str {
    answer["order"]["status"].as_str().unwrap_or_default()
}

#[test]
fn customers_place_and_cancel_orders_and_read_what_they_have_written() {
    let directory = tempdir().expect("there is room");
    let shop = open(directory.path());
    // Whoever has placed an order sees it.
    for number in 0..5 {
        let user = format!("user-{number}");
        let cup = json!({ "user": user, "product": "cup", "pieces": 1, "address": "1 Tea Street" });
        let (order, position) = place(&shop, &cup);
        let seen = shop.ask(&format!("/orders/{order}?min_position={position}"));
        let placed = &seen["order"]["order"];
        assert_eq!((&placed["user"], &placed["cents"]), (&json!(user), &json!(1200)));
        let seen = shop.ask(&format!("/users/{user}/orders?min_position={position}"));
        assert_eq!(seen["orders"][0]["order"], json!(order), "{seen}");
        let is_over =
            |seen: &Value| status(seen) == "shipped" && seen["order"]["paid_after_seconds"] == json!(120);
        let seen = shop.wait(&format!("/orders/{order}"), is_over);
        assert_eq!(seen["order"]["parcel"], json!(format!("parcel-of-{order}")));
    }
    // The shelf is empty now.
    let cup = json!({ "user": "ada", "product": "cup", "pieces": 1, "address": "here" });
    let (order, _) = place(&shop, &cup);
    let seen = shop.wait(&format!("/orders/{order}"), |seen| status(seen) == "cancelled");
    assert_eq!(seen["order"]["reason"], "out of stock");

    // One that waits can be cancelled, and what was paid comes back; its name stands for one order.
    let waiting = json!({
        "order": "for-ada", "user": "ada", "product": "tray", "pieces": 5, "address": "here", "wait_seconds": 86_400
    });
    let (order, position) = place(&shop, &waiting);
    assert_eq!(order, "for-ada");
    shop.wait("/orders/for-ada", |seen| seen["order"]["paid_after_seconds"] == json!(120));
    place(&shop, &waiting);
    let (code, answer) = shop.post(&format!("/orders/for-ada/cancel?min_position={position}"), &json!(null));
    assert_eq!(code, 202, "{answer}");
    let seen = shop.ask(&format!("/orders/for-ada?min_position={}", answer["position"]));
    assert_eq!(seen["order"]["cancel_asked"], json!(true));
    let seen = shop.wait("/orders/for-ada", |seen| status(seen) == "cancelled");
    assert_eq!(seen["order"]["reason"], "cancelled by the customer");
    lists_have_pages_and_days_have_sales(&shop);

    let shown = |shop: &Listening| (shop.rows("orders"), shop.rows("orders-of-user"), shop.rows("sales"));
    let before = shown(&shop);
    shop.terminate();
    check(&Books::open(directory.path()), 5);
    assert_eq!(shown(&open(directory.path())), before);
}

fn lists_have_pages_and_days_have_sales(shop: &Listening) {
    let seen = shop.ask("/users/ada/orders");
    assert_eq!(seen["orders"].as_array().map(Vec::len), Some(2), "{seen}");
    let page = shop.ask("/users/ada/orders?limit=1");
    assert_eq!(page["orders"].as_array().map(Vec::len), Some(1));
    let rest = shop.ask(&format!("/users/ada/orders?after={}", string(&page["orders"][0]["order"])));
    assert_eq!(rest["orders"].as_array().map(Vec::len), Some(1));
    let today = number(&seen["orders"][0]["is"]["at"]);
    let today = chrono::DateTime::from_timestamp_millis(today).expect("a time");
    let sales = &shop.ask(&format!("/sales/{}", today.format("%Y-%m-%d")))["sales"];
    // A test may run over midnight.
    let shipped = number(&sales["shipped"]);
    assert!(shipped <= 5 && number(&sales["cents"]) == 1200 * shipped, "{sales}");
}

#[test]
fn what_cannot_be_is_refused_and_the_shop_says_why() {
    let directory = tempdir().expect("there is room");
    let shop = open(directory.path());
    let teapots = |pieces: i64| json!({ "user": "a", "product": "teapot", "pieces": pieces, "address": "b" });
    for (order, why) in [
        (json!({ "user": "a", "product": "samovar", "pieces": 1, "address": "b" }), "there is no `samovar`"),
        (teapots(0), "from 1 to 100"),
        (teapots(101), "from 1 to 100"),
        (json!({ "user": "", "product": "teapot", "pieces": 1, "address": "b" }), "`user`"),
        (json!("tea"), "an order is"),
    ] {
        let (status, answer) = shop.post("/orders", &order);
        assert!(status == 400 && string(&answer["error"]["message"]).contains(why), "{status} {answer}");
    }
    assert_eq!(shop.get("/orders/nobody-s").0, 404);
    assert_eq!(shop.post("/orders/nobody-s/cancel", &json!(null)).0, 404);
    assert_eq!(shop.get("/sales/yesterday").0, 400);
    assert_eq!(shop.get("/orders/nobody-s?min_position=5").0, 400);
    let far = r#"{"order-commands":{"partition-0":{"next_offset":1000000}}}"#;
    assert_eq!(shop.get(&format!("/orders/nobody-s?min_position={far}&timeout_ms=30")).0, 504);
    let told = Program::new("orders").with(["--listen", "tea"]).fails(2);
    assert!(told.contains("write 8080 or 127.0.0.1:8080"), "{told}");
}

/// With enough of everything, what becomes of an order depends on the order alone: so a shop that was killed shows in
/// the end what one shows that was not.
#[test]
fn a_shop_that_is_killed_shows_in_the_end_what_one_shows_that_was_not() {
    let settings = ["--orders", "300", "--stock", "1000000"];
    let directories = [tempdir().expect("there is room"), tempdir().expect("there is room")];
    let closed = |number: usize| shop(directories[number].path()).with(settings);
    let shown = |number: usize| {
        let open = Listening::start(&closed(number).with(["--listen", "0"]));
        (open.rows("orders"), open.rows("orders-of-user"), open.rows("sales"))
    };
    closed(0).succeeds();

    // Killed while orders are on their way: some have come to an end, and not all.
    let mut at_kills = Vec::new();
    for wanted in [1, 80, 200] {
        let open = Listening::start(&closed(1).with(["--listen", "0"]));
        let ended = |answer: &Value| -> i64 {
            let rows = answer["rows"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
            rows.map(|row| number(&row["value"]["shipped"]) + number(&row["value"]["cancelled"])).sum()
        };
        at_kills.push(ended(&open.wait("/tables/sales", |answer| ended(answer) >= wanted)));
    }
    assert!(at_kills[0] < 300, "none was killed in the middle: {at_kills:?}");
    closed(1).succeeds();
    assert_eq!(shown(1), shown(0));
    let shipped = check(&Books::open(directories[1].path()), 1_000_000);
    assert_eq!(shipped, check(&Books::open(directories[0].path()), 1_000_000));
}
