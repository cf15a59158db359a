//! `GET /health`: whether the job runs, for people and for what watches processes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use highwater::query::Health;
use serde_json::json;

use crate::failure;
use crate::server::Site;

/// Status 200 while the job runs, and when all its input has been dealt with; 503 when it failed or was stopped.
pub(crate) async fn health(State(site): State<Site>) -> Response {
    let queries = site.live.current();
    let (health, epochs) = (queries.health(), queries.epochs());
    let (status, state, reason) = match health {
        Health::Running => (StatusCode::OK, "running", None),
        Health::Ended { finished: true } => (StatusCode::OK, "ended", None),
        Health::Ended { finished: false } => {
            (StatusCode::SERVICE_UNAVAILABLE, "ended", Some("it was asked to stop".to_owned()))
        }
        Health::Failed { reason } => (StatusCode::SERVICE_UNAVAILABLE, "failed", Some(reason)),
    };
    let body = json!({
        "topology": queries.topology(),
        "state": state,
        "reason": reason,
        "epoch": epochs.last.0,
        "epoch_age_ms": epochs.age.as_millis() as u64,
        "epochs": epochs.count,
    });
    failure::json(status, body.to_string())
}
