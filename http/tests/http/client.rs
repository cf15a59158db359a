//! The smallest client that will do: one request a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

/// What a server said.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The word by which programs tell refusals apart.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

pub fn get(address: SocketAddr, path: &str) -> Response {
    request(address, "GET", path, "")
}

pub fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> Response {
    let mut client = TcpStream::connect(address).unwrap();
    let escaped = path.replace('"', "%22").replace('{', "%7B").replace('}', "%7D").replace(' ', "%20");
    let length = body.len();
    let request = format!(
        "{method} {escaped} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Response { status: status.expect("a status"), head: head.to_owned(), body: body.to_owned() }
}
