//! A program that answers over HTTP, and the smallest client that will do: one request a connection.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::Program;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program that listens; killed when it is dropped.
pub struct Listening {
    child: Child,
    address: SocketAddr,
}

impl Listening {
    /// Starts it; the first line that it prints ends in its address.
    pub fn start(program: &Program) -> Listening {
        let mut child = program.command().stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it prints");
        let address = line.trim().rsplit("http://").next().and_then(|address| address.parse().ok());
        Listening { child, address: address.unwrap_or_else(|| panic!("no address in `{line}`")) }
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.request("GET", path, "")
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.request("POST", path, &body.to_string())
    }

    /// The answer to a question that must have one.
    #[track_caller]
    pub fn ask(&self, path: &str) -> Value {
        let (status, answer) = self.get(path);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Asks until the answer is as wanted.
    #[track_caller]
    pub fn wait(&self, path: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let answer = self.get(path).1;
            if is_wanted(&answer) {
                return answer;
            }
            assert!(since.elapsed() < PATIENCE, "{path}: still {answer}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All rows of a table of the library's own route, sorted.
    pub fn rows(&self, table: &str) -> Vec<String> {
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.ask(&format!("/tables/{table}?limit=1000{after}"));
            rows.extend(page["rows"].as_array().expect("is a list").iter().map(Value::to_string));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        rows.sort();
        rows
    }

    /// Ends it as a user does, which must go well.
    pub fn terminate(mut self) {
        let killed =
            std::process::Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.expect("there is a `kill`").success());
        let status = self.child.wait().expect("it was started");
        assert!(status.success(), "{status}");
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut client = TcpStream::connect(self.address).expect("it listens");
        let path = path.replace('"', "%22").replace('{', "%7B").replace('}', "%7D").replace(' ', "%20");
        let length = body.len();
        let head = "Host: test\r\nConnection: close";
        let request = format!("{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}");
        client.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("has a status");
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        (status, body)
    }
}

impl Drop for Listening {
    /// As a crash: nothing is said to it.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
