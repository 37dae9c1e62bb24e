//! The consumer's own code against models of Kafka and of a database, in virtual time.
//!
//! Everything that decides in production runs here unchanged: the poll thread's `Source` with its
//! pipeline, the workers, the fenced transaction, the locator, the watch. What stands in for the world
//! is below them: a log, a group, and a database that takes statement after statement. One tape of
//! choices drives all of it, so a history is random, replayed, shrunk or enumerated by the same code.
//!
//! ```text
//!  choices ──▶ world ──▶ processes (the consumer's code) ──▶ kafka, database (models)
//!                │                                              │
//!                └──────────── oracle: what must hold ◀─────────┘
//! ```
//!
//! A choice of 0 is always the plain one, so a tape that ends goes on without faults.

#![allow(missing_docs, missing_debug_implementations, reason = "nobody depends on this crate")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod run;
pub mod shrink;
pub mod exhaust;
pub mod exam;
pub mod mutants;
pub mod world;
pub mod rest;
pub mod faults;
pub mod calls;
pub mod process;
pub mod database;
pub mod kafka;
pub mod oracle;
pub mod state;
pub mod gate;
pub mod meaning;
pub mod writers;
pub mod plan;
pub mod history;
pub mod executor;
pub mod clock;
pub mod stopwatch;
pub mod rare;
pub mod choices;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod locate;
