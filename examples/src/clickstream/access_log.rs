//! The combined and the common log format of web servers, read strictly.
//!
//! ```text
//! address ident user [17/May/2015:10:05:03 +0000] "GET /path HTTP/1.1" 200 203023 "referer" "agent"
//! ```
//!
//! The common format ends after the size. A line is whole or it is bad: exactly one space between two parts,
//! nothing behind the last, no part missing. What is decided here:
//!
//! - Address, ident and user are not empty and hold no space and no control character. The address may be IPv4,
//!   IPv6 or a host name.
//! - The time must exist: no 30th of February, no hour 24, no second 60 (servers do not write leap seconds), a
//!   zone of at most 23:59 before or after UTC.
//! - In quotes, a backslash takes the next character as it is, so `\"` does not end the part. What stands in the
//!   quotes may be anything, also nothing: a request that is none is still a line.
//! - The status is three digits, the size is digits or `-`.
//! - A carriage return before the line end belongs to the line end. An empty line is bad.
//! - Bytes that are not UTF-8 are read as U+FFFD.

use std::ops::Range;

use chrono::NaiveDate;
use highwater::prelude::*;

use super::hit::{Hit, viewed_path};

/// Lines of an access log.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessLog;

impl Decode<Hit> for AccessLog {
    fn decode(&self, bytes: &[u8]) -> Result<Hit, String> {
        let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes));
        parse(&text).map_err(str::to_owned)
    }
}

fn parse(line: &str) -> Result<Hit, &'static str> {
    if line.is_empty() {
        return Err("the line is empty");
    }
    let mut rest = Rest { bytes: line.as_bytes(), at: 0 };
    let address = rest.word("the line has no client address")?;
    rest.word("there is no ident behind the address")?;
    rest.word("there is no user behind the ident")?;
    let at = rest.time()?;
    let request = rest.quoted("there is no whole request in quotes behind the time")?;
    rest.expect(b' ', "there is no status behind the request")?;
    let status = rest.status()?;
    rest.size()?;
    if !rest.is_empty() {
        rest.expect(b' ', "something follows the size that is no referer")?;
        rest.quoted("there is no whole referer in quotes behind the size")?;
        rest.expect(b' ', "there is no agent behind the referer")?;
        rest.quoted("there is no whole agent in quotes behind the referer")?;
    }
    if !rest.is_empty() {
        return Err("something follows the agent");
    }
    let url = viewed_path(&line[request.clone()], status);
    let url = url.map(|path| request.start + path.start..request.start + path.end);
    Ok(Hit::in_line(at, line, address, url))
}

/// What of a line has not been read yet.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn left(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn expect(&mut self, byte: u8, otherwise: &'static str) -> Result<(), &'static str> {
        if self.left().first() != Some(&byte) {
            return Err(otherwise);
        }
        self.at += 1;
        Ok(())
    }

    /// A part without spaces, and the space behind it.
    fn word(&mut self, otherwise: &'static str) -> Result<Range<usize>, &'static str> {
        let length = memchr::memchr(b' ', self.left()).ok_or(otherwise)?;
        let word = self.at..self.at + length;
        if length == 0 || self.bytes[word.clone()].iter().any(u8::is_ascii_control) {
            return Err(otherwise);
        }
        self.at = word.end + 1;
        Ok(word)
    }

    /// What stands between quotes.
    fn quoted(&mut self, otherwise: &'static str) -> Result<Range<usize>, &'static str> {
        self.expect(b'"', otherwise)?;
        let start = self.at;
        loop {
            let found = memchr::memchr2(b'"', b'\\', self.left()).ok_or(otherwise)?;
            self.at += found + 1;
            if self.bytes[self.at - 1] == b'"' {
                return Ok(start..self.at - 1);
            }
            if self.is_empty() {
                return Err(otherwise);
            }
            self.at += 1;
        }
    }

    /// `[17/May/2015:10:05:03 +0000] `
    fn time(&mut self) -> Result<Timestamp, &'static str> {
        const FORM: &str = "the time is not written like [17/May/2015:10:05:03 +0000]";
        let text: &[u8; 29] = self.left().first_chunk().ok_or(FORM)?;
        let marks =
            [(0, b'['), (3, b'/'), (7, b'/'), (12, b':'), (15, b':'), (18, b':'), (21, b' '), (27, b']')];
        if marks.iter().any(|&(at, mark)| text[at] != mark) || text[28] != b' ' {
            return Err(FORM);
        }
        let number = |range: Range<usize>| number(&text[range]).ok_or(FORM);
        let month = month(&text[4..7]).ok_or("there is no such month")?;
        let (day, year) = (number(1..3)?, number(8..12)?);
        let (hour, minute, second) = (number(13..15)?, number(16..18)?, number(19..21)?);
        let (zone_hours, zone_minutes) = (number(23..25)?, number(25..27)?);
        let date = NaiveDate::from_ymd_opt(year as i32, month, day).ok_or("there is no such day")?;
        let local = date.and_hms_opt(hour, minute, second).ok_or("there is no such time of day")?;
        if zone_hours > 23 || zone_minutes > 59 {
            return Err("there is no such time zone");
        }
        let zone_seconds = i64::from(zone_hours * 3600 + zone_minutes * 60);
        let zone_seconds = match text[22] {
            b'+' => zone_seconds,
            b'-' => -zone_seconds,
            _ => return Err(FORM),
        };
        self.at += text.len();
        Ok(Timestamp::from_millis((local.and_utc().timestamp() - zone_seconds) * 1000))
    }

    /// Three digits, and the space behind them.
    fn status(&mut self) -> Result<u16, &'static str> {
        const FORM: &str = "the status is not three digits";
        let text: &[u8; 4] = self.left().first_chunk().ok_or(FORM)?;
        let status = number(&text[..3]).filter(|_| text[3] == b' ').ok_or(FORM)?;
        self.at += text.len();
        Ok(status as u16)
    }

    /// Digits or a dash.
    fn size(&mut self) -> Result<(), &'static str> {
        let digits = self.left().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let dash = usize::from(digits == 0 && self.left().first() == Some(&b'-'));
        if digits + dash == 0 {
            return Err("the size is neither a number nor -");
        }
        self.at += digits + dash;
        Ok(())
    }
}

