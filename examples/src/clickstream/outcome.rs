//! What the example `clickstream` tells: one JSON object a line.

use highwater::prelude::*;
use serde::Serialize;

use super::Hit;
use crate::live::{Board, Shown};

/// One line of the output.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// How often a page was viewed in a window.
    PageViews {
        /// The page.
        url: String,
        /// The first moment of the window.
        window_start: String,
        /// The first moment after the window.
        window_end: String,
        /// The number of views.
        count: u64,
    },
    /// How many addresses sent requests in a window.
    ActiveUsers {
        /// The first moment of the window.
        window_start: String,
        /// The first moment after the window.
        window_end: String,
        /// The number of addresses.
        count: u64,
    },
    /// The requests of one address with no longer pause between them than the gap.
    Session {
        /// The address.
        user: String,
        /// The time of the first request.
        start: String,
        /// The time of the last request.
        end: String,
        /// The number of requests.
        events: u64,
        /// The number of different pages that were viewed.
        pages: u64,
    },
    /// A request that came after its window was closed.
    Late {
        /// The request as it came.
        line: String,
    },
    /// A request that came after its session had ended.
    LateForSession {
        /// The request as it came.
        line: String,
    },
    /// A line that is no request.
    Bad {
        /// The line as it came; bytes that are not UTF-8 are U+FFFD.
        line: String,
        /// Why it is no request.
        reason: String,
    },
}

impl Outcome {
    /// From the page views of a window.
    pub fn page_views(views: Windowed<String, u64>) -> Outcome {
        let Windowed { key: url, window, value: count, .. } = views;
        let (window_start, window_end) = bounds(window);
        Outcome::PageViews { url, window_start, window_end, count }
    }

    /// From the addresses of a window.
    pub fn active_users(users: Windowed<TimeRange, u64>) -> Outcome {
        let (window_start, window_end) = bounds(users.window);
        Outcome::ActiveUsers { window_start, window_end, count: users.value }
    }

    /// From a session, which ends when its gap is over.
    pub fn session(session: Windowed<String, (u64, u64)>, gap: Duration) -> Outcome {
        let Windowed { key: user, window, value: (events, pages), .. } = session;
        let (start, end) = (window.start.to_rfc3339_seconds(), (window.end - gap).to_rfc3339_seconds());
        Outcome::Session { user, start, end, events, pages }
    }

    /// From a late request.
    pub fn late(hit: Hit) -> Outcome {
        Outcome::Late { line: hit.line().to_owned() }
    }

    /// From a request that is late for its session.
    pub fn late_for_session(hit: Hit) -> Outcome {
        Outcome::LateForSession { line: hit.line().to_owned() }
    }

    /// From the bytes of a line that is no request.
    pub fn bad(raw: &[u8], reason: String) -> Outcome {
        let line = String::from_utf8_lossy(raw.strip_suffix(b"\r").unwrap_or(raw)).into_owned();
        Outcome::Bad { line, reason }
    }
}

fn bounds(window: TimeRange) -> (String, String) {
    (window.start.to_rfc3339_seconds(), window.end.to_rfc3339_seconds())
}

impl Shown for Outcome {
    fn show(&self, board: &mut Board) {
        match self {
            Outcome::PageViews { url, window_start, count, .. } => {
                board.add("page views", *count);
                board.rank("most viewed in the window from", window_start, url, *count);
            }
            Outcome::ActiveUsers { .. } => board.add("windows", 1),
            Outcome::Session { .. } => board.add("sessions", 1),
            Outcome::Late { .. } | Outcome::LateForSession { .. } => board.add("late", 1),
            Outcome::Bad { .. } => board.add("bad", 1),
        }
    }
}
