//! The database behind a small trait: the bookkeeping tables, the catalogue, the fenced transaction.
//!
//! A store is one dedicated connection. It is never shared, and after any error that is not the
//! data's it is dropped and made anew (a cancelled or timed-out call leaves a connection in an
//! unknown state).

use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::{DeadLetter, RawRecord};
use crate::core::table::Table;
use crate::core::table::row::Row;

mod timeouts;
pub mod classify;
pub mod bookkeeping;
mod connection;
mod session;
pub(crate) mod fenced;
pub mod postgres;
pub mod sqlite;
pub mod inspect;
pub mod snapshot;
pub(crate) mod sql;
pub mod mysql;
mod statement;
mod performed;
mod positions;
pub mod letters;
pub mod replay;
pub mod database;

pub use database::{AnyStore, Database};
pub use timeouts::Timeouts;

/// What a log filter should say of the database client: it reports on every start that the
/// bookkeeping tables are there already.
pub const QUIET_LOG: &str = "sqlx::postgres::notice=warn";

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
    pub writers: Vec<WriterSeen>,
}

/// Where the database stands in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The partition.
    pub partition: Partition,
    /// Everything below is in the database.
    pub next: NextOffset,
    /// How many partitions the topic had.
    pub partitions: i32,
    /// The last record below `next`, where it was noted.
    pub last_record: Option<LastRecord>,
}

/// All that one fenced transaction does, in this order: compare-and-set the offsets, each with its
/// last record, rows sorted by key, single records, writers, dead letters, COMMIT.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// Whose bookkeeping.
    pub scope: &'a BookkeepingKey,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The offsets to move, sorted by partition.
    pub spans: &'a [Span],
    /// The table.
    pub table: &'a Table,
    /// One row a key, sorted by key.
    pub rows: &'a [Row<'a>],
    /// Records of rows that were refused as a whole, in log order: each is applied alone, and set
    /// aside alone if it is refused.
    pub row_by_row: &'a [(RawRecord, Row<'a>)],
    /// Records set aside already.
    pub dead_letters: &'a [DeadLetter],
    /// The writers' last sequences.
    pub writers: &'a [WriterSeen],
    /// The writers of a partition whose last records stand so far back are forgotten.
    pub forgotten: &'a [(Partition, Offset)],
    /// The last record of each span.
    pub last_records: &'a [LastRecord],
    /// How the rows are written.
    pub options: WriteOptions,
}

/// How a transaction writes its rows. What it writes is the same in any manner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// How many rows a statement holds at most.
    pub rows_per_statement: usize,
    /// How many bad records may be set aside, those that could not be decoded included. One more
    /// rolls everything back.
    pub set_aside_max: usize,
    /// Whether a row that refers to a missing row is refused. If not, the missing row is given time
    /// to come: [`StoreError::MissingReference`].
    pub refuse_missing_references: bool,
}

/// How a transaction that reached the database ended.
#[derive(Debug)]
pub enum Outcome {
    /// Committed.
    Committed {
        /// The records of `row_by_row` that were set aside with it.
        set_aside: Vec<DeadLetter>,
        /// How many rows and single records were left out, because the table has newer versions of
        /// their rows.
        older: u64,
    },
    /// Rolled back: the bookkeeping does not say `start` for some span. What it says, for each span
    /// in its order; `None`: there is no row.
    Fenced(Vec<Option<NextOffset>>),
    /// Rolled back: the database refuses these rows, by their place in `rows`.
    Rejected(Vec<usize>),
    /// Rolled back: these records are bad, and more than may be set aside.
    Bad(Vec<DeadLetter>),
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
    /// A row refers to one that is missing: try again a few times, then let it be refused.
    #[error("a row refers to one that is not there: {0}")]
    MissingReference(String),
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
        scope: &BookkeepingKey,
        partitions: &[Partition],
    ) -> impl Future<Output = Result<Vec<Position>, StoreError>> + Send;

    /// Gives partitions that have no bookkeeping row one that says `next`.
    fn begin_at(
        &mut self,
        scope: &BookkeepingKey,
        positions: &[Position],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// All partitions of a topic that the database knows, as of one moment.
    fn known(
        &mut self,
        scope: &BookkeepingKey,
    ) -> impl Future<Output = Result<Vec<Known>, StoreError>> + Send;

    /// Whose the table is; `None`: nobody's yet.
    fn owner(
        &mut self,
        table: &Table,
    ) -> impl Future<Output = Result<Option<BookkeepingKey>, StoreError>> + Send;

    /// Makes the table this topic's unless it is another's, and says whose it is.
    fn claim(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> impl Future<Output = Result<BookkeepingKey, StoreError>> + Send;

    /// Runs one fenced transaction.
    fn apply(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send;
}
