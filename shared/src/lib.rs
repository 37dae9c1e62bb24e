//! The vocabulary of write-behind: what the producer and the consumer promise each other.
//!
//! A service's write becomes a [`Change`] of one row; the change travels as a [`record`] keyed by
//! the row's [`key`]; the record sits at an [`Offset`] of the [`Partition`] its key hashes to.
//! Whoever wants the state of a row takes the row as of some offset and folds the later changes
//! over it. That fold is the one idea of the project, and it is written once, here.
//!
//! ```text
//!  write ──▶ change ──▶ record (key, value, headers) ──▶ partition, offset
//!                                                            │
//!  row as of offset p ──────────── fold ◀── changes from p on ┘
//! ```
//!
//! Nothing in this crate does I/O, reads a clock or knows a database.
//!
//! # Terms
//! - **offset**: the place of one record in its partition ([`Offset`]); **next offset**: the first
//!   one not yet dealt with ([`NextOffset`]). The `+ 1` between them is in one function.
//! - **fold**: to combine an earlier and a later change of one row into one ([`Change::fold`]).
//! - **tombstone**: a record without a value; it deletes its row.
//! - **dead letter**: a record that cannot be applied, set aside with its reason.

pub mod offset;
pub mod key;
pub mod partition;
pub mod number;
pub mod json;
mod finite;
pub mod json_write;
pub mod change;
pub mod record;
pub mod table_name;
pub mod kafka;
pub mod metrics;

pub use change::{Cell, Change};
pub use number::Number;
pub use offset::{NextOffset, Offset, Partition, TopicPartition};
pub use record::{Headers, RecordError, WriteId};
