//! One request to the web server, whatever it came as, and which requests are page views.
//!
//! A hit is cloned for every chain that takes it and moves between workers, so it is one shared text and a few
//! numbers: the parts are ranges of the text.

use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use highwater::prelude::*;
use serde::Deserialize;

/// Paths of these files are not pages.
const NOT_PAGES: [&[u8]; 12] = [
    b".css", b".js", b".png", b".jpg", b".jpeg", b".gif", b".ico", b".svg", b".woff", b".woff2", b".ttf",
    b".map",
];

/// One request.
#[derive(Clone, Debug)]
pub struct Hit {
    at: Timestamp,
    /// The line as it came; behind it, what stands in the line in another form.
    text: Arc<str>,
    line: usize,
    address: Range<usize>,
    url: Option<Range<usize>>,
}

impl Hit {
    /// A request whose parts are ranges of its line.
    pub(super) fn in_line(
        at: Timestamp,
        line: &str,
        address: Range<usize>,
        url: Option<Range<usize>>,
    ) -> Hit {
        Hit { at, text: Arc::from(line), line: line.len(), address, url }
    }

    /// When the request came.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Who sent it: an IP address or a host name.
    pub fn address(&self) -> &str {
        &self.text[self.address.clone()]
    }

    /// The page that was viewed, if one was: the request target up to `?`.
    pub fn url(&self) -> Option<&str> {
        self.url.clone().map(|url| &self.text[url])
    }

    /// Whether the request is a page view.
    pub fn is_page_view(&self) -> bool {
        self.url.is_some()
    }

    /// The line or the JSON object that the request was read from.
    pub fn line(&self) -> &str {
        &self.text[..self.line]
    }
}

/// Where in a request (`GET /path?query HTTP/1.1`) the path of the page stands, if the request is a page view.
///
/// The target is all between the method and the protocol; without a protocol (HTTP/0.9) it is all behind the
/// method.
pub(super) fn viewed_path(request: &str, status: u16) -> Option<Range<usize>> {
    if status != 200 && status != 304 {
        return None;
    }
    let behind_method = request.strip_prefix("GET ")?;
    let target = match behind_method.rsplit_once(' ') {
        Some((target, protocol)) if protocol.starts_with("HTTP/") => target,
        _ => behind_method,
    };
    if target.is_empty() {
        return None;
    }
    let path = &target.as_bytes()[..memchr::memchr(b'?', target.as_bytes()).unwrap_or(target.len())];
    let is_page = !NOT_PAGES.iter().any(|ending| {
        path.len() >= ending.len() && path[path.len() - ending.len()..].eq_ignore_ascii_case(ending)
    });
    is_page.then(|| "GET ".len().."GET ".len() + path.len())
}

/// Requests as JSON objects: `time` (RFC 3339), `address`, `request` and `status`, as a log line has them. Other
/// fields may be there.
#[derive(Clone, Copy, Debug, Default)]
pub struct HitJson;

#[derive(Deserialize)]
struct Fields<'a> {
    time: DateTime<Utc>,
    #[serde(borrow)]
    address: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    request: std::borrow::Cow<'a, str>,
    status: u16,
}

impl Decode<Hit> for HitJson {
    fn decode(&self, bytes: &[u8]) -> Result<Hit, String> {
        let line = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
        let fields: Fields<'_> =
            serde_json::from_str(line).map_err(|error| format!("not a request in JSON: {error}"))?;
        if fields.address.is_empty() {
            return Err("the address is empty".to_owned());
        }
        let viewed = viewed_path(&fields.request, fields.status);
        let path = viewed.clone().map_or("", |path| &fields.request[path]);
        let text = [line, &fields.address, path].concat();
        let address = line.len()..line.len() + fields.address.len();
        let url = viewed.map(|_| address.end..text.len());
        Ok(Hit { at: fields.time.into(), line: line.len(), address, url, text: text.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewed(request: &str) -> Option<&str> {
        viewed_path(request, 200).map(|path| &request[path])
    }

    #[test]
    fn a_page_view_is_a_get_that_was_answered_and_no_part_of_a_page() {
        assert_eq!(viewed("GET /a/B?c=/d.png HTTP/1.1"), Some("/a/B"));
        assert_eq!(viewed("GET / HTTP/1.0"), Some("/"));
        assert_eq!(viewed("GET /logo.PNG HTTP/1.1"), None);
        assert_eq!(viewed("GET /app.js?v=3 HTTP/1.1"), None);
        assert_eq!(viewed("GET /style.css.html HTTP/1.1"), Some("/style.css.html"));
        assert_eq!(viewed("GET /js HTTP/1.1"), Some("/js"));
        assert_eq!(viewed("GET .map HTTP/1.1"), None);
        assert_eq!(viewed("POST / HTTP/1.1"), None);
        assert_eq!(viewed("get / HTTP/1.1"), None);
        assert_eq!(
            (viewed_path("GET / HTTP/1.1", 404), viewed_path("GET /a HTTP/1.1", 304)),
            (None, Some(4..6))
        );
    }

    #[test]
    fn requests_that_are_none_are_no_page_views() {
        for request in ["", "-", "GET", "GET ", "GET  HTTP/1.1", "\\x16\\x03\\x01"] {
            assert_eq!(viewed(request), None, "{request:?}");
        }
        assert_eq!(viewed("GET /from/1991"), Some("/from/1991"));
        assert_eq!(viewed("GET /with a space HTTP/1.1"), Some("/with a space"));
        assert_eq!(viewed("GET ?only=query HTTP/1.1"), Some(""));
    }

    #[test]
    fn json_has_the_same_meaning_as_a_log_line() {
        let time = r#""time":"2015-05-17T12:05:03+02:00","address":"::1""#;
        let line = &format!(r#"{{{time},"request":"GET \u002fa?b HTTP/1.1","status":200}}"#);
        let hit = HitJson.decode(line.as_bytes()).expect("is a request");
        assert_eq!((hit.address(), hit.url(), hit.line()), ("::1", Some("/a"), line.as_str()));
        assert_eq!(hit.at().to_rfc3339_seconds(), "2015-05-17T10:05:03Z");
        for bad in ["", "{}", "[1]", "\"x\"", &line.replace("05-17", "02-30"), &line.replace("::1", "")] {
            assert!(HitJson.decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
