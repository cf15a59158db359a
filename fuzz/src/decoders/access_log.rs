//! Lines of an access log.

use highwater::prelude::*;
use highwater_examples::clickstream::AccessLog;

/// What was read of a line stands in it, and the line as it was kept is read in the same way again.
pub fn access_log(bytes: &[u8]) {
    let Ok(hit) = AccessLog.decode(bytes) else { return };
    assert!(hit.line().starts_with(hit.address()));
    assert!(!hit.address().is_empty() && !hit.address().contains(' '));
    assert!(hit.url().is_none_or(|url| hit.line().contains(url)));
    let again = AccessLog.decode(hit.line().as_bytes()).expect("a line that was read can be read again");
    let told = |hit: &highwater_examples::clickstream::Hit| {
        (hit.at(), hit.address().to_owned(), hit.url().map(str::to_owned), hit.line().to_owned())
    };
    assert_eq!(told(&again), told(&hit));
}
