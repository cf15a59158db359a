//! A browser without a window, driven over its DevTools protocol by the few messages that a test needs.
//!
//! Invariant: the browser ends with the test, also with one that fails, and what it wrote is removed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long a browser may take for anything: a machine that does other things, too, starts it slowly.
const PATIENCE: Duration = Duration::from_secs(120);

/// A page in a browser.
pub struct Browser {
    process: Child,
    runtime: Runtime,
    socket: WebSocketStream<TcpStream>,
    session: Value,
    sent: u64,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with an empty page; `None`, and a line that says so, where none is installed.
    pub fn start() -> Option<Browser> {
        let profile = tempfile::tempdir().expect("there is room");
        let Some(mut process) =
            ["chromium", "google-chrome"].iter().find_map(|name| spawn(name, profile.path()))
        else {
            println!("skipped: there is no Chromium; scripts/servers installs it");
            return None;
        };
        let runtime = Builder::new_current_thread().enable_all().build().expect("there are threads");
        let (address, path) = listens(&mut process, profile.path());
        let socket = runtime.block_on(async {
            let stream = TcpStream::connect(&address).await.expect("it listens");
            client_async(format!("ws://{address}{path}"), stream).await.expect("it speaks WebSocket").0
        });
        let mut browser =
            Browser { process, runtime, socket, session: Value::Null, sent: 0, _profile: profile };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attach = json!({ "targetId": target, "flatten": true });
        browser.session = browser.ask("Target.attachToTarget", attach)["sessionId"].clone();
        Some(browser)
    }

    /// Goes to a page.
    pub fn open(&mut self, url: &str) {
        self.ask("Page.enable", json!({}));
        let gone = self.ask("Page.navigate", json!({ "url": url }));
        assert!(gone["errorText"].is_null(), "{gone}");
    }

    /// What an expression gives on the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let found = self.ask("Runtime.evaluate", asked);
        assert!(found["exceptionDetails"].is_null(), "{found}");
        found["result"]["value"].clone()
    }

    /// A picture of the page in PNG, of these widths and heights, as one likes it dark or light.
    pub fn picture(&mut self, width: u32, height: u32, scheme: &str) -> Vec<u8> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", scheme);
        let picture = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        from_base64(picture["data"].as_str().expect("a picture"))
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.sent += 1;
        let mut command = json!({ "id": self.sent, "method": method, "params": parameters });
        if !self.session.is_null() {
            command["sessionId"] = self.session.clone();
        }
        let (socket, number) = (&mut self.socket, self.sent);
        let answered = async {
            socket.send(Message::text(command.to_string())).await.expect("it listens");
            loop {
                let said = socket.next().await.expect("it goes on").expect("it goes on");
                let Message::Text(said) = said else { continue };
                let said: Value = serde_json::from_str(&said).expect("is JSON");
                if said["id"] == number {
                    return said;
                }
            }
        };
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| panic!("no answer to {method}"))
        });
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(name: &str, profile: &Path) -> Option<Child> {
    let mut command = Command::new(name);
    command
        .args([
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
        ])
        .args(["--disable-background-networking", "--window-size=1160,1000", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Its sandbox does not work for the superuser; the only page it is shown is ours.
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        command.arg("--no-sandbox");
    }
    command.spawn().ok()
}

/// Where it is driven from, which it writes to a file.
fn listens(process: &mut Child, profile: &Path) -> (String, String) {
    let since = Instant::now();
    loop {
        let said = fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
        if let Some((port, path)) = said.split_once('\n')
            && !path.is_empty()
        {
            return (format!("127.0.0.1:{port}"), path.trim().to_owned());
        }
        assert!(process.try_wait().expect("it was started").is_none(), "the browser has ended");
        assert!(since.elapsed() < PATIENCE, "the browser does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    bytes
}
