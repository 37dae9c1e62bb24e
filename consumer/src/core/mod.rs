//! The consumer's state machines and the types they share. Pure: no clock, no tasks, no I/O.
//! Callers report events and carry out what comes back.

pub mod record;
#[cfg(feature = "otlp")]
pub(crate) mod traced_records;
pub mod batch;
pub mod bookkeeping_key;
pub mod assign;
pub mod claim;
pub mod hand_over;
pub mod torn_keys;
pub(crate) mod row_by_row;
pub(crate) mod parents_first;
pub mod writes;
pub mod span_read;
pub mod flood;
pub mod nearest;
pub mod verdict;
pub mod doubts;
pub mod table;
pub(crate) mod defaults;
pub mod memory;
pub mod pipeline;
pub mod plan;
pub mod dead_letters;
