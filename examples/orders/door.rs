//! The shop's door: what customers ask for, and what they see, over HTTP.
//!
//! | | |
//! | --- | --- |
//! | `POST /orders` | `{"user":"ada","product":"teapot","pieces":2,"address":"1 Tea Street"}`: places an order |
//! | `POST /orders/{order}/cancel` | cancels it, unless its parcel has left |
//! | `GET /orders/{order}` | the order, and how far it is |
//! | `GET /users/{user}/orders` | the orders of a user, `limit` of them behind `after` |
//! | `GET /sales/{day}` | what was sold on a day, as `2025-01-01` |
//!
//! A command is taken when it is in its topic: the answer, 202, has its `position` there. A query with
//! `min_position=` that position waits until its answer covers the command. Invariant: it changes nothing but by a
//! command, and sees nothing but committed epochs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use highwater::prelude::*;
use highwater::query::{AtLeast, Queries, QueryError, View};
use highwater_examples::orders::messages::{Card, Order, OrderCommand, PRODUCTS};
use highwater_examples::topics::Topics;
use highwater_http::axum::Router;
use highwater_http::axum::extract::rejection::QueryRejection;
use highwater_http::axum::extract::{Path, Query, State};
use highwater_http::axum::http::{StatusCode, header};
use highwater_http::axum::response::{IntoResponse, Response};
use highwater_http::axum::routing::{get, post};
use highwater_http::{Failure, Server, ServerError, Serving};
use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json};

use crate::views::{ORDERS, ORDERS_OF_USER, OrderView, SALES, Sales, Summary};

/// How long a name or an address may be, in bytes: what fits on a parcel.
const TEXT_BYTES_MAX: usize = 200;
/// How many pieces one order may have: more is a matter for a salesman.
const PIECES_MAX: u32 = 100;
/// For how long a parcel may wait: a day, half of what the order's saga waits for it.
const WAIT_SECONDS_MAX: u32 = 24 * 3600;
/// Orders of a user in one answer.
const ORDERS_MAX: usize = 1000;
/// For how long a query waits that does not say, and at most.
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Door {
    topics: Topics,
    queries: Queries,
    /// How many orders have got a name here.
    named: Arc<AtomicU64>,
}

/// Opens the door: commands go to the topics, queries to the job that keeps the views.
///
/// # Errors
/// If nobody can listen there.
pub fn open(address: SocketAddr, topics: Topics, queries: Queries) -> Result<Serving, ServerError> {
    let door = Door { topics, queries: queries.clone(), named: Arc::default() };
    let routes = Router::new()
        .route("/orders", post(place))
        .route("/orders/{order}", get(order))
        .route("/orders/{order}/cancel", post(cancel))
        .route("/users/{user}/orders", get(orders_of_user))
        .route("/sales/{day}", get(sales))
        .with_state(door);
    Server::new(queries).listen(address).routes(routes).start()
}

/// An order, as a customer gives it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// A name of the customer's own: placed twice, it is one order.
    order: Option<String>,
    user: String,
    product: String,
    pieces: u32,
    address: String,
    card: Option<Card>,
    #[serde(default)]
    wait_seconds: u32,
}

async fn place(State(door): State<Door>, body: String) -> Result<Response, Failure> {
    let wanted: Wanted = serde_json::from_str(&body).map_err(|error| {
        refused(format!("an order is {{\"user\", \"product\", \"pieces\", \"address\"}}: {error}"))
    })?;
    let order = door.order(wanted).map_err(refused)?;
    door.command(OrderCommand::Place(order)).await
}

