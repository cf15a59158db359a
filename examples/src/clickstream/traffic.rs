//! Requests made up by chance: what a small web shop might log.
//!
//! A request depends on the seed and its number only. One split, because with several the lateness of a request
//! would depend on how far the others have been read.

use std::fmt::Write as _;

use chrono::DateTime;
use highwater::connectors::generator::{ChaCha8Rng, RngExt};

/// How many splits the generator has.
pub const TRAFFIC_SPLITS: u32 = 1;

/// 2025-01-01T00:00:00Z
const START_SECONDS: i64 = 1_735_689_600;
/// Requests in a second of event time.
const REQUESTS_PER_SECOND: u64 = 100;

const PAGES: [&str; 16] = [
    "/",
    "/products",
    "/products/kettle",
    "/products/teapot",
    "/products/cup",
    "/cart",
    "/checkout",
    "/about",
    "/blog",
    "/blog/how-to-brew",
    "/blog/water",
    "/search?q=green+tea",
    "/search?q=oolong",
    "/login",
    "/account",
    "/help",
];
const PARTS: [&str; 5] = ["/style.css", "/shop.js", "/logo.SVG", "/img/teapot.jpg", "/favicon.ico"];
const AGENTS: [&str; 3] = ["Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (Macintosh)", "ExampleBot/2.1"];

/// The request of this number, as a line in the combined log format. One in 5000 is cut off, one in 2000 is
/// several minutes late.
pub fn log_line(random: &mut ChaCha8Rng, number: u64) -> String {
    let behind = match random.random_range(0..2000) {
        0 => random.random_range(120..600),
        1..200 => random.random_range(0..25),
        _ => 0,
    };
    let seconds = START_SECONDS + (number / REQUESTS_PER_SECOND) as i64 - behind;
    let time = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    // The smaller of two draws, so that some pages are viewed more than others.
    let page = random.random_range(0..PAGES.len()).min(random.random_range(0..PAGES.len()));
    let target =
        if random.random_bool(0.4) { PARTS[random.random_range(0..PARTS.len())] } else { PAGES[page] };
    let method = if random.random_bool(0.05) { "POST" } else { "GET" };
    let status = [200, 200, 200, 200, 200, 200, 304, 304, 404, 500][random.random_range(0..10)];
    let (a, b) = (random.random_range(0..8), random.random_range(1..250));
    let (size, agent) = (random.random_range(100..50_000), AGENTS[random.random_range(0..AGENTS.len())]);
    let mut line = String::with_capacity(160);
    // Writing to a string cannot fail.
    let _ = write!(
        line,
        "203.0.{a}.{b} - - [{}] \"{method} {target} HTTP/1.1\" {status} {size} \"-\" \"{agent}\"",
        time.format("%d/%b/%Y:%H:%M:%S +0000")
    );
    if random.random_range(0..5000) == 0 {
        line.truncate(random.random_range(0..line.len()));
    }
    line
}

#[cfg(test)]
mod tests {
    use highwater::prelude::*;

    use super::super::AccessLog;
    use super::*;

    #[test]
    fn nearly_all_lines_are_whole() {
        let lines = Memory::sink();
        let topology = Topology::new("traffic");
        let generator = Generator::new(1, TRAFFIC_SPLITS, log_line).count(20_000);
        topology.source("generator", generator).sink("lines", lines.clone());
        Job::new(topology).run().expect("runs");
        let lines = lines.take();
        let hits: Vec<_> = lines.iter().filter_map(|line| AccessLog.decode(line.as_bytes()).ok()).collect();
        assert_eq!(lines.len(), 20_000);
        assert!((19_900..20_000).contains(&hits.len()), "{}", hits.len());
        let views = hits.iter().filter(|hit| hit.is_page_view()).count();
        assert!((8_000..12_000).contains(&views), "{views}");
    }
}
