//! The fenced transaction, over any session: it moves the offsets, writes the rows, stores what was
//! set aside and commits; or it changes nothing.
//!
//! Every step consumes the [`Open`] transaction and returns it only on success. So a transaction
//! that met an error cannot be committed: nothing is left to commit it with. (Postgres answers a
//! COMMIT of a failed transaction with success, and the rows are gone.)
//!
//! INV-6: the offset moves first, from its start to its end, by exactly one row or not at all.
//! INV-12: a transaction in which a statement failed cannot be committed.

use write_behind_shared::Partition;

use crate::core::batch::Span;
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::parents_first::in_two;
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::core::writes::{Writes, runs};
use crate::store::classify::{Failure, Rejection};
use crate::store::session::{Session, TransactionCommand};
use crate::store::{Known, Outcome, Position, Store, StoreError, Transaction, inspect, positions};

/// How the rows are tried. Nearly every batch is accepted whole, and each savepoint costs two round
/// trips, so savepoints are set only once the database has refused something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WriteMode {
    /// All together. A refusal rolls back the transaction.
    Whole,
    /// In parts, each behind a savepoint, to find the refused rows.
    Bisect,
    /// The same, and dangling references are counted after every part.
    CheckReferences,
}

/// Runs one fenced transaction.
pub(crate) async fn apply<S: Session>(
    session: &mut S,
    tx: &Transaction<'_>,
) -> Result<Outcome, StoreError> {
    let mut mode = WriteMode::Whole;
    loop {
        mode = match run(session, tx, mode).await {
            Err(Failure::MissingReference(rejection)) if !tx.options.refuse_missing_references => {
                return Err(StoreError::MissingReference(rejection.reason));
            }
            // COMMIT may have found the missing reference, and does not say which row has it.
            Err(Failure::MissingReference(_)) if mode < WriteMode::CheckReferences => {
                WriteMode::CheckReferences
            }
            Err(Failure::Data(_) | Failure::Twice) if mode < WriteMode::Bisect => WriteMode::Bisect,
            ended => return ended.map_err(Failure::of_no_row),
        };
    }
}

/// One attempt. Unless it fails with [`Failure::Store`], a transaction that is not committed is
/// rolled back, and the session can begin another.
async fn run<S: Session>(
    session: &mut S,
    tx: &Transaction<'_>,
    mode: WriteMode,
) -> Result<Outcome, Failure> {
    let mut open = Open::begin(session, mode == WriteMode::CheckReferences).await?;
    // The offsets move before any row is written (INV-6). The update locks the partition's
    // bookkeeping row until COMMIT, so a zombie waits here, holding nothing, and then finds that
    // the offset has moved. With the rows first it would hold row locks while it waits.
    for span in tx.spans {
        let moved;
        (open, moved) = open.move_offset(tx, span).await?;
        if !moved {
            // Rolled back before it asks: inside the transaction the spans before this one show the
            // offsets that it has moved itself, and the batch could look as if it were written.
            let session = open.roll_back().await?;
            let found = positions::next_offsets(session, tx.scope, tx.spans).await?;
            return Ok(Outcome::Fenced(found));
        }
    }
    if mode == WriteMode::Whole {
        open = open.write_whole(tx).await?;
    } else {
        let rejected;
        (open, rejected) = open.write_bisected(tx).await?;
        if !rejected.is_empty() {
            open.roll_back().await?;
            return Ok(Outcome::Rejected(rejected));
        }
    }
    let set_aside;
    (open, set_aside) = open.write_row_by_row(tx).await?;
    if tx.dead_letters.len() + set_aside.len() > tx.options.set_aside_max {
        open.roll_back().await?;
        return Ok(Outcome::Bad([tx.dead_letters, &set_aside].concat()));
    }
    let older = open.older;
    open.note(tx, &set_aside).await?.commit().await?;
    Ok(Outcome::Committed { set_aside, older })
}

/// An open transaction in which every statement so far succeeded or was rolled back to a savepoint.
pub(super) struct Open<'s, S> {
    session: &'s mut S,
    /// How many references dangle; `None`: nobody counts them.
    dangling: Option<u64>,
    /// How many rows were left out, because the table has newer versions of them.
    pub(super) older: u64,
}

impl<'s, S: Session> Open<'s, S> {
    pub(super) async fn begin(
        session: &'s mut S,
        looks_for_dangling: bool,
    ) -> Result<Self, StoreError> {
        session.command(TransactionCommand::Begin).await.map_err(Failure::of_no_row)?;
        let dangling = if looks_for_dangling { Some(session.dangling().await?) } else { None };
        Ok(Self { session, dangling, older: 0 })
    }