async fn cancel(
    State(door): State<Door>,
    Path(order): Path<String>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Failure> {
    let name = order.clone();
    let (_, found) = door.read(parameters, move |view| view.get::<_, OrderView>(ORDERS, &name)).await?;
    if found.is_none_or(|found| found.order.is_none()) {
        return Err(unknown(format!("there is no order `{order}`")));
    }
    door.command(OrderCommand::Cancel { order }).await
}

async fn order(
    State(door): State<Door>,
    Path(order): Path<String>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Failure> {
    let name = order.clone();
    let (seen, found) = door.read(parameters, move |view| view.get::<_, OrderView>(ORDERS, &name)).await?;
    match found.filter(|found| found.order.is_some()) {
        Some(found) => Ok(seen.with("order", &found)),
        None => Err(unknown(format!("there is no order `{order}`"))),
    }
}

async fn orders_of_user(
    State(door): State<Door>,
    Path(user): Path<String>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Failure> {
    let (limit, after) = match &parameters {
        Ok(Query(parameters)) => {
            (parameters.limit.unwrap_or(100).clamp(1, ORDERS_MAX), parameters.after.clone())
        }
        Err(_) => (0, None),
    };
    let read = move |view: &View| view.get::<_, BTreeMap<String, Summary>>(ORDERS_OF_USER, &user);
    let (seen, found) = door.read(parameters, read).await?;
    let behind = found.unwrap_or_default().into_iter();
    let behind = behind.filter(|(order, _)| after.as_ref().is_none_or(|after| order > after));
    let orders: Vec<JsonValue> =
        behind.take(limit).map(|(order, summary)| json!({ "order": order, "is": summary })).collect();
    Ok(seen.with("orders", &orders))
}

async fn sales(
    State(door): State<Door>,
    Path(day): Path<String>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Failure> {
    if chrono::NaiveDate::parse_from_str(&day, "%Y-%m-%d").is_err() {
        return Err(refused(format!("`{day}` is no day; write it as 2025-01-01")));
    }
    let (seen, found) = door.read(parameters, move |view| view.get::<_, Sales>(SALES, &day)).await?;
    Ok(seen.with("sales", &found.unwrap_or_default()))
}

/// What every query may say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// The `position` of a command that the answer shall cover.
    min_position: Option<String>,
    timeout_ms: Option<u64>,
    /// Of lists.
    limit: Option<usize>,
    after: Option<String>,
}

impl Parameters {
    fn least(&self) -> Result<AtLeast, Failure> {
        let Some(text) = &self.min_position else { return Ok(AtLeast::nothing()) };
        type Positions = BTreeMap<String, BTreeMap<String, JsonValue>>;
        let positions: Positions = serde_json::from_str(text).map_err(|error| {
            refused(format!("min_position is the `position` of the answer to a command: {error}"))
        })?;
        let splits = positions.iter().flat_map(|(source, splits)| splits.iter().map(move |at| (source, at)));
        Ok(splits.fold(AtLeast::nothing(), |least, (source, (split, position))| {
            least.position_json(source, split, &position.to_string())
        }))
    }
}

/// Which epoch an answer shows.
struct Seen {
    epoch: u64,
    positions: String,
}

impl Seen {
    fn with(&self, name: &str, value: &impl Serialize) -> Response {
        let positions: JsonValue = serde_json::from_str(&self.positions).unwrap_or_default();
        json_response(StatusCode::OK, &json!({ "epoch": self.epoch, "positions": positions, name: value }))
    }
}

impl Door {
    /// The order that a customer wants, if there can be one.
    fn order(&self, wanted: Wanted) -> Result<Order, String> {
        let Wanted { order, user, product, pieces, address, card, wait_seconds } = wanted;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        let order = order.unwrap_or_else(|| format!("web-{now}-{number}"));
        for (what, text) in [("order", &order), ("user", &user), ("address", &address)] {
            if text.is_empty() || text.len() > TEXT_BYTES_MAX {
                return Err(format!("`{what}` must have from 1 to {TEXT_BYTES_MAX} bytes"));
            }
        }
        let Some((_, price)) = PRODUCTS.iter().find(|(name, _)| *name == product) else {
            let products: Vec<_> = PRODUCTS.iter().map(|(name, _)| *name).collect();
            return Err(format!("there is no `{product}`; there are {}", products.join(", ")));
        };
        if !(1..=PIECES_MAX).contains(&pieces) {
            return Err(format!("`pieces` must be from 1 to {PIECES_MAX}"));
        }
        if wait_seconds > WAIT_SECONDS_MAX {
            return Err(format!("`wait_seconds` must be at most {WAIT_SECONDS_MAX}, a day"));
        }
        let (cents, card) = (price * u64::from(pieces), card.unwrap_or(Card::Good));
        let at = Timestamp::from_millis(now as i64);
        Ok(Order { order, user, product, pieces, cents, card, address, wait_seconds, at })
    }

    /// Puts a command into its topic. The answer says where it stands there.
    async fn command(&self, command: OrderCommand) -> Result<Response, Failure> {
        let topics = self.topics.clone();
        let order = command.order().to_owned();
        let key = order.clone();
        let written = beside(move || topics.append("order-commands", &key, &command)).await?;
        let written = written
            .map_err(|error| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not_taken", error.to_string()))?;
        let position = json!({ "order-commands": { written.split: { "next_offset": written.next_offset } } });
        Ok(json_response(StatusCode::ACCEPTED, &json!({ "order": order, "position": position })))
    }

    /// Reads the views, as soon as they cover what the request asks for.
    async fn read<T: Send + 'static>(
        &self,
        parameters: Result<Query<Parameters>, QueryRejection>,
        read: impl FnOnce(&View) -> Result<Option<T>, QueryError> + Send + 'static,
    ) -> Result<(Seen, Option<T>), Failure> {
        let Query(parameters) = parameters.map_err(|error| refused(error.body_text()))?;
        let (queries, least) = (self.queries.clone(), parameters.least()?);
        let timeout = parameters.timeout_ms.map_or(TIMEOUT, Duration::from_millis).min(TIMEOUT_MAX);
        let read = beside(move || -> Result<_, Failure> {
            let view = queries.at_least(&least, timeout)?;
            let seen = Seen { epoch: view.epoch().0, positions: view.positions().to_string() };
            match read(&view) {
                // A shop that was just opened.
                Err(QueryError::NothingYet { .. }) => Ok((seen, None)),
                found => Ok((seen, found?)),
            }
        });
        read.await?
    }
}

/// Does what may take time beside the threads that talk to clients.
async fn beside<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<Result<T, E>, Failure>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let stops = |_| {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the shop is about to close; try again")
    };
    tokio::task::spawn_blocking(work).await.map_err(stops)
}

fn json_response(status: StatusCode, body: &JsonValue) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn refused(message: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

fn unknown(message: String) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "unknown", message)
}
