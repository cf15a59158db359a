//! The parts of the example `fraud` beside its command line: what can happen, the rules, what the program tells, and
//! where events come from when there are none.
//!
//! The rules, for which one reads this example, are [`rules`].

mod alert;
mod event;
mod incidents;
mod outcome;
pub mod rules;
mod scene;
mod script;

pub use alert::{Alert, Fraud, Rule, Score};
pub use event::{
    Call, Cart, CartStep, ErrorRate, Event, EventJson, Login, Noted, Price, Response, Server, Transaction,
};
pub use outcome::Outcome;
pub use scene::{SCENE_EVENTS, SCENE_SPLITS, Scene, made_up};
