//! `GET /tables` and `GET /tables/{name}`: rows of committed epochs, as JSON.
//!
//! Invariant: what a request reads is one view, taken when what it waits for has been reached.

use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use highwater::query::{AtLeast, Health, QueryError, View};
use highwater::state::Epoch;
use highwater::state::view::{Cursor, JsonRow, Page, Part};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::failure::{self, Failure};
use crate::limits::{LOOK, ROWS_DEFAULT, ROWS_MAX, TIMEOUT_DEFAULT, TIMEOUT_MAX};
use crate::server::{Parsed, Site};

/// What a request may ask for; an unknown parameter is refused, so that one that is misspelt is not left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    key: Option<String>,
    from: Option<String>,
    to: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
    min_epoch: Option<u64>,
    /// `{"clicks":{"0":42}}`, as answers have their `positions`.
    min_position: Option<String>,
    timeout_ms: Option<u64>,
}

impl Parameters {
    fn least(&self) -> Result<AtLeast, Failure> {
        let mut least = AtLeast::nothing().epoch(Epoch(self.min_epoch.unwrap_or(0)));
        let Some(text) = &self.min_position else { return Ok(least) };
        let refused = |reason: String| {
            let form = r#"{"source":{"split":position}}, as answers have their `positions`"#;
            Failure::request(format!("min_position must be {form}: {reason}"))
        };
        let sources: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
        for (source, splits) in &sources {
            let splits = splits.as_object().ok_or_else(|| refused(format!("`{source}` has no splits")))?;
            for (split, position) in splits {
                least = least.position_json(source, split, &position.to_string());
            }
        }
        Ok(least)
    }

    fn timeout(&self) -> Result<Duration, Failure> {
        let timeout = self.timeout_ms.map_or(TIMEOUT_DEFAULT, Duration::from_millis);
        let most = TIMEOUT_MAX.as_millis();
        let refused = || Failure::request(format!("timeout_ms must be at most {most}"));
        (timeout <= TIMEOUT_MAX).then_some(timeout).ok_or_else(refused)
    }

    fn limit(&self) -> Result<usize, Failure> {
        let limit = self.limit.unwrap_or(ROWS_DEFAULT);
        let refused = || Failure::request(format!("limit must be from 1 to {ROWS_MAX}"));
        (1..=ROWS_MAX).contains(&limit).then_some(limit).ok_or_else(refused)
    }
}

/// The tables, with what is known of them without reading them.
pub(crate) async fn list(
    State(site): State<Site>,
    parameters: Parsed<Parameters>,
) -> Result<Response, Failure> {
    let Query(parameters) = parameters.map_err(|error| Failure::request(error.body_text()))?;
    let view = reach(&site, &parameters).await?;
    let tables = view.tables().into_iter().map(|table| {
        let (keys, values) = table.shape.split_once(" -> ").unwrap_or((&table.shape, ""));
        json!({
            "name": table.name, "family": table.family, "keys": keys, "values": values, "readable": table.readable,
        })
    });
    let tables = Value::Array(tables.collect());
    let body =
        format!("{{\"epoch\":{},\"positions\":{},\"tables\":{tables}}}", view.epoch().0, view.positions());
    Ok(failure::json(StatusCode::OK, body))
}

/// A page of the rows of one table.
pub(crate) async fn rows(
    State(site): State<Site>,
    Path(name): Path<String>,
    parameters: Parsed<Parameters>,
) -> Result<Response, Failure> {
    let Query(parameters) = parameters.map_err(|error| Failure::request(error.body_text()))?;
    let limit = parameters.limit()?;
    let after: Option<Cursor> =
        parameters.after.as_deref().map(str::parse).transpose().map_err(QueryError::State)?;
    let view = reach(&site, &parameters).await?;
    let part = Part { key: parameters.key, from: parameters.from, to: parameters.to };
    let body = site.read(move || {
        let page = view.json_page(&name, &part, after.as_ref(), limit)?;
        Ok(shown(&name, &view, &page))
    });
    Ok(failure::json(StatusCode::OK, body.await?))
}

fn shown(table: &str, view: &View, page: &Page<JsonRow>) -> String {
    let rows: Vec<&str> = page.rows.iter().map(|row| row.line.as_str()).collect();
    let next = page.next.as_ref().map_or("null".to_owned(), |next| format!("\"{next}\""));
    format!(
        "{{\"table\":{},\"epoch\":{},\"positions\":{},\"rows\":[{}],\"next\":{next}}}",
        Value::from(table),
        view.epoch().0,
        view.positions(),
        rows.join(",")
    )
}

/// A view that covers what the request asks for at the least; waits for it without a thread.
async fn reach(site: &Site, parameters: &Parameters) -> Result<View, Failure> {
    let (least, timeout) = (parameters.least()?, parameters.timeout()?);
    let _waiting = site.waits()?;
    let start = Instant::now();
    loop {
        let turns = site.live.current().turns();
        let (live, wanted) = (site.live.clone(), least.clone());
        match site.read(move || live.at_least(&wanted, Duration::ZERO)).await {
            Err(QueryError::TimedOut { .. }) if start.elapsed() < timeout => {}
            Err(QueryError::TimedOut { asked, reached, .. }) => {
                return Err(QueryError::TimedOut { asked, reached, waited: timeout }.into());
            }
            found => return Ok(found?),
        }
        loop {
            if site.is_stopping() {
                return Err(Failure::busy("the server is about to stop; ask again"));
            }
            let queries = site.live.current();
            let is_new = queries.turns() != turns || queries.health() != Health::Running;
            if is_new || start.elapsed() >= timeout {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
