//! `map_async` in a job: on a runtime with timers and sockets, against a service over TCP, with several workers and
//! restarts while requests are on their way. If a test fails here, an answer is lost or emitted twice, or a job hangs
//! on a service that does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

/// Longer than anything takes that comes to an end at all.
const PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
fn wait_until(otherwise: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{otherwise}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Numbers in some splits, of which more may come until they are said to end.
#[derive(Clone)]
struct Numbers {
    splits: u64,
    numbers: u64,
    end: Arc<AtomicBool>,
}

impl Numbers {
    fn new(splits: u64, numbers: u64) -> Numbers {
        Numbers { splits, numbers, end: Arc::default() }
    }

    fn end(&self) {
        self.end.store(true, Ordering::SeqCst);
    }
}

impl Source for Numbers {
    type Item = u64;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok((0..self.splits).map(|split| split.to_string()).collect())
    }

    fn open(&self, split: &str, from: Option<u64>) -> Result<Reading, Cause> {
        let first = split.parse()?;
        Ok(Box::new(NumbersReader { next: from.unwrap_or(first), of: self.clone() }))
    }
}

type Reading = Box<dyn Reader<Item = u64, Position = u64>>;

struct NumbersReader {
    next: u64,
    of: Numbers,
}

impl Reader for NumbersReader {
    type Item = u64;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<u64>) -> Result<Poll, Cause> {
        // First, so that nothing comes after it.
        let end = self.of.end.load(Ordering::SeqCst);
        for _ in 0..limit {
            if self.next < self.of.numbers {
                into.values.push(self.next);
                self.next += self.of.splits;
            }
        }
        Ok(if end && self.next >= self.of.numbers { Poll::Finished } else { Poll::Pending })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// A service that answers each line with the same line behind `answer `, and keeps some waiting until it is told.
struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    held: Arc<AtomicBool>,
}

impl Service {
    /// Holds up every request about a number that `holds` names, as long as [`release`](Service::release) is not
    /// called.
    fn start(holds: fn(u64) -> bool) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = Service { address, asked: Arc::default(), held: Arc::new(AtomicBool::new(true)) };
        let (asked, held) = (Arc::clone(&service.asked), Arc::clone(&service.held));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, held) = (Arc::clone(&asked), Arc::clone(&held));
                let stream = stream.expect("a connection");
                std::thread::spawn(move || {
                    answer(stream, &asked, &|n| holds(n) && held.load(Ordering::SeqCst))
                });
            }
        });
        service
    }

    fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    /// Waits until nothing more is asked, because of what is held up.
    #[track_caller]
    fn wait_until_silent(&self) {
        let mut before = 0;
        wait_until("requests do not come to a standstill", || {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.asked.lock().expect("no panic").values().sum();
            std::mem::replace(&mut before, now) == now && now > 0
        });
    }
}

fn answer(stream: TcpStream, asked: &Mutex<BTreeMap<String, usize>>, holds: &dyn Fn(u64) -> bool) {
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let line = line.trim().to_owned();
    *asked.lock().expect("no panic").entry(line.clone()).or_default() += 1;
    let number: u64 = line.parse().unwrap_or(0);
    while holds(number) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // A client that has gone does not want it any more.
    let _ = writeln!(reader.get_mut(), "answer {line}");
}

async fn ask(address: SocketAddr, number: u64) -> std::io::Result<String> {
    let mut stream = tokio::io::BufStream::new(tokio::net::TcpStream::connect(address).await?);
    stream.write_all(format!("{number}\n").as_bytes()).await?;
    stream.flush().await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    match answer.trim() {
        "" => Err(std::io::ErrorKind::UnexpectedEof.into()),
        answer => Ok(answer.to_owned()),
    }
}

