//! Clients of a feed: WebSockets, streams of events, and plain requests.
//!
//! Each has a task of its own, which ends when the client does, when it is too slow or silent, when the job has ended,
//! or when the server is about to stop. Invariant: a client that has connected holds one place of those that the feed
//! allows, until its task has ended.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{interval, timeout};

use super::hub::{Hub, Message};
use crate::failure::{self, Failure};
use crate::limits::{CLIENT_BYTES_MAX, PING, SEND_PATIENCE, SILENCE_MAX};
use crate::server::{Course, Ending};
use crate::visitors;

/// How long a client may take to answer that the connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) async fn serve(
    State(hub): State<Arc<Hub>>,
    ending: Option<Extension<Ending>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    visitors::check(&headers, &hub.hosts())?;
    let is_events = headers
        .get(header::ACCEPT)
        .and_then(|accepted| accepted.to_str().ok())
        .is_some_and(|accepted| accepted.contains("text/event-stream"));
    let upgrade = match upgrade {
        Ok(upgrade) => Some(upgrade),
        Err(refused) if headers.contains_key(header::UPGRADE) => return Ok(refused.into_response()),
        Err(_) => None,
    };
    if upgrade.is_none() && !is_events {
        return Ok(uncached(failure::json(StatusCode::OK, hub.state())));
    }
    let busy = || Failure::busy("the feed has as many clients as it may have; try again later");
    let place = hub.admit().ok_or_else(busy)?;
    let ending = ending.map(|Extension(ending)| ending.0.subscribe());
    let client = Client { following: Following::new(hub), ending, _place: place };
    let Some(upgrade) = upgrade else {
        return Ok(uncached(client.events()));
    };
    let upgrade = upgrade.max_message_size(CLIENT_BYTES_MAX).max_frame_size(CLIENT_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| client.talk(socket)))
}

fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

/// The messages of a feed as one client gets them.
pub(super) struct Following {
    hub: Arc<Hub>,
    before: VecDeque<Message>,
    rest: Receiver<Message>,
}

impl Following {
    pub(super) fn new(hub: Arc<Hub>) -> Following {
        let (before, rest) = hub.subscribe(0);
        Following { hub, before: before.into(), rest }
    }

    /// The next message; cancelled, it takes none. `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.before.pop_front() {
                return Some(message);
            }
            match self.rest.recv().await {
                Ok(message) => return Some(message),
                Err(RecvError::Lagged(missed)) => {
                    let (before, rest) = self.hub.subscribe(missed);
                    (self.before, self.rest) = (before.into(), rest);
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Whether the client has got everything.
    fn is_at_end(&self) -> bool {
        self.before.is_empty() && self.rest.is_empty()
    }
}

struct Client {
    following: Following,
    ending: Option<tokio::sync::watch::Receiver<Course>>,
    _place: OwnedSemaphorePermit,
}

/// When the job has ended or the server is about to stop; never, if nobody says so.
async fn end_of(ending: &mut Option<tokio::sync::watch::Receiver<Course>>) -> Course {
    match ending {
        None => pending().await,
        Some(ending) => match ending.wait_for(|course| *course != Course::Running).await {
            Ok(course) => *course,
            Err(_) => Course::Stopping,
        },
    }
}

impl Client {
    /// Sends until somebody ends it.
    async fn talk(mut self, mut socket: WebSocket) {
        let mut heard = Instant::now();
        let mut pings = interval(PING);
        pings.tick().await;
        let course = loop {
            let frame = tokio::select! {
                message = self.following.next() => match message {
                    Some(message) => Frame::Text(message.text.as_ref().into()),
                    None => break Course::Ended,
                },
                said = socket.recv() => match said {
                    // Whatever it says, it is there; there is nothing to ask for.
                    Some(Ok(Frame::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {
                        heard = Instant::now();
                        continue;
                    }
                },
                _ = pings.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        tracing::debug!("a client has not answered for too long: let go");
                        return;
                    }
                    Frame::Ping(Vec::new().into())
                },
                course = end_of(&mut self.ending) => {
                    if course == Course::Stopping || self.following.is_at_end() {
                        break course;
                    }
                    match self.following.next().await {
                        Some(message) => Frame::Text(message.text.as_ref().into()),
                        None => break course,
                    }
                },
            };
            if !matches!(timeout(SEND_PATIENCE, socket.send(frame)).await, Ok(Ok(()))) {
                return;
            }
        };
        farewell(socket, course).await;
    }

    /// The answer whose body is a stream of events.
    fn events(self) -> Response {
        let events = stream::unfold(self, |mut client| async move {
            let message = tokio::select! {
                biased;
                message = client.following.next() => message,
                course = end_of(&mut client.ending) => {
                    tracing::debug!(?course, "a stream of events ends");
                    None
                }
            }?;
            let event = Event::default().event(message.kind).id(message.id).data(message.text.as_ref());
            Some((Ok::<_, Infallible>(event), client))
        });
        Sse::new(events).keep_alive(KeepAlive::new().interval(PING)).into_response()
    }
}

/// Says why it ends, and waits a little until the client has heard it.
async fn farewell(mut socket: WebSocket, course: Course) {
    let (code, reason) = match course {
        Course::Stopping => (close_code::AWAY, "the server is about to stop"),
        _ => (close_code::NORMAL, "the job has ended"),
    };
    let frame = Frame::Close(Some(CloseFrame { code, reason: reason.into() }));
    let said = async {
        socket.send(frame).await?;
        while let Some(Ok(_)) = socket.recv().await {}
        Ok::<_, axum::Error>(())
    };
    let _ = timeout(FAREWELL, said).await;
}
