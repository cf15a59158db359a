//! The sink on a real server, driven step by step as the engine drives it. If one of these fails, a table shows half an
//! epoch, an epoch twice or not at all, an old instance writes beside its successor, or a person who meets an error
//! does not learn what to do.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "postgres/server.rs"]
mod server;

use highwater::operators::batch::Batch;
use highwater::operators::error::{Cause, TryAgain};
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::state::Epoch;
use highwater_postgres::{Postgres, PostgresSink};
use server::Server;

type Row = (i64, Option<String>);
type Receipts = Vec<Vec<u8>>;

/// The sink, and the writers of two workers.
struct Run {
    sink: PostgresSink<Row>,
    writers: Vec<Box<dyn Writer<Row>>>,
}

impl Run {
    fn write(&mut self, worker: usize, rows: &[(i64, &str)]) {
        let rows = rows.iter().map(|(id, name)| (*id, (!name.is_empty()).then(|| (*name).to_owned())));
        self.writers[worker].write(&mut Batch::untimed(rows.collect())).unwrap();
    }

    fn stage(&mut self, epoch: u64) -> Result<Receipts, Cause> {
        self.writers.iter_mut().map(|writer| writer.stage(Epoch(epoch))).collect()
    }

    fn again(&mut self, last: u64, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.sink.recover(Epoch(last), receipts)?;
        self.writers = (0..2).map(|worker| self.sink.open(worker)).collect::<Result<_, _>>()?;
        Ok(())
    }
}

fn start(sink: PostgresSink<Row>, last: u64, receipts: &[Vec<u8>]) -> Result<Run, Cause> {
    let mut run = Run { sink, writers: Vec::new() };
    run.again(last, receipts)?;
    Ok(run)
}

fn append(server: &Server) -> PostgresSink<Row> {
    let table = Postgres::at(&server.address()).unwrap().table::<Row>("rows");
    table.column("id", |row| row.0).column("name", |row| row.1.clone()).append("rows-out")
}

fn upsert(server: &Server) -> PostgresSink<Row> {
    let table = Postgres::at(&server.address()).unwrap().table::<Row>("public.rows");
    table.column("id", |row| row.0).column("name", |row| row.1.clone()).upsert("rows-out", ["id"])
}

const PLAIN: &str = "create table rows (id bigint, name text)";
const KEYED: &str = "create table rows (id bigint primary key, name text, at timestamptz default now())";

fn shown(server: &Server) -> String {
    let rows = server.rows("select id, coalesce(name, '-') from rows order by id, name");
    let rows = rows.iter().map(|row| format!("{}{}", row.get::<_, i64>(0), row.get::<_, String>(1)));
    rows.collect::<Vec<_>>().join(" ")
}

fn waiting(server: &Server) -> i64 {
    server.number("select count(*) from \"highwater_staged_rows-out\"")
}

fn refused(result: Result<impl Sized, Cause>, words: &[&str]) -> String {
    let error = result.err().expect("it is refused");
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "`{word}` is not in: {text}"));
    text
}

/// Epoch 1 is published, epoch 2 is staged.
fn staged(server: &Server) -> (Run, Receipts, Receipts) {
    let mut run = start(append(server), 0, &[]).unwrap();
    run.write(0, &[(1, "a")]);
    run.write(1, &[(2, "b")]);
    let first = run.stage(1).unwrap();
    run.sink.publish(Epoch(1), &first).unwrap();
    run.write(0, &[(3, "c")]);
    run.write(1, &[(4, "d"), (4, "d")]);
    let second = run.stage(2).unwrap();
    (run, first, second)
}

#[test]
fn what_is_staged_is_invisible_and_publishing_twice_is_publishing_once() {
    let Some(server) = Server::start() else { return };
    server.run(PLAIN);
    let (mut run, first, second) = staged(&server);
    assert_eq!(shown(&server), "1a 2b");
    run.write(0, &[(9, "of the third epoch")]);
    run.sink.publish(Epoch(2), &second).unwrap();
    assert_eq!(shown(&server), "1a 2b 3c 4d 4d");
    run.sink.publish(Epoch(2), &second).unwrap();
    run.sink.publish(Epoch(1), &first).unwrap();
    assert_eq!(shown(&server), "1a 2b 3c 4d 4d");
    assert_eq!(waiting(&server), 0);
    // Nothing in epoch 3 of worker 1, nothing at all in epoch 4.
    let third = run.stage(3).unwrap();
    assert!(!third[0].is_empty() && third[1].is_empty());
    run.sink.publish(Epoch(3), &third).unwrap();
    assert!(run.stage(4).unwrap().iter().all(Vec::is_empty));
    run.write(1, &[(5, "")]);
    let fifth = run.stage(5).unwrap();
    run.sink.publish(Epoch(5), &fifth).unwrap();
    assert_eq!(shown(&server), "1a 2b 3c 4d 4d 5- 9of the third epoch");
}

