//! A WebSocket client that is not ours, used without `async`.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long a client waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that is open.
pub struct Socket {
    runtime: Runtime,
    stream: WebSocketStream<TcpStream>,
}

/// What a client hears.
#[derive(Debug)]
pub enum Heard {
    Message(Value),
    Ping,
    /// The code and the reason.
    Close(u16, String),
    /// Nothing any more.
    End,
}

impl Socket {
    pub fn connect(address: SocketAddr, path: &str) -> Socket {
        Socket::connect_with(address, path, &[]).unwrap_or_else(|status| panic!("status {status}"))
    }

    /// The connection, or the status by which it was refused.
    pub fn connect_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Socket, u16> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(
                tokio_tungstenite::tungstenite::http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        let connected = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            tokio::time::timeout(PATIENCE, client_async(request, stream)).await.expect("an answer")
        });
        match connected {
            Ok((stream, _)) => Ok(Socket { runtime, stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub fn hear(&mut self) -> Heard {
        let next =
            async { tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("hears something") };
        match self.runtime.block_on(next) {
            Some(Ok(Message::Text(text))) => Heard::Message(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Ping(_))) => Heard::Ping,
            Some(Ok(Message::Close(Some(frame)))) => {
                Heard::Close(frame.code.into(), frame.reason.to_string())
            }
            Some(Ok(other)) => panic!("{other}"),
            Some(Err(_)) | None => Heard::End,
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Value {
        loop {
            match self.hear() {
                Heard::Message(message) => return message,
                Heard::Ping => {}
                end => panic!("a message and not {end:?}"),
            }
        }
    }

    /// Says something.
    pub fn say(&mut self, text: &str) {
        self.runtime.block_on(self.stream.send(Message::text(text))).unwrap();
    }
}
