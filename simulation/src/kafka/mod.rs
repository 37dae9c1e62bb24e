//! Kafka as this project believes it to be: the log, the group, and librdkafka's consumer.
//!
//! Each belief stands in `facts.md` with the test on the real thing that shows it.

pub mod log;
pub mod group;
pub mod reader;
pub mod questions;
