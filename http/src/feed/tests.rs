//! A feed without a job and without a network. If one of these fails, a client sees what was never committed, sees an
//! epoch twice, or takes more memory than it may.

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::hub::Message;
use super::serve::Following;
use super::*;
use crate::limits::QUEUE_MESSAGES;

type Row = (String, u32);

fn upsert() -> Feed<Row> {
    Feed::upsert("rows", |(key, _): &Row| key.clone()).removing(|(_, number)| *number == 0)
}

fn row(key: &str, number: u32) -> Row {
    (key.to_owned(), number)
}

/// What two workers told in an epoch.
fn staged(feed: &Feed<Row>, epoch: u64, rows: [Vec<Row>; 2]) -> Vec<Vec<u8>> {
    let mut worker = 0;
    rows.map(|rows| {
        let mut writer = feed.open(worker).expect("opens");
        worker += 1;
        writer.write(&mut Batch::untimed(rows)).expect("is JSON");
        writer.stage(Epoch(epoch)).expect("fits")
    })
    .into()
}

fn publish(feed: &Feed<Row>, epoch: u64, rows: [Vec<Row>; 2]) {
    let receipts = staged(feed, epoch, rows);
    feed.publish(Epoch(epoch), &receipts).expect("was staged");
}

fn values(message: &Value) -> Vec<Value> {
    message["records"].as_array().expect("a list").iter().map(|record| record["value"].clone()).collect()
}

fn state(feed: &Feed<Row>) -> Value {
    serde_json::from_str(&feed.hub.state()).expect("is JSON")
}

/// The messages that are there now.
fn had(following: &mut Following) -> Vec<Value> {
    let next = |following: &mut Following| following.next().now_or_never().flatten();
    let parsed = |message: Message| serde_json::from_str(&message.text).expect("is JSON");
    std::iter::from_fn(|| next(following)).map(parsed).collect()
}

#[test]
fn what_is_staged_is_not_shown_and_what_is_published_twice_is_shown_once() {
    let feed = upsert();
    feed.recover(Epoch(0), &[]).expect("begins");
    let mut client = Following::new(Arc::clone(&feed.hub));
    assert_eq!(had(&mut client).len(), 1, "the state, though there is nothing in it");
    let receipts = staged(&feed, 1, [vec![row("a", 1), row("b", 1), row("a", 2)], vec![row("c\t\n", 3)]]);
    assert!(had(&mut client).is_empty());
    feed.publish(Epoch(1), &receipts).expect("was staged");
    feed.publish(Epoch(1), &receipts).expect("was staged");
    let messages = had(&mut client);
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!((&message["kind"], &message["epoch"]), (&json!("epoch"), &json!(1)));
    let wanted = json!([
        { "key": "b", "value": ["b", 1] }, { "key": "a", "value": ["a", 2] }, { "key": "c\t\n", "value": ["c\t\n", 3] }
    ]);
    assert_eq!(message["records"], wanted, "of a key the last, in the order of the last");
    publish(&feed, 2, [vec![row("b", 0)], vec![]]);
    assert_eq!(had(&mut client)[0]["records"], json!([{ "key": "b", "value": null }]));
    assert_eq!(values(&state(&feed)), [json!(["a", 2]), json!(["c\t\n", 3])]);
}

#[test]
fn a_crash_before_an_epoch_is_shown_shows_it_and_names_it_the_same() {
    let before = upsert();
    before.recover(Epoch(0), &[]).expect("begins");
    let receipts = staged(&before, 5, [vec![row("a", 1)], vec![]]);
    for was_shown in [false, true] {
        if was_shown {
            before.publish(Epoch(5), &receipts).expect("was staged");
        }
        let after = upsert();
        let mut client = Following::new(Arc::clone(&after.hub));
        assert!(values(&had(&mut client)[0]).is_empty());
        after.recover(Epoch(5), &receipts).expect("goes on");
        let messages = had(&mut client);
        assert_eq!((messages.len(), &messages[0]["kind"]), (1, &json!("snapshot")));
        assert_eq!(values(&messages[0]), [json!(["a", 1])]);
        assert_eq!((&messages[0]["run"], &messages[0]["epoch"]), (&json!(before.hub.run()), &json!(5)));
        after.publish(Epoch(5), &receipts).expect("was staged");
        assert!(had(&mut client).is_empty());
        publish(&after, 6, [vec![], vec![row("b", 1)]]);
        assert_eq!(had(&mut client)[0]["epoch"], 6);
    }
    // The job goes on in the same process: nothing that was shown is lost, nothing is shown twice.
    let mut client = Following::new(Arc::clone(&before.hub));
    before.recover(Epoch(5), &receipts).expect("goes on");
    before.recover(Epoch(7), &[]).expect("goes on");
    assert_eq!(had(&mut client).len(), 2);
    assert_eq!(values(&state(&before)), [json!(["a", 1])]);
    let run = before.hub.run();
    before.recover(Epoch(0), &[]).expect("begins anew");
    assert_eq!((values(&state(&before)), &state(&before)["epoch"]), (vec![], &json!(0)));
    assert_ne!(before.hub.run(), run);
}

