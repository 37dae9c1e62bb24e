//! What differs between the databases: the statements of a transaction, the catalogue, the
//! bookkeeping tables. Everything else is written once, over [`Session`].

use std::time::Duration;

use crate::core::batch::{LastRecord, Span, WriterSeen};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::writes::WriteStatement;
use crate::store::bookkeeping::Spelling;
use crate::store::classify::Failure;
use crate::store::statement::Statements;
use crate::store::{StoreError, Transaction};

/// A connection that runs a transaction's statements, one at a time.
///
/// The bookkeeping statements fail with [`StoreError`], since no row of the target table is
/// involved; only [`Session::write`] and COMMIT can refuse a row, and [`Session::set_aside`] a text.
pub trait Session: Statements + Sized {
    /// Creates the missing bookkeeping tables.
    fn create_bookkeeping(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads a table's columns and key: see [`Store::describe`](crate::store::Store::describe).
    fn read_catalog(
        &mut self,
        table: &str,
        key: &[String],
    ) -> impl Future<Output = Result<Table, StoreError>> + Send;

    /// Begins a transaction that writes to the table. Where the database can be told to, the table and
    /// what stands around it stay as they are until its end.
    fn begin(&mut self, table: &Table) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = table;
        self.command(TransactionCommand::Begin)
    }

    /// Whether the table is still the one that was described.
    fn is_as_described(
        &mut self,
        table: &Table,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Runs one of the commands without parameters.
    fn command(
        &mut self,
        command: TransactionCommand,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Moves the offset of a span from its start to its end, if the transaction's table is still
    /// the one that was described; and if it moved replaces the partition's last record. Returns how
    /// many bookkeeping rows moved.
    fn move_offset(
        &mut self,
        transaction: &Transaction<'_>,
        span: &Span,
        last: Option<&LastRecord>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Runs one statement on the target table; returns how many rows it wrote.
    fn write(
        &mut self,
        table: &Table,
        statement: &WriteStatement<'_>,
    ) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Stores the writers' last sequences. None goes backwards.
    fn note_writers(
        &mut self,
        scope: &BookkeepingKey,
        writers: &[WriterSeen],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores dead letters. One that is already stored stays as it is. Fails with [`Failure::Data`]
    /// where the database's encoding lacks a character.
    fn set_aside(
        &mut self,
        scope: &BookkeepingKey,
        letters: &[&DeadLetter],
        spelling: Spelling,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Waits for `time`, by the clock that also limits the answers.
    fn wait(&self, time: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(time)
    }

    /// How many references to missing rows only COMMIT would find: zero where the database checks
    /// each statement.
    fn dangling(&mut self) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async { Ok(0) }
    }
}

/// A command without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionCommand {
    /// Begins a transaction. Constraints that can be deferred are checked at COMMIT, once all rows
    /// are written.
    Begin,
    /// Checks the constraints that were deferred so far.
    CheckDeferred,
    /// Sets the savepoint.
    Savepoint,
    /// Releases the savepoint: what came after it stays.
    Release,
    /// Rolls back to the savepoint, and releases it.
    RollBackToSavepoint,
    /// Rolls the transaction back.
    RollBack,
    /// Commits the transaction.
    Commit,
}

impl TransactionCommand {
    /// The command in standard SQL.
    pub(super) fn sql(self) -> &'static str {
        match self {
            TransactionCommand::Begin => "BEGIN",
            TransactionCommand::CheckDeferred => "SET CONSTRAINTS ALL IMMEDIATE",
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