#[test]
fn requests_wait_beside_each_other_and_results_leave_in_order() {
    let most = Arc::new(AtomicUsize::new(0));
    let running = Arc::new(AtomicUsize::new(0));
    let sink = Memory::sink();
    let topology = Topology::new("sleeps");
    let (running_now, most_seen) = (Arc::clone(&running), Arc::clone(&most));
    topology
        .source("numbers", Memory::source(0..400u64))
        .map_async("sleep", move |number| {
            let (running, most) = (Arc::clone(&running_now), Arc::clone(&most_seen));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20 - number % 20)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Cause>(number * 2)
            }
        })
        .in_flight(50)
        .or_fail()
        .sink("out", sink.clone());
    Job::new(topology).epoch_interval(Duration::from_millis(10)).run().expect("runs");
    assert_eq!(sink.take(), (0..400).map(|number| number * 2).collect::<Vec<u64>>());
    let most = most.load(Ordering::SeqCst);
    assert!((25..=50).contains(&most), "{most} at a time");
}

/// Numbers with event time, looked up and counted by window; what comes late is counted apart.
fn lookups(
    numbers: &Numbers,
    address: SocketAddr,
    unordered: bool,
    answers: &MemorySink<String>,
    counts: &MemorySink<(i64, u64)>,
) -> Topology {
    let topology = Topology::new("lookups");
    let timed = topology
        .source("numbers", numbers.clone())
        .event_time(|number| Timestamp::from_millis(*number as i64), Duration::ZERO);
    let asking = timed.map_async("lookup", move |number| ask(address, number)).in_flight(20);
    let answered = if unordered { asking.unordered().or_fail() } else { asking.or_fail() };
    answered.clone().sink("answers", answers.clone());
    answered
        .key_by(|_| ())
        .window(tumbling(Duration::from_millis(10)))
        .count("counts")
        .map(|counted| (counted.window.start.as_millis(), counted.value))
        .sink("windows", counts.clone());
    topology
}

type MemorySink<T> = highwater::operators::memory::MemorySink<T>;

#[test]
fn a_job_that_is_stopped_with_requests_on_their_way_loses_and_doubles_nothing() {
    const NUMBERS: u64 = 300;
    for (workers, unordered) in
        [([1, 1], false), ([1, 2], false), ([2, 1], true), ([2, 2], true), ([2, 3], true)]
    {
        let directory = tempfile::tempdir().expect("a directory");
        let service = Service::start(|number| number % 7 == 3);
        let (answers, counts, numbers) = (Memory::sink(), Memory::sink(), Numbers::new(3, NUMBERS));
        let job = |workers| {
            let topology = lookups(&numbers, service.address, unordered, &answers, &counts);
            Job::new(topology)
                .workers(workers)
                .state(directory.path())
                .memory(64 << 20)
                .epoch_interval(Duration::from_millis(10))
        };
        let running = job(workers[0]).start().expect("starts");
        service.wait_until_silent();
        running.stop();
        let since = Instant::now();
        let report = running.wait().expect("stops");
        assert!(!report.finished);
        assert!(since.elapsed() < Duration::from_secs(5), "a stop does not wait for answers");
        service.release();
        numbers.end();
        let report = job(workers[1]).start().expect("starts").wait().expect("runs");
        assert!(report.finished);
        let mut found = answers.take();
        found.sort();
        let mut expected: Vec<String> = (0..NUMBERS).map(|number| format!("answer {number}")).collect();
        expected.sort();
        assert_eq!(found, expected, "{workers:?}");
        let mut found: Vec<(i64, u64)> = counts.take();
        found.sort();
        let expected: Vec<_> = (0..NUMBERS as i64 / 10).map(|window| (window * 10, 10)).collect();
        assert_eq!(found, expected, "nothing is late: {workers:?}");
        let again = service.asked.lock().expect("no panic").values().filter(|&&times| times > 1).count();
        assert!(again <= 20 * workers[0], "{again} requests were repeated");
    }
}

