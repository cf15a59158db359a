//! The parts of the example `fraud` that are not about streams: what can happen, what the program tells, and where
//! events come from when there are none.

mod alert;
mod event;
mod incidents;
mod outcome;
mod scene;
mod script;

pub use alert::{Alert, Fraud, Rule, Score};
pub use event::{
    Call, Cart, CartStep, ErrorRate, Event, EventJson, Login, Noted, Price, Response, Server, Transaction,
};
pub use outcome::Outcome;
pub use scene::{SCENE_EVENTS, SCENE_SPLITS, Scene, made_up};
