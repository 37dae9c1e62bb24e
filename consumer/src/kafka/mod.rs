//! The Kafka side: the poll thread and whatever else asks the broker something.
//!
//! Only these files know rdkafka (and `check`, for the topic's settings). None of them decides when to
//! write, pause or commit: they do what the [`pipeline`](crate::pipeline) says, and tell it what came.

pub mod broker;
pub mod assign;
pub(crate) mod locate;
pub(crate) mod watch;
pub(crate) mod probe;
pub(crate) mod group;
pub(crate) mod reading;
pub mod orders;
pub mod source;
pub(crate) mod notice;
pub mod reread;
