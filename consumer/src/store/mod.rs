//! The database behind a small trait: the bookkeeping tables, the catalogue, the fenced transaction.
//!
//! A store is one dedicated connection. It is never shared, and after any error that is not the
//! data's it is dropped and made anew (a cancelled or timed-out call leaves a connection in an
//! unknown state).

use write_behind_shared::{NextOffset, Partition, WriteId};

use crate::batch::{DeadLetter, RawRecord, Span, WriterSeen};
use crate::row::Row;
use crate::table::Table;

/// Whose bookkeeping: the first three columns of every bookkeeping table's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The pipeline's name.
    pub pipeline: String,
    /// The Kafka cluster's id.
    pub cluster: String,
    /// The topic.
    pub topic: String,
}

/// What the database knows of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: Partition,
    /// Everything below is in the database.
    pub next: NextOffset,
    /// How many partitions the topic had.
    pub partitions: i32,
    /// The last sequence of each writer.
    pub writers: Vec<WriteId>,
}

/// All that one fenced transaction does, in this order: compare-and-set the offsets, rows sorted
/// by key, single records, writers, dead letters, COMMIT.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// Whose bookkeeping.
    pub scope: &'a Scope,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The offsets to move, sorted by partition.
    pub spans: &'a [Span],
    /// The table.
    pub table: &'a Table,
    /// One row a key, sorted by key.
    pub rows: &'a [Row],
    /// Records of rows that were refused as a whole, in log order: each is applied alone, and set
    /// aside alone if it is refused.
    pub singly: &'a [(RawRecord, Row)],
    /// Records set aside already.
    pub dead_letters: &'a [DeadLetter],
    /// The writers' last sequences.
    pub writers: &'a [WriterSeen],
}

/// How a transaction that reached the database ended.
#[derive(Debug)]
pub enum Outcome {
    /// Committed. These records of `singly` were set aside with it.
    Committed(Vec<DeadLetter>),
    /// Rolled back: the bookkeeping does not say `start` for some span. What it says, for each span
    /// in its order; `None`: there is no row.
    Fenced(Vec<Option<NextOffset>>),
    /// Rolled back: the database refuses these rows, by their place in `rows`.
    Refused(Vec<usize>),
}

/// An error of the database, as what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It will pass: connect anew and try again for as long as it takes. Also every error at COMMIT,
    /// whose outcome the compare-and-set finds out.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// It takes less at a time than was asked: try again with a smaller batch, or later.
    #[error("the database is saturated: {0}")]
    Saturated(String),
    /// A person must act: a missing table, a missing right, a wrong password.
    #[error("{0}")]
    Stop(String),
}

/// A dedicated connection to the target database.
pub trait Store: Send + Sized + 'static {
    /// Creates the bookkeeping tables where they are missing. Changes nothing else.
    fn init(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads the table's columns and key from the catalogue. `key` empty: the primary key; else a
    /// unique key of exactly these columns.
    fn describe(
        &mut self,
        table: &str,
        key: &[String],
    ) -> impl Future<Output = Result<Table, StoreError>> + Send;

    /// Which of `partitions` the database knows, and where it stands in them.
    fn positions(
        &mut self,
        scope: &Scope,
        partitions: &[Partition],
    ) -> impl Future<Output = Result<Vec<Position>, StoreError>> + Send;

    /// Gives partitions that have no bookkeeping row one that says `next`.
    fn begin_at(
        &mut self,
        scope: &Scope,
        positions: &[Position],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Runs one fenced transaction.
    fn apply(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send;
}