    /// The session, for statements that no step has. After an error, drop the transaction.
    pub(super) fn session(&mut self) -> &mut S {
        self.session
    }

    /// Whether the database stood at the span's start; if so it now stands at the span's end.
    async fn move_offset(
        self,
        tx: &Transaction<'_>,
        span: &Span,
    ) -> Result<(Self, bool), StoreError> {
        let last = tx.last_records.iter().find(|last| last.partition == span.partition);
        let moved = self.session.move_offset(tx.scope, tx.partitions, span, last).await;
        match moved? {
            0 => Ok((self, false)),
            1 => Ok((self, true)),
            rows => Err(StoreError::Stop(format!(
                "write_behind_offsets has {rows} rows of one partition: its primary key is missing"
            ))),
        }
    }

    /// Writes the rows, or rolls everything back.
    async fn write_whole(mut self, tx: &Transaction<'_>) -> Result<Self, Failure> {
        if tx.rows.is_empty() {
            return Ok(self);
        }
        let rows: Vec<&Row<'_>> = tx.rows.iter().collect();
        match self.write(tx, &rows, false).await {
            Ok(older) => {
                self.older += older;
                Ok(self)
            }
            // The connection is in doubt: no ROLLBACK is sent, the caller drops it.
            Err(Failure::Store(error)) => Err(error.into()),
            Err(rejection) => {
                self.roll_back().await?;
                Err(rejection)
            }
        }
    }

    /// Writes the rows, or finds those that are refused, by their place.
    ///
    /// A part that fails is halved until the refused rows stand alone; the good ones stay written.
    /// So each refused row costs about 2 log2(rows) statements.
    async fn write_bisected(self, tx: &Transaction<'_>) -> Result<(Self, Vec<usize>), StoreError> {
        let rows: Vec<&Row<'_>> = tx.rows.iter().collect();
        let (open, rejected) = self.write_parts(tx, &rows, vec![(0..rows.len()).collect()]).await?;
        Ok((open, rejected.into_iter().map(|(place, _)| place).collect()))
    }

    /// Writes single records in log order, and makes dead letters of the refused ones. Records that
    /// can't be in each other's way are written together, as long as none is refused.
    pub(super) async fn write_row_by_row(
        self,
        tx: &Transaction<'_>,
    ) -> Result<(Self, Vec<DeadLetter>), StoreError> {
        let rows: Vec<&Row<'_>> = tx.row_by_row.iter().map(|(_, row)| row).collect();
        let (open, rejected) = self.write_parts(tx, &rows, runs(&rows)).await?;
        let letter = |(place, Rejection { sqlstate, reason }): (usize, Rejection)| DeadLetter {
            record: tx.row_by_row[place].0.clone(),
            reason,
            sqlstate,
        };
        Ok((open, rejected.into_iter().map(letter).collect()))
    }

