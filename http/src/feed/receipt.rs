//! What an epoch told, as it is kept in the receipt: text, a line for each record.
//!
//! The first line is the run and how many records were left out; each other one a key or `null`, a tab, and the record.
//! Invariant: neither tabs nor line ends are in the JSON that serde writes, so that no record can be taken for two.

use serde_json::Value;

/// A record as clients get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) key: Option<String>,
    /// JSON; `null` where the key is gone.
    pub(super) value: String,
}

impl Told {
    /// What it takes in a message, about.
    pub(super) fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, String::len) + self.value.len() + 24
    }

    /// As it stands in a message.
    pub(super) fn write(&self, into: &mut String) {
        into.push('{');
        if let Some(key) = &self.key {
            into.push_str("\"key\":");
            into.push_str(&Value::from(key.as_str()).to_string());
            into.push(',');
        }
        into.push_str("\"value\":");
        into.push_str(&self.value);
        into.push('}');
    }
}

/// What a worker told in an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) run: String,
    pub(super) omitted: u64,
    pub(super) told: Vec<Told>,
}

impl Receipt {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut text = format!("feed 1 {} {}", self.run, self.omitted);
        for told in &self.told {
            let key = told.key.as_ref().map_or(Value::Null, |key| Value::from(key.as_str()));
            text.push_str(&format!("\n{key}\t{}", told.value));
        }
        text.into_bytes()
    }

    /// Reads what [`write`](Receipt::write) has written; says what is wrong with anything else.
    pub(super) fn read(bytes: &[u8]) -> Result<Receipt, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("a receipt is no text: {error}"))?;
        let mut lines = text.split('\n');
        let head: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let ["feed", "1", run, omitted] = head.as_slice() else {
            return Err("a receipt does not begin as one of a feed".to_owned());
        };
        let omitted = omitted.parse().map_err(|_| "a receipt has no count".to_owned())?;
        let told = lines.map(Self::told).collect::<Result<_, _>>()?;
        Ok(Receipt { run: (*run).to_owned(), omitted, told })
    }

    fn told(line: &str) -> Result<Told, String> {
        let torn = || "a record of a receipt is torn".to_owned();
        let (key, value) = line.split_once('\t').ok_or_else(torn)?;
        let key = match serde_json::from_str(key) {
            Ok(Value::Null) => None,
            Ok(Value::String(key)) => Some(key),
            _ => return Err(torn()),
        };
        serde_json::from_str::<serde::de::IgnoredAny>(value).map_err(|_| torn())?;
        Ok(Told { key, value: value.to_owned() })
    }
}
