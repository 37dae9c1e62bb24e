//! The vocabulary of write-behind: what the producer and the consumer promise each other.
//!
//! A service's write becomes a [`Change`] of one row. The change travels as a [`record`] keyed by
//! the row's [`key`], and the record gets an [`Offset`] in the [`Partition`] that its key hashes
//! to. The state of a row is its state as of some offset, with the later changes folded over it.
//! That fold is the one idea of the project, and it is written once, here.
//!
//! ```text
//!  write ──▶ change ──▶ record (key, value, headers) ──▶ partition, offset
//!                                                            │
//!  row as of offset p ──────────── fold ◀── changes from p on ┘
//! ```
//!
//! Nothing in this crate does I/O, reads a clock, starts a task or knows a database.
//!
//! # Terms
//! One term for one idea, here and in the other crates, as Kafka and the databases use it.
//!
//! | Term | Meaning |
//! |---|---|
//! | **partition** | An ordered log of a topic ([`Partition`]); all records of a key are in one. |
//! | **offset** | The position of one record in its partition ([`Offset`]). |
//! | **next offset** | The first offset not processed yet ([`NextOffset`]): offset + 1. |
//! | **high watermark** | The offset after the last record that all in-sync replicas have. |
//! | **consumer group** | The consumers that share a topic's partitions and commit next offsets. |
//! | **lag** | How many offsets a group is behind the end of a partition. |
//! | **key** | The row that a record changes, as canonical text ([`key`]). |
//! | **change** | What a write does to one row ([`Change`]). |
//! | **fold** | Combines two changes of a row into one that does both ([`Change::fold`]). |
//! | **upsert** | Updates a row, or inserts it if it is missing. |
//! | **increment** | Adds to a column, where other changes set it ([`Cell::Add`]). |
//! | **tombstone** | A record without a value: it deletes its row. |
//! | **version** | The column by which an older change of a row never overwrites a newer one. |
//! | **dead letter** | A record that cannot be applied, set aside with its reason. |
//! | **writer** | One life of a producer's handle, known by its UUID. |
//! | **sequence** | A writer's own count of its records in a partition, from 0, without gaps. |
//! | **write-id** | Writer and sequence ([`WriteId`]): the same when a write is sent again. |
//! | **urgent record** | A record with the header `priority: high`: its partition goes ahead of others. |
//! | **duplicate** | A record whose sequence its writer has reached before ([`Sequences`]). |
//! | **pending** | Accepted by the producer and not known to be in the database. |
//! | **replicated** | In Kafka, on all in-sync replicas. |
//! | **persisted** | In the database, in a committed transaction. |
//! | **flush** | Waits until every write accepted before is persisted. |
//! | **batch** | The folded changes of a range of offsets, written in one transaction. |
//! | **backpressure** | A full stage makes the one before it wait: a read pauses, a write waits. |
//! | **route** | A topic and the table that its records go to. |
//! | **pipeline** | The routes of one consumer group; its name is the group's. |

pub mod offset;
pub mod key;
pub mod partition;
pub mod number;
pub mod increments;
pub mod mistaken;
pub mod json;
mod finite;
pub mod json_write;
pub mod change;
pub mod record;
pub mod sequences;
pub mod table_name;
pub mod sqlite_type;
pub mod mysql_type;
pub mod kafka;
pub mod metrics;

pub use change::{Cell, Change};
pub use increments::Increments;
pub use number::Number;
pub use offset::{NextOffset, Offset, Partition};
pub use record::{Headers, RecordError, WriteId};
pub use sequences::{SequenceCheck, Sequences};