#[test]
fn keyed_results_come_back_under_their_keys_with_another_number_of_workers() {
    for workers in [[1, 2], [2, 1]] {
        let directory = tempfile::tempdir().expect("a directory");
        let (counts, held) = (Memory::sink(), Arc::new(AtomicBool::new(true)));
        let numbers = Numbers::new(1, 200);
        let asked = Arc::new(AtomicU64::new(0));
        let job = |workers| {
            let topology = Topology::new("keyed");
            let (held, asked) = (Arc::clone(&held), Arc::clone(&asked));
            topology
                .source("numbers", numbers.clone())
                .key_by(|number| number % 10)
                .map_async("hold", move |number| {
                    let held = Arc::clone(&held);
                    asked.fetch_add(1, Ordering::SeqCst);
                    async move {
                        while number > 50 && held.load(Ordering::SeqCst) {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                        Ok::<_, Cause>(number)
                    }
                })
                .unordered()
                .in_flight(10)
                .or_fail()
                .fold("seen", Vec::new, |seen: &mut Vec<u64>, number| seen.push(number))
                .to_stream()
                .sink("out", counts.clone());
            Job::new(topology).workers(workers).state(directory.path()).memory(64 << 20)
        };
        let running = job(workers[0]).epoch_interval(Duration::from_millis(10)).start().expect("starts");
        wait_until("nothing is asked", || asked.load(Ordering::SeqCst) > 55);
        running.stop();
        running.wait().expect("stops");
        held.store(false, Ordering::SeqCst);
        numbers.end();
        assert!(job(workers[1]).run().expect("runs").finished);
        let mut last: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (key, seen) in counts.take() {
            let longest = last.entry(key).or_default();
            if seen.len() > longest.len() {
                *longest = seen;
            }
        }
        let expected = (0..10).map(|key| (key, (0..20).map(|n| n * 10 + key).collect::<Vec<u64>>()));
        assert_eq!(last, expected.collect(), "{workers:?}");
    }
}

#[test]
fn a_record_that_comes_back_on_another_worker_holds_up_no_split() {
    // Without event time before the requests, the clock of their splits is read from what comes out of them.
    for workers in [[1, 3], [3, 1], [3, 2]] {
        let directory = tempfile::tempdir().expect("a directory");
        let service = Service::start(|number| number > 40);
        let (counts, numbers) = (Memory::sink(), Numbers::new(3, 120));
        let job = |workers| {
            let topology = Topology::new("untimed");
            let address = service.address;
            topology
                .source("numbers", numbers.clone())
                .map_async("lookup", move |number| ask(address, number))
                .in_flight(10)
                .or_fail()
                .event_time(
                    |answer: &String| {
                        let number = answer.rsplit(' ').next().unwrap_or_default();
                        Timestamp::from_millis(number.parse().unwrap_or_default())
                    },
                    Duration::from_millis(200),
                )
                .key_by(|_| ())
                .window(tumbling(Duration::from_millis(10)))
                .count("counts")
                .map(|counted| counted.value)
                .sink("windows", counts.clone());
            Job::new(topology).workers(workers).state(directory.path()).memory(64 << 20)
        };
        let running = job(workers[0]).epoch_interval(Duration::from_millis(10)).start().expect("starts");
        service.wait_until_silent();
        running.stop();
        running.wait().expect("stops");
        service.release();
        numbers.end();
        assert!(job(workers[1]).run().expect("runs").finished);
        assert_eq!(counts.take(), [10; 12], "{workers:?}");
    }
}

#[test]
fn a_record_that_comes_back_on_another_worker_ends_no_split_that_is_read_on() {
    // Behind an exchange every worker hears what each of the others says of a split.
    for workers in [[1, 2], [2, 1], [1, 3], [3, 2]] {
        let directory = tempfile::tempdir().expect("a directory");
        let found = Memory::sink();
        let held = Arc::new(AtomicBool::new(true));
        let asked = Arc::new(AtomicU64::new(0));
        let job = |workers, numbers: &Numbers| {
            let (held, asked) = (Arc::clone(&held), Arc::clone(&asked));
            let hold = move |number| {
                let held = Arc::clone(&held);
                asked.fetch_add(1, Ordering::SeqCst);
                async move {
                    while number > 20 && held.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    // One split is read on when the other has ended.
                    tokio::time::sleep(Duration::from_millis(number % 2 * 3)).await;
                    Ok::<_, Cause>(number)
                }
            };
            let topology = Topology::new("exchanged");
            let keyed = topology
                .source("numbers", numbers.clone())
                .map_async("hold", hold)
                .in_flight(4)
                .or_fail()
                .key_by(|_| ())
                .values()
                .event_time(|number| Timestamp::from_millis(*number as i64), Duration::from_secs(1))
                .key_by(|_| ());
            let (windows, late) = keyed.window(tumbling(Duration::from_millis(10))).with_late();
            let counts = windows.count("counts").map(|counted| counted.value);
            counts.merge(late.map(|_| 0)).sink("windows", found.clone());
            Job::new(topology).workers(workers).state(directory.path()).memory(64 << 20)
        };
        let running = job(workers[0], &Numbers::new(2, 60))
            .epoch_interval(Duration::from_millis(10))
            .start()
            .expect("starts");
        wait_until("nothing is asked", || asked.load(Ordering::SeqCst) > 13);
        running.stop();
        running.wait().expect("stops");
        held.store(false, Ordering::SeqCst);
        let numbers = Numbers::new(2, 200);
        numbers.end();
        assert!(job(workers[1], &numbers).run().expect("runs").finished);
        assert_eq!(found.take(), [10; 20], "nothing is late: {workers:?}");
    }
}

#[test]
fn a_service_that_fails_is_asked_again_and_then_the_job_says_where_it_failed() {
    for workers in [1, 2] {
        let tried = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&tried);
        let topology = Topology::new("fails");
        topology
            .source("numbers", Memory::source([1u64]))
            .map_async("broken", move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                async { Err::<u64, Cause>("no route to host".into()) }
            })
            .retries(2, Duration::from_millis(1))
            .or_fail()
            .sink("out", Memory::sink());
        let error = Job::new(topology).workers(workers).run().expect_err("it fails").to_string();
        assert!(error.contains("map_async `broken`") && error.contains("map_async.rs:"), "{error}");
        assert!(error.contains("no route to host"), "{error}");
        assert_eq!(tried.load(Ordering::SeqCst), 3);
    }
}

