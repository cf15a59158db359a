//! What must not be told: the values of settings that let somebody in.
//!
//! librdkafka writes logs, errors and statistics of its own, at times with a setting's value in them. Invariant: a text
//! that went through [`Secrets::hidden`] holds none of these values. It does not know where texts go.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "***";

/// A setting whose name holds one of these is secret: passwords and keys, and who it is that comes in by them.
const SECRET_NAMES: [&str; 9] = [
    "password",
    "secret",
    "username",
    ".pem",
    "oauthbearer.config",
    "oauthbearer.client.id",
    "oauthbearer.assertion",
    "kerberos.principal",
    "kerberos.kinit.cmd",
];

/// Lines of a secret of several lines, a key for example, are hidden one by one if they have more bytes than this:
/// shorter ones are not of the key, and are everywhere.
const LINE_BYTES: usize = 8;

/// The values of the secret settings of one cluster. Has no `Debug` on purpose.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn of(settings: &BTreeMap<String, String>) -> Secrets {
        let mut values = BTreeSet::new();
        for (name, value) in settings {
            if SECRET_NAMES.iter().any(|part| name.contains(part)) {
                values.insert(value.trim());
                values.extend(value.lines().map(str::trim).filter(|line| line.len() > LINE_BYTES));
            }
        }
        values.remove("");
        let mut values: Vec<String> = values.into_iter().map(str::to_owned).collect();
        // One may be part of another, which would be told in part.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Secrets(values)
    }

    /// The text without the secrets.
    pub(super) fn hidden<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), HIDDEN));
            }
        }
        text
    }
}

/// The addresses without what stands before an `@` in them.
pub(super) fn without_users(brokers: &str) -> String {
    let shown = |address: &str| match address.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => address.to_owned(),
    };
    brokers.split(',').map(shown).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(settings: &[(&str, &str)]) -> Secrets {
        Secrets::of(&settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn secrets_are_hidden_and_nothing_else() {
        let secrets = secrets(&[
            ("sasl.password", "abc"),
            ("ssl.key.password", "abcd"),
            ("sasl.username", " me "),
            ("ssl.key.pem", "-----BEGIN\nMIIEvQIBADANBg\nkqh\n"),
            ("client.id", "reader"),
            ("ssl.keystore.password", ""),
        ]);
        assert_eq!(secrets.hidden("abcd, abc by me: reader"), "***, *** by ***: reader");
        assert_eq!(secrets.hidden("MIIEvQIBADANBg kqh"), "*** kqh");
        assert!(matches!(secrets.hidden("reader"), Cow::Borrowed("reader")));
    }

    #[test]
    fn addresses_lose_their_users() {
        assert_eq!(without_users("a:1,b:2"), "a:1,b:2");
        assert_eq!(without_users("SASL_SSL://me:p@ss@a:1,b:2, you@c"), "***@a:1,b:2,***@c");
    }
}