#[test]
fn a_start_publishes_what_is_committed_and_forgets_what_is_not() {
    let Some(server) = Server::start() else { return };
    server.run(PLAIN);
    // Epoch 2 was not committed.
    let (run, first, _) = staged(&server);
    drop(run);
    drop(start(append(&server), 1, &first).unwrap());
    assert_eq!((shown(&server).as_str(), waiting(&server)), ("1a 2b", 0));
    // Epoch 2 was committed; its rows were staged by an instance that is gone, for more workers than there are now.
    server.run("truncate rows");
    let (run, _, second) = staged(&server);
    drop(run);
    drop(start(append(&server), 2, &second).unwrap());
    assert_eq!((shown(&server).as_str(), waiting(&server)), ("1a 2b 3c 4d 4d", 0));
    let mut run = start(append(&server), 2, &second).unwrap();
    assert_eq!(shown(&server), "1a 2b 3c 4d 4d");
    run.write(1, &[(5, "e")]);
    let third = run.stage(3).unwrap();
    run.sink.publish(Epoch(3), &third).unwrap();
    assert_eq!(shown(&server), "1a 2b 3c 4d 4d 5e");
    // Older state than what the table shows; and no state at all, which begins anew and takes nothing away.
    refused(
        start(append(&server), 2, &second),
        &["up to epoch 3", "is at epoch 2", "restored from an older copy"],
    );
    let mut run = start(append(&server), 0, &[]).unwrap();
    run.write(0, &[(1, "a")]);
    let first = run.stage(1).unwrap();
    run.sink.publish(Epoch(1), &first).unwrap();
    assert_eq!(shown(&server), "1a 1a 2b 3c 4d 4d 5e");
}

#[test]
fn an_upsert_keeps_the_last_row_of_each_key() {
    let Some(server) = Server::start() else { return };
    server.run(KEYED);
    let mut run = start(upsert(&server), 0, &[]).unwrap();
    run.write(0, &[(1, "a"), (2, "b"), (1, "c"), (1, "d")]);
    run.write(1, &[(3, "x"), (3, "y")]);
    let first = run.stage(1).unwrap();
    assert_eq!(waiting(&server), 3, "what is replaced at once is not sent");
    run.sink.publish(Epoch(1), &first).unwrap();
    assert_eq!(shown(&server), "1d 2b 3y");
    run.write(0, &[(2, ""), (4, "q")]);
    let second = run.stage(2).unwrap();
    run.sink.publish(Epoch(2), &second).unwrap();
    assert_eq!(shown(&server), "1d 2- 3y 4q");
    assert_eq!(server.number("select count(*) from rows where at is null"), 0);
}

#[test]
fn an_old_instance_that_wakes_up_changes_nothing_and_does_not_fence_its_successor() {
    let Some(server) = Server::start() else { return };
    server.run(PLAIN);
    let (mut old, _, second) = staged(&server);
    // Asleep with rows on their way; its successor begins from a copy of its state, at epoch 1.
    let mut new = start(append(&server), 1, &[]).unwrap();
    new.write(0, &[(3, "new")]);
    let receipts = new.stage(2).unwrap();
    // It wakes up: what it does with its connections is refused, and so is what it does with new ones.
    let lost = old.sink.publish(Epoch(2), &second).unwrap_err();
    assert!(lost.is::<TryAgain>() || lost.to_string().contains("has taken over"), "{lost}");
    refused(
        old.sink.publish(Epoch(2), &second),
        &["another instance has taken over", "rows-out", "\"rows\""],
    );
    old.write(0, &[(7, "ghost")]);
    let _ = old.stage(3);
    refused(old.again(1, &[]), &["another instance has taken over"]);
    refused(old.again(2, &second), &["another instance has taken over"]);
    assert_eq!(shown(&server), "1a 2b");
    new.sink.publish(Epoch(2), &receipts).unwrap();
    assert_eq!(shown(&server), "1a 2b 3new");
}

#[test]
fn an_old_instance_that_sleeps_in_the_middle_of_publishing_is_ended() {
    let Some(server) = Server::start() else { return };
    server.run(PLAIN);
    let (run, first, _) = staged(&server);
    // As one that was paused behind its first statement.
    let asleep = server.client();
    server.run_on(&asleep, "set application_name = 'highwater sink rows-out'; begin");
    server.run_on(&asleep, "select * from highwater_sinks where sink = 'rows-out' for update");
    server.run_on(&asleep, "insert into rows values (666, 'ghost')");
    server.run_on(&asleep, "insert into \"highwater_staged_rows-out\" values (6, 'g', 1, 0, 2, 1)");
    drop(start(append(&server), 1, &first).unwrap());
    assert!(server.wait(asleep.batch_execute("commit")).is_err());
    assert_eq!(shown(&server), "1a 2b");
    drop(run);
}

#[test]
fn a_row_that_the_table_does_not_take_is_refused_before_the_epoch_is_committed() {
    let Some(server) = Server::start() else { return };
    let rules = "create table rows (id bigint not null check (id < 100), name varchar(5) not null)";
    server.run(rules);
    let cases = [
        ((200, "abc"), ["23514", "rows_id_check", "not committed"]),
        ((1, "abcdef"), ["22001", "name", "not committed"]),
        ((1, ""), ["23502", "column `name`", "not committed"]),
        ((1, "a\0b"), ["22021", "name", "not committed"]),
    ];
    for (row, words) in cases {
        let mut run = start(append(&server), 0, &[]).unwrap();
        run.write(0, &[(1, "a"), row]);
        refused(run.stage(1), &words);
    }
    assert_eq!((shown(&server).as_str(), waiting(&server)), ("", 0));
}