    /// Writes `parts` of `rows`, by their places, in this order; takes each that is refused in two,
    /// until the refused rows stand alone.
    async fn write_parts(
        mut self,
        tx: &Transaction<'_>,
        rows: &[&Row<'_>],
        mut parts: Vec<Vec<usize>>,
    ) -> Result<(Self, Vec<(usize, Rejection)>), StoreError> {
        let mut rejected = Vec::new();
        parts.reverse();
        while let Some(part) = parts.pop() {
            let of_part: Vec<&Row<'_>> = part.iter().map(|place| rows[*place]).collect();
            if part.is_empty() {
                continue;
            }
            let outcome;
            (self, outcome) = self.attempt(tx, &of_part).await?;
            match outcome {
                Ok(()) => {}
                Err(rejection) if part.len() == 1 => rejected.push((part[0], rejection)),
                Err(_) => {
                    // The earlier half is tried first.
                    let (first, second) = in_two(tx.table, rows, &part);
                    parts.extend([second, first]);
                }
            }
        }
        rejected.sort_unstable_by_key(|(place, _)| *place);
        Ok((self, rejected))
    }

    /// Writes all of `rows`, or none of them. Those that exist are updated, never proposed as
    /// inserts: a row is refused only by the statement that would store it.
    async fn attempt(
        mut self,
        tx: &Transaction<'_>,
        rows: &[&Row<'_>],
    ) -> Result<(Self, Result<(), Rejection>), StoreError> {
        self.session.command(TransactionCommand::Savepoint).await.map_err(Failure::of_no_row)?;
        let rejection = match self.write(tx, rows, true).await {
            Ok(older) => {
                self.older += older;
                None
            }
            Err(Failure::Data(rejection)) => Some(rejection),
            // Of several rows one may be in another's way: alone each has its turn.
            Err(Failure::MissingReference(rejection))
                if tx.options.refuse_missing_references || rows.len() > 1 =>
            {
                Some(rejection)
            }
            Err(Failure::MissingReference(rejection)) => {
                return Err(StoreError::MissingReference(rejection.reason));
            }
            // A row alone can't be the same as another: with one row this is no rejection.
            Err(Failure::Twice) if rows.len() > 1 => {
                let reason = "two keys are one row to the database".to_owned();
                Some(Rejection { sqlstate: Some("21000".to_owned()), reason })
            }
            Err(failure) => return Err(failure.of_no_row()),
        };
        // Both end the savepoint: Postgres keeps each open one as a subtransaction, and thousands
        // of them slow the whole server down.
        let end = if rejection.is_some() {
            TransactionCommand::RollBackToSavepoint
        } else {
            TransactionCommand::Release
        };
        self.session.command(end).await.map_err(Failure::of_no_row)?;
        Ok((self, rejection.map_or(Ok(()), Err)))
    }

    /// Writes `rows`; says how many were left out for newer ones.
    async fn write(
        &mut self,
        tx: &Transaction<'_>,
        rows: &[&Row<'_>],
        is_part: bool,
    ) -> Result<u64, Failure> {
        let (writes, mut older) = (Writes::of(tx.table, rows), 0);
        for statement in writes.statements(tx.table, tx.options.rows_per_statement, is_part) {
            let written = self.session.write(tx.table, &statement).await?;
            older += statement.left_out(tx.table, written);
        }
        if is_part || !tx.row_by_row.is_empty() {
            // What comes next must not be blamed for what these rows violate.
            self.session.command(TransactionCommand::CheckDeferred).await?;
        }
        if let Some(before) = &mut self.dangling {
            let now = self.session.dangling().await?;
            if now > *before {
                let reason = "a row refers to one that is not there".to_owned();
                return Err(Failure::MissingReference(Rejection { sqlstate: None, reason }));
            }
            *before = now;
        }
        Ok(older)
    }

    async fn note(
        self,
        tx: &Transaction<'_>,
        set_aside: &[DeadLetter],
    ) -> Result<Self, StoreError> {
        // Before the writers are noted: one that is forgotten and writes in this batch is stored
        // again.
        for (partition, up_to) in tx.forgotten {
            positions::forget_writers(self.session, tx.scope, *partition, *up_to).await?;
        }
        if !tx.writers.is_empty() {
            self.session.note_writers(tx.scope, tx.writers).await?;
        }
        let letters: Vec<&DeadLetter> = tx.dead_letters.iter().chain(set_aside).collect();
        if !letters.is_empty() {
            self.session.set_aside(tx.scope, &letters).await?;
        }
        Ok(self)
    }

    /// Commits. An error leaves open whether the transaction was committed, and the next attempt's
    /// compare-and-set tells; except a violated constraint, which is the server's answer: it was not.
    pub(super) async fn commit(self) -> Result<(), Failure> {
        match self.session.command(TransactionCommand::Commit).await {
            Err(refused @ (Failure::MissingReference(_) | Failure::Data(_))) => {
                self.roll_back().await?;
                Err(refused)
            }
            committed => committed.map_err(|failure| failure.of_no_row().into()),
        }
    }

    pub(super) async fn roll_back(self) -> Result<&'s mut S, StoreError> {
        self.session.command(TransactionCommand::RollBack).await.map_err(Failure::of_no_row)?;
        Ok(self.session)
    }
}

/// Every session is a store.
impl<S: Session + 'static> Store for S {
    async fn init(&mut self) -> Result<(), StoreError> {
        self.create_bookkeeping().await
    }

    async fn describe(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
        self.read_catalog(table, key).await
    }

    async fn positions(
        &mut self,
        scope: &BookkeepingKey,
        partitions: &[Partition],
    ) -> Result<Vec<Position>, StoreError> {
        positions::positions(self, scope, partitions).await
    }

    async fn begin_at(
        &mut self,
        scope: &BookkeepingKey,
        at: &[Position],
    ) -> Result<(), StoreError> {
        positions::begin_at(self, scope, at).await
    }

    async fn known(&mut self, scope: &BookkeepingKey) -> Result<Vec<Known>, StoreError> {
        positions::known(self, scope).await
    }

    async fn owner(&mut self, table: &Table) -> Result<Option<BookkeepingKey>, StoreError> {
        inspect::owner(self, table).await
    }

    async fn claim(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> Result<BookkeepingKey, StoreError> {
        inspect::claim(self, table, scope).await
    }

    async fn apply(&mut self, transaction: &Transaction<'_>) -> Result<Outcome, StoreError> {
        apply(self, transaction).await
    }
}