/// A number of at most four digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

fn month(name: &[u8]) -> Option<u32> {
    Some(match name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: &str = r#"83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a?b HTTP/1.1" 200 2030"#;
    const COMBINED: &str =
        r#"::1 - frank [29/Feb/2016:23:59:59 -0130] "GET /a\"b HTTP/1.1" 304 - "-" "An \"agent\" \\""#;

    fn read(line: &str) -> Result<Hit, String> {
        AccessLog.decode(line.as_bytes())
    }

    #[test]
    fn both_formats_give_address_time_and_page() {
        let hit = read(COMMON).expect("is common");
        assert_eq!((hit.address(), hit.url(), hit.line()), ("83.149.9.216", Some("/a"), COMMON));
        assert_eq!(hit.at().to_rfc3339_seconds(), "2015-05-17T10:05:03Z");
        let hit = read(COMBINED).expect("is combined");
        assert_eq!((hit.address(), hit.url()), ("::1", Some(r#"/a\"b"#)));
        assert_eq!(hit.at().to_rfc3339_seconds(), "2016-03-01T01:29:59Z");
        assert_eq!(read(&format!("{COMBINED}\r")).expect("ends in CRLF").line(), COMBINED);
        assert_eq!(
            read(&COMMON.replace("83.149.9.216", "host.example")).expect("a name").address(),
            "host.example"
        );
    }

    #[test]
    fn a_line_is_whole_or_bad() {
        for line in [COMMON, COMBINED] {
            for end in 0..line.len() {
                let part = &line[..end];
                let still_whole = part.ends_with(|last: char| last.is_ascii_digit())
                    && end + 4 > COMMON.len()
                    || part.ends_with("304 -");
                assert_eq!(read(part).is_ok(), still_whole, "{part}");
            }
            for tail in [" ", "x", " x", "\"", " \"-\"", "\t"] {
                assert!(read(&format!("{line}{tail}")).is_err(), "{tail:?}");
            }
            assert!(read(&format!(" {line}")).is_err());
            assert!(read(&line.replacen(" - ", "  ", 1)).is_err());
        }
        for (from, to) in [("200", "20"), ("200", "2000"), ("200", "2x0"), ("2030", "x"), ("2030", "-1")] {
            assert!(read(&COMMON.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn a_time_that_does_not_exist_is_bad() {
        let times = [
            ("17/May/2015:10:05:03 +0000", true),
            ("29/Feb/2015:10:05:03 +0000", false),
            ("30/Feb/2016:10:05:03 +0000", false),
            ("31/Apr/2015:10:05:03 +0000", false),
            ("00/May/2015:10:05:03 +0000", false),
            ("17/Mai/2015:10:05:03 +0000", false),
            ("17/May/2015:24:00:00 +0000", false),
            ("17/May/2015:10:60:03 +0000", false),
            ("30/Jun/2015:23:59:60 +0000", false),
            ("17/May/2015:10:05:03 +2400", false),
            ("17/May/2015:10:05:03 +0060", false),
            ("17/May/2015:10:05:03 +1400", true),
            ("17/May/2015:10:05:03  0000", false),
            ("17/May/2015:10:05:03 +000", false),
            ("7/May/2015:10:05:03 +0000", false),
            ("17/May/2015 10:05:03 +0000", false),
            ("+7/May/2015:10:05:03 +0000", false),
        ];
        for (time, exists) in times {
            assert_eq!(read(&COMMON.replace("17/May/2015:10:05:03 +0000", time)).is_ok(), exists, "{time}");
        }
    }

    #[test]
    fn odd_requests_are_lines_without_a_page() {
        for request in ["", "-", "POST /a HTTP/1.1", "GET", "\\x16\\x03", "GET /a.png"] {
            let hit = read(&COMMON.replace("GET /a?b HTTP/1.1", request)).expect(request);
            assert_eq!(hit.url(), None, "{request}");
        }
        assert_eq!(read(&COMMON.replace("?b HTTP/1.1", "")).expect("HTTP/0.9").url(), Some("/a"));
    }

    #[test]
    fn garbage_is_bad_and_stray_bytes_in_quotes_are_not() {
        assert!(read("").is_err());
        assert!(AccessLog.decode(&[0, 159, 146, 150, b' ', b'[', 255]).is_err());
        let mut line = COMMON.replace("/a?b", "/a\u{1}?b").into_bytes();
        let odd = line.iter().position(|byte| *byte == 1).expect("is there");
        line[odd] = 0xff;
        assert_eq!(AccessLog.decode(&line).expect("is whole").url(), Some("/a\u{fffd}"));
    }
}
