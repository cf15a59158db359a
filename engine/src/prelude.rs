//! The one `use` of a program: `use highwater::prelude::*`.

pub use std::time::Duration;

pub use highwater_connectors::blackhole::Blackhole;
pub use highwater_connectors::file::File;
pub use highwater_connectors::generator::Generator;
/// What the random numbers of a [`Generator`] can do: `random.random_range(1..=6)`.
pub use highwater_connectors::generator::RngExt as _;
pub use highwater_connectors::kafka::Kafka;
pub use highwater_connectors::log::Log;
pub use highwater_connectors::stdio::{Stdin, Stdout};
pub use highwater_operators::aggregate::{Agg, Aggregate, Collected};
pub use highwater_operators::codec::{Decode, Encode, Json, Raw, Text};
pub use highwater_operators::dead_letter::{DeadLetter, Replayed};
pub use highwater_operators::error::Cause;
pub use highwater_operators::join::{
    AsOfStream, Interval, JoinedStream, between_millis, following, preceding, within,
};
pub use highwater_operators::keyed::KeyedStream;
pub use highwater_operators::keyed::process::{Context, KeyedOperator, List, Map, States, Value};
pub use highwater_operators::keyed::two_stage::{TwoStage, TwoStageWindows};
pub use highwater_operators::map_async::Requests;
pub use highwater_operators::memory::Memory;
pub use highwater_operators::pattern::{AfterMatch, MatchStream, Pattern, any};
pub use highwater_operators::saga::{
    Saga, SagaAnswer, SagaEnd, SagaInput, SagaOutcome, SagaReply, SagaRequest, SagaStreams,
};
pub use highwater_operators::source::{BadRecord, Origin};
pub use highwater_operators::sourcing::{
    Accepted, Command, Conflict, Denial, Envelope, EventSourced, EventStore, Reply, Sourcing,
};
pub use highwater_operators::stateless::tried::{Refused, Tried};
pub use highwater_operators::stream::{EventTime, Stream, Untimed};
pub use highwater_operators::table::{BroadcastJoin, Change, StreamTableJoin, Table, TableJoin};
pub use highwater_operators::topology::Topology;
pub use highwater_operators::window::{
    AssignWindows, CountWindows, Session, Sliding, Timing, Tumbling, Windowed, WindowedStream, Windows,
    records, session, sliding, tumbling,
};
pub use highwater_state::{Savepoint, StateReader, TimeRange, Timestamp};

pub use crate::error::JobError;
pub use crate::job::{Job, RunningJob};
pub use crate::limited::limited;
pub use crate::report::{NodeReport, Report};
