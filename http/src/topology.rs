//! `GET /topology`: what the job is made of.

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::failure::{self, Failure};
use crate::server::{Parsed, Site};

/// How it is to be shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    format: Option<String>,
}

pub(crate) async fn topology(
    State(site): State<Site>,
    parameters: Parsed<Parameters>,
) -> Result<Response, Failure> {
    let Query(parameters) = parameters.map_err(|error| Failure::request(error.body_text()))?;
    let queries = site.live.current();
    match parameters.format.as_deref() {
        None | Some("json") => {}
        Some("mermaid") => {
            let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            return Ok((plain, queries.mermaid()).into_response());
        }
        Some(other) => {
            return Err(Failure::request(format!(
                "there is no format `{other}`; there are json and mermaid"
            )));
        }
    }
    let nodes = queries.counters().into_iter().enumerate().map(|(number, node)| {
        json!({ "node": number, "verb": node.verb, "name": node.name, "location": node.location })
    });
    let edges = queries.edges().into_iter().map(|edge| {
        let (from, output) = (edge.from.node, edge.from.output);
        json!({ "from": from, "output": output, "to": edge.to, "moves": edge.moves.name() })
    });
    let (nodes, edges): (Vec<_>, Vec<_>) = (nodes.collect(), edges.collect());
    let body = json!({ "topology": queries.topology(), "nodes": nodes, "edges": edges });
    Ok(failure::json(StatusCode::OK, body.to_string()))
}
