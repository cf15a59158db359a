//! The dashboard: one page, with all that it needs inside.

use highwater_http::axum::Router;
use highwater_http::axum::http::header;
use highwater_http::axum::response::Html;
use highwater_http::axum::routing::get;

const PAGE: &str = include_str!("page.html");

/// What the page may do: its own script and style, connections to where it came from, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'";

/// The page, at `/`.
pub fn page() -> Router {
    let headers = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-store")];
    Router::new().route("/", get(move || async move { (headers, Html(PAGE)) }))
}
