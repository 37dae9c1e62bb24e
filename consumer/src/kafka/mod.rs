//! The Kafka side: the poll thread, and everything else that asks a broker something.
//!
//! Only these files know rdkafka. None of them decides when to write, pause or commit: they carry
//! out what the [`pipeline`](crate::core::pipeline) says, and report to it what came.

mod failures;
pub mod client;
pub mod questions;
pub(crate) mod broker;
mod incoming;
pub(crate) mod log_reader;
mod record_timestamps;
pub(crate) mod settings;
pub(crate) mod properties;
pub(crate) mod newest_records;
pub(crate) mod partition_facts;
pub mod partition_queue;
pub mod locator;
pub mod skip_looks;
mod locate_task;
pub mod watch;
pub(crate) mod survey;
mod probe;
mod members;
mod recheck;
mod statistics;
pub mod bell;
pub mod group;
mod own_queues;
pub mod reader;
pub(crate) mod reading;
pub mod messages;
pub mod source;
pub(crate) mod notice;
pub mod reread;
pub(crate) mod letter_topic;