#[test]
fn a_client_that_falls_behind_gets_the_newest_state_and_is_told_what_it_missed() {
    let feed = upsert();
    feed.recover(Epoch(0), &[]).expect("begins");
    let mut client = Following::new(Arc::clone(&feed.hub));
    had(&mut client);
    for epoch in 1..=QUEUE_MESSAGES as u64 + 10 {
        publish(&feed, epoch, [vec![row(if epoch % 2 == 0 { "a" } else { "b" }, epoch as u32)], vec![]]);
    }
    let messages = had(&mut client);
    let [message] = messages.as_slice() else { panic!("{} messages", messages.len()) };
    assert_eq!((&message["kind"], &message["missed"]), (&json!("snapshot"), &json!(10)));
    assert_eq!(values(message), [json!(["b", 73]), json!(["a", 74])]);
    publish(&feed, 100, [vec![row("a", 100)], vec![]]);
    assert_eq!(had(&mut client)[0]["kind"], "epoch");
}

#[test]
fn what_is_kept_and_sent_has_bounds() {
    let feed = Feed::<Row>::append("rows", 3);
    feed.recover(Epoch(0), &[]).expect("begins");
    publish(&feed, 1, [(0..5).map(|number| row("a", number)).collect(), vec![]]);
    assert_eq!(values(&state(&feed)), [json!(["a", 2]), json!(["a", 3]), json!(["a", 4])]);
    let feed = upsert().keep(2);
    feed.recover(Epoch(0), &[]).expect("begins");
    publish(&feed, 1, [vec![row("a", 1), row("b", 1)], vec![row("a", 2), row("c", 1)]]);
    assert_eq!(values(&state(&feed)), [json!(["a", 2]), json!(["c", 1])]);

    let feed = Feed::<Row>::append("rows", 1000);
    feed.recover(Epoch(0), &[]).expect("begins");
    let mut client = Following::new(Arc::clone(&feed.hub));
    had(&mut client);
    let large = |bytes: usize, number| row(&"x".repeat(bytes), number);
    let rows = (0..50).map(|number| large(100_000, number)).chain([large(MESSAGE_BYTES_MAX, 50)]).collect();
    publish(&feed, 1, [rows, vec![row("small", 51)]]);
    let messages = had(&mut client);
    assert!(messages.len() > 10);
    let mut numbers = Vec::new();
    for (part, message) in messages.iter().enumerate() {
        assert_eq!((&message["part"], &message["parts"]), (&json!(part + 1), &json!(messages.len())));
        assert!(message.to_string().len() <= MESSAGE_BYTES_MAX + 500);
        numbers.extend(values(message).iter().map(|value| value[1].as_u64().expect("a number")));
    }
    assert_eq!(numbers.len() as u64 + messages[0]["omitted"].as_u64().expect("a number"), 52);
    assert_eq!(numbers, ((50 - numbers.len() as u64 + 1)..50).chain([51]).collect::<Vec<_>>(), "the newest");
}

#[test]
fn a_receipt_that_is_none_is_refused() {
    let feed = upsert();
    let whole = &staged(&feed, 1, [vec![row("a", 1), row("b", 2)], vec![]])[0];
    assert!(Receipt::read(whole).is_ok());
    for bytes in
        [&b"\xff"[..], b"feed 2 a 0", b"feed 1 a", b"feed 1 a x", b"feed 1 a 0\n", b"feed 1 a 0\n1\t2"]
    {
        let refused = feed.recover(Epoch(1), &[bytes.to_vec()]).expect_err("is none").to_string();
        assert!(refused.contains("the feed `rows` is damaged"), "{refused}");
    }
    for end in 0..whole.len() {
        if let Ok(receipt) = Receipt::read(&whole[..end]) {
            assert!(receipt.told.len() < 2, "{end}");
        }
    }
}
