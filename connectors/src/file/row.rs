//! Splits the bytes of a CSV row into its fields, line by line.
//!
//! The dialect is that of the `csv` crate's default: comma, double quote, quotes doubled inside quotes, a quote
//! inside an unquoted field is a plain character. Invariant: a row is read to its end exactly when it is not
//! [`open`](Row::open) at the end of a line. It knows neither headers nor types nor files.

use std::io::BufRead;

use csv::ByteRecord;

/// A row under way.
#[derive(Debug, Default)]
pub(super) struct Row {
    fields: ByteRecord,
    field: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// At the beginning of a field.
    #[default]
    Start,
    /// In a field without quotes, or behind the closing quote of one with.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote between quotes: the closing one, or the first of two.
    Quote,
}

impl Row {
    /// Begins a new row.
    pub(super) fn begin(&mut self) {
        self.fields.clear();
        self.field.clear();
        self.state = State::Start;
    }

    /// Takes the next bytes of the row.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if self.state == State::Start && !bytes.contains(&b'"') {
            return self.take_plain(bytes);
        }
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Start, b'"') => State::Quoted,
                (State::Start | State::Plain | State::Quote, b',') => {
                    self.end_field();
                    State::Start
                }
                (State::Quoted, b'"') => State::Quote,
                (State::Quoted, byte) | (State::Quote, byte @ b'"') => {
                    self.field.push(byte);
                    State::Quoted
                }
                (State::Start | State::Plain | State::Quote, byte) => {
                    self.field.push(byte);
                    State::Plain
                }
            };
        }
    }

    /// Bytes without any quote, at the beginning of a field.
    fn take_plain(&mut self, bytes: &[u8]) {
        let mut last = bytes;
        while let Some((field, rest)) = split_at_comma(last) {
            self.fields.push_field(field);
            last = rest;
        }
        self.field.extend_from_slice(last);
        if !last.is_empty() {
            self.state = State::Plain;
        }
    }

    /// Whether the row goes on behind a line end.
    pub(super) fn open(&self) -> bool {
        self.state == State::Quoted
    }

    /// Ends the row and gives its fields.
    pub(super) fn end(&mut self) -> &ByteRecord {
        self.end_field();
        self.state = State::Start;
        &self.fields
    }

    fn end_field(&mut self) {
        self.fields.push_field(&self.field);
        self.field.clear();
    }
}

/// What is before the first comma and what is behind it.
fn split_at_comma(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    let passed = rest.skip_until(b',').unwrap_or(0); // the standard library's memchr; never fails on a slice
    let field = bytes[..passed].strip_suffix(b",")?;
    Some((field, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rows of `text`, of which the last may be open.
    fn rows(text: &str) -> Vec<Vec<Vec<u8>>> {
        let mut rows = Vec::new();
        let mut row = Row::default();
        let mut going_on = false;
        for line in text.split_inclusive('\n') {
            let content = line.strip_suffix('\n').unwrap_or(line);
            if !going_on {
                if content.is_empty() {
                    continue;
                }
                row.begin();
            }
            row.take(content.as_bytes());
            going_on = row.open();
            if going_on {
                row.take(&line.as_bytes()[content.len()..]);
            } else {
                rows.push(row.end().iter().map(<[u8]>::to_vec).collect());
            }
        }
        if going_on {
            rows.push(row.end().iter().map(<[u8]>::to_vec).collect());
        }
        rows
    }

    proptest! {
        #[test]
        fn rows_are_those_of_the_csv_crate(text in "[ab,\"\n]{0,40}") {
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .from_reader(text.as_bytes());
            let expected: Vec<Vec<Vec<u8>>> = reader
                .byte_records()
                .map(|record| record.map(|record| record.iter().map(<[u8]>::to_vec).collect()))
                .collect::<Result<_, _>>()
                .expect("a flexible reader of bytes refuses nothing");
            prop_assert_eq!(rows(&text), expected);
        }
    }
}
