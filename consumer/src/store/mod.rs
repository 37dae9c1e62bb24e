//! The target database, as the consumer sees it: bookkeeping, catalogue, fenced transaction.
//!
//! A store is one dedicated connection, never shared. After any error that is not a row's, its
//! owner drops it and makes another: a cancelled or timed-out call leaves a connection in an
//! unknown state.

use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::claim::Claim;
use crate::core::record::{DeadLetter, RawRecord};
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::core::verdict::OnUncertain;

mod timeouts;
mod defaults;
mod references;
pub mod codes;
pub mod classify;
pub mod bookkeeping;
mod connection;
pub mod session;
pub(crate) mod fenced;
mod taken_apart;
mod session_store;
pub mod postgres;
pub mod sqlite;
pub mod inspect;
mod claims;
pub mod schema;
pub mod hand_over;
pub mod snapshot;
pub(crate) mod sql;
pub mod mysql;
pub mod statement;
mod line;
mod performed;
mod positions;
mod more_records;
mod parts;
pub mod letters;
pub mod replay;
mod any_store;
pub mod database;
pub mod url;
mod foreign_parameters;
mod unreached;

pub use any_store::AnyStore;
pub use database::Database;
pub use more_records::{MoreRecords, Part, PartFuture, Unread};
pub(crate) use positions::positions_in_any_cluster;
pub use timeouts::Timeouts;

/// Log filter that silences the database client, which reports on every start that the bookkeeping
/// tables exist.
pub const QUIET_LOG: &str = "sqlx::postgres::notice=off";

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

/// How the bookkeeping tables stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookkeepingState {
    /// As this consumer needs them.
    Ready,
    /// None is there.
    Missing,
    /// An earlier consumer made them, or some are missing.
    Older,
    /// A later consumer made them, of this version.
    Newer(i64),
}

/// Where the database stands in a partition, and the record that it stands behind.
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
    /// The pipeline, cluster and topic that the bookkeeping rows belong to.
    pub scope: &'a BookkeepingKey,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The offsets to move, sorted by partition.
    pub spans: &'a [Span],
    /// The table.
    pub table: &'a Table,
    /// Its columns, by index, that a refused record must not lack: see [`Outcome::Demanded`].
    pub newly_required: &'a [usize],
    /// One row per key and partition, sorted by key.
    pub rows: &'a [Row<'a>],
    /// The records behind rows that the database refused, in log order: each is applied alone, and
    /// set aside alone if it is refused.
    pub row_by_row: &'a [(RawRecord, Row<'a>)],
    /// The records behind them, if memory can't hold all at once.
    pub more_records: Option<&'a dyn MoreRecords>,
    /// Records set aside already.
    pub dead_letters: &'a [DeadLetter],
    /// The writers' last sequences.
    pub writers: &'a [WriterSeen],
    /// Per partition, the offset at or below which a writer's last record makes it forgotten.
    pub forgotten: &'a [(Partition, Offset)],
    /// The last record of each span.
    pub last_records: &'a [LastRecord],
    /// How the rows are written.
    pub options: WriteOptions,
}

impl<'a> Transaction<'a> {
    /// A transaction that moves `spans` and does nothing else.
    pub fn moving(
        scope: &'a BookkeepingKey,
        partitions: i32,
        spans: &'a [Span],
        table: &'a Table,
        options: WriteOptions,
    ) -> Self {
        Self {
            scope,
            partitions,
            spans,
            table,
            newly_required: &[],
            rows: &[],
            row_by_row: &[],
            more_records: None,
            dead_letters: &[],
            writers: &[],
            forgotten: &[],
            last_records: &[],
            options,
        }
    }
}

