//! What a running example shows: on a terminal a picture that is drawn anew several times a second, in a pipe a
//! plain line each second.
//!
//! It is a view and no result: after a restart it counts from zero, and what is repeated after a crash is shown
//! again. It must not disturb the job: a pipe that nobody reads any more is no error.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The length of the ranking.
const PLACES: usize = 10;
/// Time between two pictures on a terminal.
const PICTURE: Duration = Duration::from_millis(125);
/// Time between two lines in a pipe.
const LINE: Duration = Duration::from_secs(1);

/// A result that knows how it is shown.
pub trait Shown {
    /// Puts itself on the board.
    fn show(&self, board: &mut Board);
}

/// What is shown: totals, and the first places of a ranking.
#[derive(Debug, Default)]
pub struct Board {
    totals: Vec<(&'static str, u64)>,
    title: &'static str,
    period: String,
    ranking: HashMap<String, u64>,
}

impl Board {
    /// Adds to a total.
    pub fn add(&mut self, total: &'static str, count: u64) {
        match self.totals.iter_mut().find(|(name, _)| *name == total) {
            Some((_, sum)) => *sum += count,
            None => self.totals.push((total, count)),
        }
    }

    /// Adds to a name's score in the ranking of a period. The latest period is shown; periods are compared as
    /// text.
    pub fn rank(&mut self, title: &'static str, period: &str, name: &str, count: u64) {
        self.title = title;
        if period > self.period.as_str() {
            self.ranking.clear();
            period.clone_into(&mut self.period);
        }
        if period == self.period {
            match self.ranking.get_mut(name) {
                Some(sum) => *sum += count,
                None => drop(self.ranking.insert(name.to_owned(), count)),
            }
        }
    }

    fn totals(&self) -> String {
        self.totals.iter().fold(String::new(), |mut text, (name, sum)| {
            let _ = write!(text, "   {name} {}", grouped(*sum));
            text
        })
    }

    /// The title, and a line for each of the first places; nothing if nothing was ranked.
    fn places(&self) -> Vec<String> {
        if self.ranking.is_empty() {
            return Vec::new();
        }
        let mut ranking: Vec<_> = self.ranking.iter().collect();
        ranking.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let title = format!("{} {}", self.title, self.period).trim_end().to_owned();
        let place = |(name, count): (&String, &u64)| {
            // What stands in a log must not steer the terminal.
            let name: String = name.chars().filter(|char| !char.is_control()).take(200).collect();
            format!("{:>9}  {name}", grouped(*count))
        };
        std::iter::once(title).chain(ranking.into_iter().take(PLACES).map(place)).collect()
    }
}

/// A view of a running job. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Live {
    read: Arc<AtomicU64>,
    board: Arc<Mutex<Board>>,
}

impl Live {
    /// A view that shows nothing yet.
    pub fn new() -> Live {
        Live::default()
    }

    /// For `inspect` behind a source: counts what was read.
    pub fn count<T>(&self) -> impl Fn(&T) + Send + Sync + use<T> + 'static {
        let read = Arc::clone(&self.read);
        move |_| {
            read.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For `inspect` before a sink: shows the results.
    pub fn show<T: Shown>(&self) -> impl Fn(&T) + Send + Sync + use<T> + 'static {
        let live = self.clone();
        move |result| result.show(&mut live.board())
    }

    /// Runs a job and shows how it goes, to its end.
    pub fn watch<R>(&self, job: impl FnOnce() -> R) -> R {
        let (ended, end) = channel::<()>();
        let live = self.clone();
        let watcher = std::thread::spawn(move || {
            if std::io::stdout().is_terminal() { live.draw(&end) } else { live.print(&end) }
        });
        let result = job();
        drop(ended);
        // A view that panicked is no reason to hide how the job ended.
        let _ = watcher.join();
        result
    }

    fn draw(&self, end: &Receiver<()>) {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let style =
            ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let lines: Vec<ProgressBar> =
            (0..PLACES + 2).map(|_| screen.add(ProgressBar::no_length().with_style(style.clone()))).collect();
        let start = Instant::now();
        let mut running = true;
        while running {
            running = goes_on(end, PICTURE);
            if !running && self.is_empty() {
                return;
            }
            let texts = std::iter::once(self.progress(start)).chain(self.board().places());
            let empty = std::iter::repeat_with(String::new);
            lines.iter().zip(texts.chain(empty)).for_each(|(line, text)| line.set_message(text));
        }
        lines.iter().for_each(ProgressBar::abandon);
    }

    fn print(&self, end: &Receiver<()>) {
        let mut out = std::io::stdout().lock();
        let start = Instant::now();
        let mut running = true;
        while running {
            running = goes_on(end, LINE);
            if !running && self.is_empty() {
                return;
            }
            let mut texts = vec![self.progress(start)];
            if !running {
                texts.append(&mut self.board().places());
            }
            for text in texts {
                if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
                    return;
                }
            }
        }
    }

    fn progress(&self, start: Instant) -> String {
        let read = self.read.load(Ordering::Relaxed);
        let seconds = start.elapsed().as_secs_f64();
        let rate = grouped((read as f64 / seconds.max(0.001)) as u64);
        format!("{seconds:6.1} s   records {} ({rate}/s){}", grouped(read), self.board().totals())
    }

    /// Whether nothing has happened that could be shown.
    fn is_empty(&self) -> bool {
        self.read.load(Ordering::Relaxed) == 0 && self.board().totals.is_empty()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits; says whether the job goes on.
fn goes_on(end: &Receiver<()>, time: Duration) -> bool {
    end.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

/// A number with a comma between every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranking_is_that_of_the_latest_period() {
        let mut board = Board::default();
        for (period, name, count) in
            [("10:00", "a", 9), ("10:01", "b", 1000), ("10:00", "a", 5), ("10:01", "c\u{1b}", 2)]
        {
            board.rank("most viewed at", period, name, count);
        }
        assert_eq!(board.places(), ["most viewed at 10:01", "    1,000  b", "        2  c"]);
    }

    #[test]
    fn numbers_are_grouped_by_threes() {
        let texts = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
