//! Refusals, as clients see them: a status, a word that programs understand, and a sentence for people.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use highwater::query::QueryError;
use highwater::state::StateError;

/// Why a request is not answered: `{"error":{"code":"unknown_table","message":"…"}}`.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Failure {
    /// A refusal with this status.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Failure {
        Failure { status, code, message: message.into() }
    }

    /// The request itself is wrong.
    pub(crate) fn request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The server has no room for the request, or is about to stop.
    pub(crate) fn busy(message: &str) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        let (status, code) = match &error {
            QueryError::Unknown { .. } => (StatusCode::NOT_FOUND, "unknown_table"),
            QueryError::NothingYet { .. } => (StatusCode::SERVICE_UNAVAILABLE, "nothing_yet"),
            QueryError::NotKept { .. } => (StatusCode::CONFLICT, "not_kept"),
            QueryError::Ended { .. } => (StatusCode::SERVICE_UNAVAILABLE, "ended"),
            QueryError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "timed_out"),
            QueryError::NeverReached { .. } => (StatusCode::CONFLICT, "never_reached"),
            QueryError::UnknownSource { .. } => (StatusCode::BAD_REQUEST, "unknown_source"),
            QueryError::Position { .. } => (StatusCode::BAD_REQUEST, "bad_position"),
            QueryError::State(StateError::Cursor { .. }) => (StatusCode::BAD_REQUEST, "bad_cursor"),
            QueryError::State(StateError::Key { .. }) => (StatusCode::BAD_REQUEST, "bad_key"),
            QueryError::State(StateError::Limit { .. }) => (StatusCode::BAD_REQUEST, "limit"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Failure::new(status, code, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.status.is_server_error() && self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(code = self.code, "{}", self.message);
        }
        let error = serde_json::json!({ "error": { "code": self.code, "message": self.message } });
        json(self.status, error.to_string())
    }
}

/// A body that is JSON.
pub(crate) fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