/// How a transaction writes its rows. What it writes does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// The most rows in a statement.
    pub rows_per_statement: usize,
    /// The most bad records that the transaction may set aside, those that could not be decoded
    /// included. One more rolls everything back.
    pub set_aside_max: usize,
    /// Whether a row that refers to a missing row is refused. If not, the transaction fails with
    /// [`StoreError::MissingReference`], and the missing row has time to arrive.
    pub refuse_missing_references: bool,
    /// What a refusal counts as whose code says nothing certain.
    pub on_uncertain: OnUncertain,
    /// Whether the rows are all written as single records, in log order. If not, no row is refused for
    /// what another row has: the transaction ends with [`Outcome::OutOfTurn`].
    pub in_log_order: bool,
    /// Whether single records that follow each other are written folded, one row per key, and taken
    /// apart only as far as the database refuses them.
    pub folds_records: bool,
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
        /// Whether a row was written, and not only deleted or left as it was.
        has_written: bool,
    },
    /// Rolled back: some partition does not stand at its span's `start`. Where each does, in the
    /// spans' order; `None`: the database does not know the partition.
    Fenced(Vec<Option<NextOffset>>),
    /// Rolled back: the database refuses these rows, by their place in `rows`.
    Rejected(Vec<usize>),
    /// Rolled back: a row has a value that another row has, and a unique key keeps them apart. Which of
    /// them is refused, and whether one is, only the order of the log tells.
    OutOfTurn,
    /// Rolled back: a record was refused that lacks this column, one of `newly_required`.
    Demanded(usize),
    /// Rolled back: some of `more_records` could not be read.
    Unread,
    /// Rolled back: these records are bad, and more than may be set aside.
    Bad(Vec<DeadLetter>),
    /// Rolled back: rows were refused with this code, which says nothing certain, and no other row
    /// could be written, so the table may be at fault.
    Doubtful(String),
}

/// An error of the database, as what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It will pass: reconnect, and retry for as long as it takes. Also every error at COMMIT: the
    /// next attempt's compare-and-set tells whether the transaction was committed.
    #[error("{0}")]
    Unavailable(String),
    /// The statement was too much for it: retry with a smaller batch, or later.
    #[error("the database is saturated: {0}")]
    Saturated(String),
    /// A lock of another session did not come in time, or its transaction was in the way: retry.
    #[error("{0}")]
    Conflict(String),
    /// The rows, the table or the server may be at fault. Of what the database says only the code,
    /// because messages quote values.
    #[error("the database refuses rows with code {0}, which does not tell what is at fault")]
    Uncertain(String),
    /// A row refers to a missing one: retry a few times, then refuse it.
    #[error("a row refers to a missing one: {0}")]
    MissingReference(String),
    /// A person must act: a missing table, a missing right, a wrong password.
    #[error("{0}")]
    Stop(String),
    /// A safety check refuses it: the data would not be safe.
    #[error("{0}")]
    Refused(String),
}

/// A dedicated connection to the target database.
pub trait Store: Send + Sized + 'static {
    /// How the bookkeeping tables stand.
    fn bookkeeping(&mut self) -> impl Future<Output = Result<BookkeepingState, StoreError>> + Send;

    /// Creates the bookkeeping tables that are missing, brings an earlier consumer's up to date, and
    /// changes nothing else. Returns how they stood before.
    fn init(&mut self) -> impl Future<Output = Result<BookkeepingState, StoreError>> + Send;

    /// Reads the table's columns and key from the catalogue. `key` empty: the primary key; else a
    /// unique key of exactly these columns.
    fn describe(
        &mut self,
        table: &str,
        key: &[String],
    ) -> impl Future<Output = Result<Table, StoreError>> + Send;

    /// Those of `partitions` that the database knows, and where it stands in them.
    fn positions(
        &mut self,
        scope: &BookkeepingKey,
        partitions: &[Partition],
    ) -> impl Future<Output = Result<Vec<Position>, StoreError>> + Send;

    /// Inserts a bookkeeping row for each of `positions` whose partition has none. A partition that
    /// has one keeps it.
    fn begin_at(
        &mut self,
        scope: &BookkeepingKey,
        positions: &[Position],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// All partitions of a topic that the database knows, read by one statement.
    fn known(
        &mut self,
        scope: &BookkeepingKey,
    ) -> impl Future<Output = Result<Vec<Known>, StoreError>> + Send;

    /// The claims on the table, and those of the topic on any.
    fn claims(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> impl Future<Output = Result<Vec<Claim>, StoreError>> + Send;

    /// Notes that the topic's offsets speak of this table and of no other one, unless the table is
    /// another topic's.
    fn note_claim(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether the table has no rows.
    fn is_empty(&mut self, table: &Table) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Runs one fenced transaction.
    ///
    /// # Cancellation
    /// Breaks the connection; whether the transaction was committed is open, as after an error at
    /// COMMIT.
    fn apply(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send;
}
