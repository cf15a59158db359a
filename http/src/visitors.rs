//! Which browsers are let in, by what they say of the page that they come from.
//!
//! A browser may open a WebSocket from any page to any address, and does not ask the server first: what keeps other
//! sites away is that it tells the page's `Origin`. And a site may give its own name the address of this machine
//! (DNS rebinding): then `Origin` and `Host` agree, and what tells it apart is that `Host` is a name which nobody gave
//! to this server. Invariant: a request that a browser made for a page of another site is refused. It does not know
//! people; programs that are no browsers can say what they like.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, StatusCode, header};

use crate::failure::Failure;

/// Refuses a host that is not this server's, and a page that is not of the host that is asked.
pub(crate) fn check(headers: &HeaderMap, hosts: &HashSet<String>) -> Result<(), Failure> {
    let said = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // Every browser says which host it asks.
    let Some(host) = said(header::HOST) else { return Ok(()) };
    if !is_own(host, hosts) {
        let reason = format!("this server does not answer for `{host}`; allow_host lets it");
        return Err(Failure::new(StatusCode::FORBIDDEN, "unknown_host", reason));
    }
    let Some(origin) = said(header::ORIGIN) else { return Ok(()) };
    let page = origin.split_once("://").map(|(_, page)| page);
    if page.is_some_and(|page| page.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    let reason = format!("pages of `{origin}` may not ask `{host}`");
    Err(Failure::new(StatusCode::FORBIDDEN, "other_origin", reason))
}

/// Whether a name can only be this server's: an address, which nobody can rebind, or a name that is known.
fn is_own(host: &str, hosts: &HashSet<String>) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.starts_with(':'));
        }
        None => host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok() || hosts.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_let_in(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a header"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("a header"));
        }
        check(&headers, &HashSet::from(["ops.example.org".to_owned()])).is_ok()
    }

    #[test]
    fn pages_of_the_server_are_let_in_and_others_are_not() {
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:80", "[::1]:8080", "OPS.example.org"] {
            assert!(is_let_in(host, None), "{host}");
            assert!(is_let_in(host, Some(&format!("http://{host}"))), "{host}");
            assert!(!is_let_in(host, Some("http://evil.example")), "{host}");
            assert!(!is_let_in(host, Some("null")), "{host}");
        }
        assert!(!is_let_in("127.0.0.1:8080", Some("http://127.0.0.1:9090")), "another port is another site");
    }

    #[test]
    fn a_name_that_was_rebound_is_refused() {
        for host in
            ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[evil]", "localhost.evil"]
        {
            assert!(!is_let_in(host, Some(&format!("http://{host}"))), "{host}");
            assert!(!is_let_in(host, None), "{host}");
        }
    }
}
