//! What a database must be able to do within a transaction.

use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::writes::WriteStatement;
use crate::store::classify::Failure;
use crate::store::statement::Statements;
use crate::store::{StoreError, positions};

/// What a database must be able to do within a transaction.
pub(crate) trait Session: Statements + Sized {
    /// Creates the bookkeeping tables where they are missing.
    fn create_bookkeeping(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads a table's columns and key: see [`Store::describe`](crate::store::Store::describe).
    fn read_catalog(
        &mut self,
        table: &str,
        key: &[String],
    ) -> impl Future<Output = Result<Table, StoreError>> + Send;

    /// Runs one of the commands without parameters.
    fn command(
        &mut self,
        command: TransactionCommand,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Moves the offset of a span from its start to its end, and if it moved notes the span's last
    /// record instead of an earlier one; says how many rows moved.
    fn move_offset(
        &mut self,
        scope: &BookkeepingKey,
        partitions: i32,
        span: &Span,
        last: Option<&LastRecord>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Runs one statement on the table; says how many rows it wrote.
    fn write(
        &mut self,
        table: &Table,
        statement: &WriteStatement<'_>,
    ) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Notes the writers' last sequences; none goes back.
    fn note_writers(
        &mut self,
        scope: &BookkeepingKey,
        writers: &[WriterSeen],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores dead letters; one that is there already stays.
    fn set_aside(
        &mut self,
        scope: &BookkeepingKey,
        letters: &[&DeadLetter],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How many references to missing rows only COMMIT would find. None, where every statement is
    /// checked for them.
    fn dangling(&mut self) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async { Ok(0) }
    }

    /// The next offset of each span's partition.
    fn next_offsets(
        &mut self,
        scope: &BookkeepingKey,
        spans: &[Span],
    ) -> impl Future<Output = Result<Vec<Option<NextOffset>>, StoreError>> + Send {
        positions::next_offsets(self, scope, spans)
    }

    /// Forgets the writers of a partition whose last records stand at `up_to` or before it.
    fn forget_writers(
        &mut self,
        scope: &BookkeepingKey,
        partition: Partition,
        up_to: Offset,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        positions::forget_writers(self, scope, partition, up_to)
    }
}

/// A command without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionCommand {
    /// Begins a transaction in which constraints are checked by each statement.
    Begin,
    /// Sets the savepoint.
    Savepoint,
    /// Forgets the savepoint.
    Release,
    /// Goes back to the savepoint and forgets it.
    RollBackToSavepoint,
    /// Rolls the transaction back.
    RollBack,
    /// Commits the transaction.
    Commit,
}

impl TransactionCommand {
    /// The command in SQL, where `begin` begins a transaction.
    pub(super) fn sql(self, begin: &'static str) -> &'static str {
        match self {
            TransactionCommand::Begin => begin,
            TransactionCommand::Savepoint => "SAVEPOINT write_behind",
            TransactionCommand::Release => "RELEASE write_behind",
            TransactionCommand::RollBackToSavepoint => {
                "ROLLBACK TO write_behind; RELEASE write_behind"
            }
            TransactionCommand::RollBack => "ROLLBACK",
            TransactionCommand::Commit => "COMMIT",
        }
    }
}
