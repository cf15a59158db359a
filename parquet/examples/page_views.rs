//! Page views in a directory of Parquet files, with the number of views of their page so far.
//!
//!     cargo run --release -p highwater-parquet --example page_views -- /tmp/views [STATE]
//!     duckdb -c "select url, max(views) from '/tmp/views/*.parquet' group by url"
//!
//! With a directory for its state the program can be killed and started again: each view is in one file. Without one it
//! adds its views anew.

use std::process::ExitCode;

use highwater::prelude::*;
use highwater_parquet::Parquet;

const VIEWS: i64 = 200_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ran = match arguments.as_slice() {
        [files] => run(files, None),
        [files, state] => run(files, Some(state)),
        _ => Err("say which directory the files go to".into()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("page_views: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(files: &str, state: Option<&String>) -> Result<(), Cause> {
    let views = Parquet::directory(files)?
        .roll_after(Duration::from_secs(10))
        .rows::<(String, u64)>()
        .column("url", |view| view.0.clone())
        .column("views", |view| view.1 as i64)
        .sink();

    let topology = Topology::new("page-views");
    topology
        .source("views", Memory::source(0..VIEWS))
        .key_by(|number| format!("/page/{}", number * number % 101))
        .count("views")
        .to_stream()
        .sink("views-out", views);

    let job = Job::new(topology).workers(2);
    match state {
        Some(directory) => job.state(directory).run()?,
        None => job.run()?,
    };
    Ok(())
}
