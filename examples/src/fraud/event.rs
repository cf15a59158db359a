//! What can happen: eight kinds of events, and how they are read from JSON.
//!
//! An event is read whole or is bad: its time must exist, names must not be empty, and numbers must be such as can be.
//! Each kind is a type of its own, so that a rule speaks of amounts and addresses and not of variants.

use chrono::{DateTime, Utc};
use highwater::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The mean radius of the earth in kilometres.
const EARTH_RADIUS_KM: f64 = 6371.0;

/// An event of any kind; in JSON, `type` says of which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// Money was spent.
    Transaction(Transaction),
    /// Somebody gave a password.
    Login(Login),
    /// Something happened to a cart.
    Cart(Cart),
    /// An API was called.
    Call(Call),
    /// A server answered.
    Response(Response),
    /// A product has a price.
    Price(Price),
    /// A service was asked how often it fails.
    ErrorRate(ErrorRate),
    /// A server goes down or comes up.
    Server(Server),
}

/// What a user spends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// The event's number, by which alerts name it.
    pub id: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Who.
    pub user: String,
    /// How much.
    pub amount: f64,
    /// In which country.
    pub country: String,
    /// The place's latitude in degrees.
    pub lat: f64,
    /// The place's longitude in degrees.
    pub lon: f64,
}

/// What somebody who gives a password gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Login {
    /// The event's number.
    pub id: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Whose account it is.
    pub user: String,
    /// Whether the password was right.
    pub ok: bool,
    /// From which address.
    pub address: String,
}

/// What a user does with a cart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cart {
    /// The event's number.
    pub id: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Who.
    pub user: String,
    /// What.
    pub step: CartStep,
}

/// What can be done with a cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CartStep {
    /// Something was put in.
    Filled,
    /// What is in it was bought.
    Purchased,
}

/// A call of an API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The event's number.
    pub id: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Who calls.
    pub client: String,
    /// Whether it was answered.
    pub ok: bool,
}

/// A server's response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The event's number.
    pub id: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Whose response it is.
    pub server: String,
    /// How many milliseconds it took.
    pub millis: u64,
}

/// What a product costs from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// The event's number.
    pub id: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Which product.
    pub product: String,
    /// How much.
    pub price: f64,
}

/// How often a service fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRate {
    /// The event's number.
    pub id: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Which service.
    pub service: String,
    /// The part of its calls that fail.
    pub rate: f64,
}

/// A server's going down or coming up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// The event's number.
    pub id: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Which server.
    pub server: String,
    /// Whether it is up from now on.
    pub up: bool,
}

/// What every event has, of whatever kind.
pub trait Noted {
    /// Its number.
    fn id(&self) -> u64;
    /// When it happened.
    fn time(&self) -> Timestamp;
}

macro_rules! kinds {
    ($($kind:ident, $only:ident;)*) => {
        $(impl Noted for $kind {
            fn id(&self) -> u64 {
                self.id
            }

            fn time(&self) -> Timestamp {
                self.time
            }
        })*

        impl Noted for Event {
            fn id(&self) -> u64 {
                match self {
                    $(Event::$kind(event) => event.id,)*
                }
            }

            fn time(&self) -> Timestamp {
                match self {
                    $(Event::$kind(event) => event.time,)*
                }
            }
        }

        impl Event {
            /// Gives the event another number.
            pub(super) fn renumber(&mut self, id: u64) {
                match self {
                    $(Event::$kind(event) => event.id = id,)*
                }
            }

            $(
                /// The event, if it is of this kind.
                pub fn $only(self) -> Option<$kind> {
                    match self {
                        Event::$kind(event) => Some(event),
                        _ => None,
                    }
                }
            )*
        }
    };
}

kinds! {
    Transaction, transaction;
    Login, login;
    Cart, cart;
    Call, call;
    Response, response;
    Price, price;
    ErrorRate, error_rate;
    Server, server;
}

impl Transaction {
    /// How far the place of another transaction is, along the great circle.
    pub fn kilometres_to(&self, other: &Transaction) -> f64 {
        let half_versed = |a: f64, b: f64| ((b - a).to_radians() / 2.0).sin().powi(2);
        let across = self.lat.to_radians().cos() * other.lat.to_radians().cos();
        let chord = half_versed(self.lat, other.lat) + across * half_versed(self.lon, other.lon);
        2.0 * EARTH_RADIUS_KM * chord.min(1.0).sqrt().asin()
    }
}

/// Events as JSON objects. Fields that an event does not have may be there.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventJson;

impl Decode<Event> for EventJson {
    fn decode(&self, bytes: &[u8]) -> Result<Event, String> {
        let event: Event =
            serde_json::from_slice(bytes).map_err(|error| format!("not an event in JSON: {error}"))?;
        match event.impossible() {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(event),
        }
    }
}

