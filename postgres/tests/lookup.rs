//! Queries that enrich records, on a real server. If one of these fails, records get wrong or stale answers, a job
//! hangs on a database that does not answer, or opens more connections than it may.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "postgres/server.rs"]
mod server;

use std::time::Instant;

use highwater::operators::interpret::interpret;
use highwater::prelude::*;
use highwater_postgres::{Lookup, LookupError, Postgres};
use server::Server;

const PAGES: &str = "create table pages (url text primary key, category text);
    insert into pages select 'page-' || number, 'category-' || number % 7 from generate_series(0, 99) as number";

fn category(server: &Server) -> Lookup<String, Option<String>> {
    let postgres = Postgres::at(&server.address()).unwrap();
    postgres.lookup("select category from pages where url = $1", |row| row.try_get(0))
}

fn enriched(
    category: Lookup<String, Option<String>>,
) -> (Topology, highwater::operators::memory::MemorySink<String>) {
    let (topology, sink) = (Topology::new("pages"), Memory::sink());
    topology
        .source("urls", Memory::source((0..1000u32).map(|number| format!("page-{}", number % 120))))
        .map_async("category", move |url: String| {
            let category = category.clone();
            async move {
                let found = category.get(url.clone()).await?.flatten();
                Ok::<_, LookupError>(format!("{url} {}", found.unwrap_or_else(|| "unknown".to_owned())))
            }
        })
        .or_fail()
        .sink("out", sink.clone());
    (topology, sink)
}

#[test]
fn a_job_and_the_interpreter_get_the_same_answers_over_few_connections() {
    let Some(server) = Server::start() else { return };
    server.run(PAGES);
    let (meant, meaning) = enriched(category(&server));
    interpret(meant).unwrap();
    let (topology, sink) = enriched(category(&server).connections(2).cache(50, Duration::from_secs(60)));
    Job::new(topology).workers(2).run().unwrap();
    let (mut found, mut meant) = (sink.take(), meaning.take());
    found.sort();
    meant.sort();
    assert_eq!(found, meant);
    assert_eq!(found.iter().filter(|line| line.ends_with("unknown")).count(), 160);
    let open = "select count(*) from pg_stat_activity where application_name = 'highwater lookup'";
    assert!(server.number(open) <= 2 + 4);
}

#[test]
fn an_answer_is_kept_for_its_time_also_that_there_is_none() {
    let Some(server) = Server::start() else { return };
    server.run(PAGES);
    let ask = |lookup: &Lookup<_, _>, url: &str| server.wait(lookup.get(url.to_owned())).unwrap();
    let kept = category(&server).cache(10, Duration::from_secs(3600));
    let fresh = category(&server).cache(0, Duration::from_secs(3600));
    let brief = category(&server).cache(10, Duration::from_millis(1));
    for lookup in [&kept, &fresh, &brief] {
        assert_eq!(ask(lookup, "page-1"), Some(Some("category-1".to_owned())));
        assert_eq!(ask(lookup, "new"), None);
    }
    server
        .run("update pages set category = null where url = 'page-1'; insert into pages values ('new', 'n')");
    assert_eq!(ask(&kept, "page-1"), Some(Some("category-1".to_owned())));
    assert_eq!(ask(&kept, "new"), None);
    for lookup in [&fresh, &brief] {
        let since = Instant::now();
        while ask(lookup, "page-1").is_some_and(|found| found.is_some()) {
            assert!(since.elapsed() < server::PATIENCE);
        }
        assert_eq!(ask(lookup, "new"), Some(Some("n".to_owned())));
    }
}

#[test]
fn what_goes_wrong_has_a_type_and_comes_in_time() {
    let Some(mut server) = Server::start() else { return };
    server.run(PAGES);
    let postgres = Postgres::at(&server.address()).unwrap();
    let text = |query: &str| {
        let lookup: Lookup<String, String> = postgres.lookup(query, |row| row.try_get(0));
        server
            .wait(lookup.timeout(Duration::from_millis(300)).connections(1).get("x".to_owned()))
            .unwrap_err()
    };
    let refused = text("select nothing from pages where url = $1");
    assert!(matches!(&refused, LookupError::Refused { refusal, .. } if refusal.code == "42703"), "{refused}");
    assert!(matches!(text("select url from pages where length(url) = $1"), LookupError::Key { .. }));
    assert!(matches!(text("select url from pages"), LookupError::Key { .. }));
    assert!(matches!(text("select 7 where $1 = 'x'"), LookupError::Row { .. }));
    let several = text("select url from pages where url <> $1");
    assert!(
        matches!(&several, LookupError::Row { .. }) && several.to_string().contains("limit 1"),
        "{several}"
    );
    assert!(matches!(
        text("select 'a' from pg_sleep(60) where $1 = 'x'"),
        LookupError::Timeout { .. } | LookupError::Refused { .. }
    ));

    // One connection, and somebody is using it.
    let slow: Lookup<i32, String> =
        postgres.lookup("select 'a' from pg_sleep($1::int)", |row| row.try_get(0));
    let slow = slow.timeout(Duration::from_millis(500)).connections(1);
    let (first, second) = server.wait(async {
        let other = slow.clone();
        let first = tokio::spawn(async move { other.get(30).await });
        let second = tokio::spawn(async move { slow.get(31).await });
        (first.await.unwrap(), second.await.unwrap())
    });
    for error in [first.unwrap_err(), second.unwrap_err()] {
        let expected = matches!(
            error,
            LookupError::Timeout { .. } | LookupError::Busy { .. } | LookupError::Refused { .. }
        );
        assert!(expected, "{error}");
    }

    let lookup = category(&server);
    assert!(server.wait(lookup.get("page-1".to_owned())).unwrap().is_some());
    server.kill();
    let gone = server.wait(lookup.get("page-2".to_owned())).unwrap_err();
    assert!(matches!(gone, LookupError::Connection { .. } | LookupError::Refused { .. }), "{gone}");
    server.resume();
    let since = Instant::now();
    while server.wait(lookup.get("page-2".to_owned())).is_err() {
        assert!(since.elapsed() < server::PATIENCE, "it does not find back");
    }
}
