//! The harness of the integration tests: real Kafka, real Postgres, the worker, and proxies
//! on both wires that stop it at an exact point.
//!
//! ```text
//!  producer ──▶ Kafka ◀── kafka_wire ──▶ worker ──▶ postgres_wire ──▶ Postgres
//!   (crate)   (container)   (proxy)    (child process)   (proxy)     (container)
//! ```
//!
//! The worker is the unmodified binary: it is killed and frozen by signals, and held at a point of
//! its transaction by a proxy that understands what it sends. Nothing in it knows of tests.

pub mod wait;
mod reaper;
pub mod containers;
pub mod kafka;
pub mod cluster;
pub mod log;
pub mod postgres;
pub mod mariadb;
pub mod certificates;
pub mod secure;
pub mod token_kafka;
pub mod wire;
pub mod postgres_wire;
pub mod kafka_wire;
pub mod browser;
pub mod binary;
pub mod worker;
pub mod stack;
pub mod counters;
pub mod flights;
pub mod figures;
pub mod random;
pub mod load;
pub mod loader;
pub mod handle;
pub mod writer;
pub mod fold;
pub mod audit;
pub mod walk;
pub mod prometheus;
