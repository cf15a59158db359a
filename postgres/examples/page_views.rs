//! Page views, enriched with what a table says of their pages, counted into a table, and kept in another.
//!
//!     psql "$DATABASE" -f postgres/examples/page_views.sql
//!     cargo run --release -p highwater-postgres --example page_views -- "$DATABASE" [STATE]
//!
//! `DATABASE` are connection parameters: `host=localhost user=shop dbname=shop`. With a directory for its state the
//! program can be killed and started again: each view is in `views` once. Without one it counts anew.

use std::process::ExitCode;

use highwater::prelude::*;
use highwater_postgres::{LookupError, Postgres};

const VIEWS: i64 = 20_000;

/// A view, and the category of its page.
#[derive(Clone)]
struct View {
    number: i64,
    url: String,
    category: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ran = match arguments.as_slice() {
        [database] => run(database, None),
        [database, state] => run(database, Some(state)),
        _ => Err("say where the database is: \"host=localhost user=shop dbname=shop\"".into()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("page_views: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(database: &str, state: Option<&String>) -> Result<(), Cause> {
    let postgres = Postgres::at(database)?;
    let categories =
        postgres.lookup("select category from pages where url = $1", |row| row.try_get::<_, String>(0));
    let all = postgres
        .table::<View>("views")
        .column("number", |view| view.number)
        .column("url", |view| view.url.clone())
        .column("category", |view| view.category.clone())
        .append("page-views");
    let counts = postgres
        .table::<(String, u64)>("views_per_category")
        .column("category", |count| count.0.clone())
        .column("views", |count| count.1 as i64)
        .upsert("page-views-per-category", ["category"]);

    let topology = Topology::new("page-views");
    let views = topology
        .source("views", Memory::source((0..VIEWS).map(|number| (number, url(number)))))
        .map_async("category", move |(number, url)| {
            let categories = categories.clone();
            async move {
                let category = categories.get(url.clone()).await?;
                Ok::<_, LookupError>(View { number, url, category })
            }
        })
        .or_fail();
    views.clone().sink("views-out", all);
    views
        .flat_map(|view| view.category)
        .key_by(|category| category.clone())
        .count("views-per-category")
        .to_stream()
        .sink("counts-out", counts);

    let job = Job::new(topology).workers(2);
    match state {
        Some(directory) => job.state(directory).run()?,
        None => job.run()?,
    };
    Ok(())
}

/// Which page is seen: some are in no table.
fn url(number: i64) -> String {
    let category = ["news", "sport", "weather", "elsewhere"][(number % 4) as usize];
    format!("/{category}/{}", number * 7 % 10)
}
