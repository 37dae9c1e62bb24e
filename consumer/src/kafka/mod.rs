//! The Kafka side: the poll thread and whatever else asks the broker something.
//!
//! Only these files know rdkafka. None of them decides when to write, pause or commit: they do what
//! the [`pipeline`](crate::pipeline) says, and tell it what came.

pub mod broker;
mod peek;
pub(crate) mod settings;
pub mod assign;
pub(crate) mod stand;
pub(crate) mod locate;
pub(crate) mod watch;
pub(crate) mod probe;
mod look;
pub(crate) mod group;
pub(crate) mod reading;
pub mod orders;
pub mod source;
pub(crate) mod notice;
pub mod reread;
pub(crate) mod letter_topic;
pub(crate) mod replay;
