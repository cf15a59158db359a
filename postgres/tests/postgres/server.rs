//! A PostgreSQL server of a test's own: on a free port of the loopback, in a directory that goes with it.
#![allow(dead_code)] // each test file uses a part of it

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use highwater_postgres::tokio_postgres::{Client, NoTls, Row};
use tempfile::TempDir;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server; it is stopped when this is dropped.
pub struct Server {
    binaries: PathBuf,
    directory: TempDir,
    port: u16,
    owner: Option<(u32, u32)>,
    process: Option<Child>,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Makes and starts one; `None`, with a word, where PostgreSQL is not installed.
    pub fn start() -> Option<Server> {
        let Some(binaries) = find() else {
            println!("skipped: no PostgreSQL server is installed (scripts/servers)");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let owner = owner();
        if let Some((user, group)) = owner {
            chown(directory.path(), Some(user), Some(group)).expect("the directory changes hands");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
        let mut server = Server { binaries, directory, port, owner, process: None, runtime };
        let mut init = server.command("initdb");
        init.args(["--auth=trust", "--username=tester", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"]);
        let made = init.arg(server.data()).output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.resume();
        Some(server)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.current_dir(self.directory.path()).env("LC_ALL", "C").stdin(Stdio::null());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts it again, and waits until it lets somebody in.
    pub fn resume(&mut self) {
        let since = Instant::now();
        loop {
            let mut postgres = self.command("postgres");
            let settings = [
                "fsync=off",
                "listen_addresses=127.0.0.1",
                "unix_socket_directories=",
                "log_min_messages=fatal",
            ];
            settings.iter().for_each(|setting| {
                postgres.args(["-c", setting]);
            });
            postgres.arg("-p").arg(self.port.to_string()).arg("-D").arg(self.data());
            postgres.stdout(Stdio::null()).stderr(Stdio::null());
            self.process = Some(postgres.spawn().expect("postgres starts"));
            while self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None))) {
                if self.connects() {
                    return;
                }
                assert!(since.elapsed() < PATIENCE, "postgres lets nobody in");
                std::thread::sleep(Duration::from_millis(20));
            }
            // What is left of one that was killed goes by itself, after a moment.
            assert!(since.elapsed() < PATIENCE, "postgres does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn connects(&self) -> bool {
        self.runtime.block_on(async {
            self.address()
                .parse::<highwater_postgres::tokio_postgres::Config>()
                .expect("parameters")
                .connect(NoTls)
                .await
                .is_ok()
        })
    }

    /// Kills it, as the machine's end would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// What a program connects with.
    pub fn address(&self) -> String {
        format!("host=127.0.0.1 port={} user=tester dbname=postgres", self.port)
    }

    /// Somebody who looks.
    pub fn client(&self) -> Client {
        self.runtime.block_on(async {
            let config: highwater_postgres::tokio_postgres::Config =
                self.address().parse().expect("parameters");
            let (client, connection) = config.connect(NoTls).await.expect("the server lets us in");
            self.runtime.spawn(connection);
            client
        })
    }

    /// Runs statements.
    pub fn run(&self, sql: &str) {
        let client = self.client();
        self.runtime.block_on(client.batch_execute(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Runs statements on this connection, which may be refused.
    pub fn run_on(&self, client: &Client, sql: &str) {
        self.runtime.block_on(client.batch_execute(sql)).expect("it can be done");
    }

    /// Asks.
    pub fn rows(&self, sql: &str) -> Vec<Row> {
        let client = self.client();
        self.runtime.block_on(client.query(sql, &[])).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The number that a query gives.
    pub fn number(&self, sql: &str) -> i64 {
        self.rows(sql)[0].get(0)
    }

    /// Drives a future.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // SIGQUIT ends it at once, and lets it clean up; SIGKILL would leave what it shares with its children.
        let _ = Command::new("kill").args(["-QUIT", &process.id().to_string()]).status();
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(10) && matches!(process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// The directory of the server's programs, the newest if there are several.
fn find() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut all = on_path.chain(versions.into_iter().map(|(_, path)| path));
    all.rfind(|path| is_program(&path.join("postgres")) && is_program(&path.join("initdb")))
}

fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// Who the server runs as where we are root, whom it refuses: `postgres`, or else `nobody`.
fn owner() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let said = Command::new("id").args(arguments).output().ok().filter(|said| said.status.success())?;
        String::from_utf8_lossy(&said.stdout).trim().parse::<u32>().ok()
    };
    if id(&["-u"])? != 0 {
        return None;
    }
    let of = |user: &str| Some((id(&["-u", user])?, id(&["-g", user])?));
    of("postgres").or_else(|| of("nobody"))
}