#[test]
fn a_future_that_never_ends_times_out_and_one_that_panics_ends_the_job() {
    let sink = Memory::sink();
    let topology = Topology::new("never");
    let asking = topology.source("numbers", Memory::source(0..3u64)).map_async("hang", |number| async move {
        if number == 1 {
            std::future::pending::<()>().await;
        }
        Ok::<_, Cause>(number)
    });
    let (good, bad) = asking.timeout(Duration::from_millis(20)).retries(0, Duration::ZERO).or_dead_letter();
    good.map(|number| number.to_string()).merge(bad.map(|bad| bad.reason)).sink("out", sink.clone());
    Job::new(topology).run().expect("runs");
    let found: BTreeSet<String> = sink.take().into_iter().collect();
    let expected = ["0", "2", "there was no answer within 20ms"].map(str::to_owned);
    assert_eq!(found, expected.into());

    let topology = Topology::new("panics");
    let asking =
        topology.source("numbers", Memory::source(0..3u64)).map_async("panics", |number| async move {
            assert!(number != 2, "two is enough");
            Ok::<_, Cause>(number)
        });
    asking.or_skip().sink("out", Memory::sink());
    let error = Job::new(topology).run().expect_err("it panics").to_string();
    assert!(error.contains("map_async `panics`") && error.contains("two is enough"), "{error}");
}