#[test]
fn a_row_that_other_rows_forbid_waits_until_somebody_has_put_it_right() {
    let Some(server) = Server::start() else { return };
    server.run("create table people (name text primary key); insert into people values ('a'), ('b')");
    server.run("create table rows (id bigint unique, name text references people)");
    let mut run = start(append(&server), 0, &[]).unwrap();
    run.write(0, &[(1, "a"), (2, "c")]);
    let first = run.stage(1).unwrap();
    let words = ["23503", "rows_name_fkey", "epoch 1", "\"highwater_staged_rows-out\"", "highwater_skip"];
    refused(run.sink.publish(Epoch(1), &first), &words);
    refused(start(append(&server), 1, &first), &words);
    assert_eq!(shown(&server), "");
    server.run("insert into people values ('c')");
    let mut run = start(append(&server), 1, &first).unwrap();
    assert_eq!(shown(&server), "1a 2c");
    run.write(1, &[(2, "b"), (3, "b")]);
    let second = run.stage(2).unwrap();
    refused(run.sink.publish(Epoch(2), &second), &["23505", "rows_id_key", "(2)"]);
    server.run("update \"highwater_staged_rows-out\" set highwater_skip = true where id = 2");
    drop(start(append(&server), 2, &second).unwrap());
    assert_eq!((shown(&server).as_str(), waiting(&server)), ("1a 2c 3b", 0));
}

#[test]
fn a_table_that_does_not_fit_is_refused_at_the_start() {
    let Some(server) = Server::start() else { return };
    let cases = [
        ("create table other ()", false, vec!["there is no such table"]),
        ("create table rows (id integer, name text)", false, vec!["`id` has the type int4", "gives `i64`"]),
        ("create table rows (id bigint)", false, vec!["42703", "name"]),
        ("create table rows (id bigint not null, name text)", true, vec!["42P10", "unique index"]),
        ("create table rows (id bigint unique, name text)", true, vec!["`id` may be null"]),
        ("create table rows (id bigint, name text, x int not null)", false, vec!["`x` is NOT NULL"]),
        ("create table rows (id bigint generated always as identity, name text)", false, vec!["428C9"]),
    ];
    for (table, keyed, words) in cases {
        server.run(table);
        let sink = if keyed { upsert(&server) } else { append(&server) };
        refused(start(sink, 0, &[]), &words);
        server.run("drop table if exists rows, other, \"highwater_staged_rows-out\"");
    }
    let nowhere = Postgres::at("host=127.0.0.1 port=1 user=x dbname=y").unwrap();
    let sink = nowhere.table::<Row>("rows").column("id", |row| row.0).append("rows-out");
    let error = start(sink, 0, &[]).err().unwrap();
    assert!(error.is::<TryAgain>() && error.to_string().contains("127.0.0.1:1/y"), "{error}");
    let sink = Postgres::at(&server.address()).unwrap().table::<Row>("rows").append("rows-out");
    refused(start(sink, 0, &[]), &["1 to 1500 columns"]);
}

#[test]
fn a_database_that_was_restored_from_an_older_copy_is_noticed() {
    let Some(server) = Server::start() else { return };
    server.run(PLAIN);
    let (run, _, second) = staged(&server);
    drop(run);
    server.run("delete from \"highwater_staged_rows-out\" where id = 4");
    refused(start(append(&server), 2, &second), &["epoch 2", "worker 1 staged 2 rows, and 0 are there"]);
    server.run("update highwater_sinks set epoch = 0");
    refused(start(append(&server), 2, &second), &["the last epoch there is epoch 0, and it was epoch 1"]);
    assert_eq!(shown(&server), "1a 2b");
}

#[test]
fn pieces_are_sent_while_the_epoch_goes_on_and_the_writer_waits_for_the_server() {
    let Some(server) = Server::start() else { return };
    server.run(PLAIN);
    let mut run = start(append(&server), 0, &[]).unwrap();
    let (text, mut rows, since) = ("x".repeat(10_000), 0, std::time::Instant::now());
    while rows < 1000 {
        if run.writers[0].ready() {
            let batch = (0..10).map(|number| (rows + number, Some(text.clone()))).collect();
            run.writers[0].write(&mut Batch::untimed(batch)).unwrap();
            rows += 10;
        }
        assert!(since.elapsed() < server::PATIENCE);
    }
    assert!(waiting(&server) > 0, "10 MB are more than is kept");
    assert_eq!(server.number("select count(*) from rows"), 0);
    let receipts = run.stage(1).unwrap();
    run.sink.publish(Epoch(1), &receipts).unwrap();
    assert_eq!(server.number("select count(distinct id) from rows where length(name) = 10000"), 1000);
}