impl Event {
    /// Why there can be no such event, if there cannot.
    fn impossible(&self) -> Option<&'static str> {
        let cases: &[(bool, &'static str)] = match self {
            Event::Transaction(paid) => &[
                (paid.user.is_empty(), "the user is empty"),
                (paid.country.is_empty(), "the country is empty"),
                (paid.amount < 0.0, "the amount is negative"),
                (!(-90.0..=90.0).contains(&paid.lat), "the latitude is not between -90 and 90"),
                (!(-180.0..=180.0).contains(&paid.lon), "the longitude is not between -180 and 180"),
            ],
            Event::Login(login) => &[
                (login.user.is_empty(), "the user is empty"),
                (login.address.is_empty(), "the address is empty"),
            ],
            Event::Cart(cart) => &[(cart.user.is_empty(), "the user is empty")],
            Event::Call(call) => &[(call.client.is_empty(), "the client is empty")],
            Event::Response(response) => &[(response.server.is_empty(), "the server is empty")],
            Event::Price(price) => &[
                (price.product.is_empty(), "the product is empty"),
                (price.price < 0.0, "the price is negative"),
            ],
            Event::ErrorRate(errors) => &[
                (errors.service.is_empty(), "the service is empty"),
                (errors.rate < 0.0, "the rate is negative"),
            ],
            Event::Server(server) => &[(server.server.is_empty(), "the server is empty")],
        };
        cases.iter().find(|(holds, _)| *holds).map(|(_, reason)| *reason)
    }
}

/// Times as text where people read them, and as milliseconds in state.
pub(super) mod rfc3339 {
    use super::*;

    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(time) } else { time.serialize(serializer) }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        if deserializer.is_human_readable() {
            DateTime::<Utc>::deserialize(deserializer).map(Timestamp::from)
        } else {
            Timestamp::deserialize(deserializer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 9] = [
        concat!(
            r#"{"type":"transaction","id":1,"time":"2025-01-01T00:00:00.007Z","user":"ada","#,
            r#""amount":12.5,"country":"DE","lat":50.8,"lon":6.1}"#
        ),
        r#"{"type":"login","id":2,"time":"2025-01-01T00:00:01Z","user":"ada","ok":false,"address":"::1"}"#,
        r#"{"type":"cart","id":3,"time":"2025-01-01T00:00:01Z","user":"ada","step":"filled"}"#,
        r#"{"type":"cart","id":4,"time":"2025-01-01T00:00:01Z","user":"ada","step":"purchased"}"#,
        r#"{"type":"call","id":5,"time":"2025-01-01T00:00:01Z","client":"app","ok":true}"#,
        r#"{"type":"response","id":6,"time":"2025-01-01T00:00:01Z","server":"a","millis":90}"#,
        r#"{"type":"price","id":7,"time":"2025-01-01T00:00:01Z","product":"tea","price":3.5}"#,
        r#"{"type":"error_rate","id":8,"time":"2025-01-01T00:00:01Z","service":"pay","rate":0.25}"#,
        r#"{"type":"server","id":9,"time":"2025-01-01T00:00:01Z","server":"a","up":false}"#,
    ];

    fn read(line: &str) -> Result<Event, String> {
        EventJson.decode(line.as_bytes())
    }

    #[test]
    fn an_event_is_read_as_it_is_written() {
        for (number, line) in (1..).zip(LINES) {
            let event = read(line).expect(line);
            assert_eq!(event.id(), number, "{line}");
            let written = serde_json::to_string(&event).expect("can be written");
            assert_eq!(written, line);
            assert_eq!(read(&line.replacen('{', r#"{"more":[1],"#, 1)), Ok(event), "{line}");
        }
        assert_eq!(read(LINES[0]).map(|event| event.time()), Ok(Timestamp::from_millis(1_735_689_600_007)));
    }

    #[test]
    fn what_is_no_event_is_bad() {
        for line in LINES {
            for (from, to) in [
                (r#""id":"#, r#""id":-"#),
                (r#""id":"#, r#""number":"#),
                ("01-01", "02-30"),
                ("T00:00", "T24:00"),
                (r#""time":"#, r#""times":"#),
                (r#""type":""#, r#""type":"x"#),
                (r#""ada""#, r#""""#),
                (r#""a""#, r#""""#),
                (r#":true"#, ":1"),
                (r#""country":"DE""#, r#""country":"""#),
                ("12.5", "-12.5"),
                ("3.5", "1e999"),
                ("0.25", "-0.25"),
                ("50.8", "90.1"),
                ("6.1", "-180.5"),
                ("}", "}}"),
                ("}", ""),
            ] {
                let changed = line.replacen(from, to, 1);
                assert!(changed == line || read(&changed).is_err(), "{changed}");
            }
        }
        for line in ["", "[]", "{}", "null", "\u{0}"] {
            assert!(read(line).is_err(), "{line}");
        }
        assert!(EventJson.decode(&[b'"', 0xff, b'"']).is_err());
    }

    #[test]
    fn distances_are_those_of_the_great_circle() {
        let Ok(Event::Transaction(here)) = read(LINES[0]) else { panic!("it is a transaction") };
        let at = |lat, lon| Transaction { lat, lon, ..here.clone() };
        let between = |a: (f64, f64), b: (f64, f64)| at(a.0, a.1).kilometres_to(&at(b.0, b.1));
        assert_eq!(between((50.8, 6.1), (50.8, 6.1)), 0.0);
        assert!((between((40.71, -74.01), (34.05, -118.24)) - 3936.0).abs() < 5.0);
        assert!((between((0.0, 179.5), (0.0, -179.5)) - 111.19).abs() < 0.1);
        assert!((between((90.0, 0.0), (-90.0, 120.0)) - 20015.0).abs() < 1.0);
    }
}
