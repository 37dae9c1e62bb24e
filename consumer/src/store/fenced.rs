//! The fenced transaction, over any session: it moves the offsets, writes the rows, stores what was
//! set aside and commits; or it changes nothing.
//!
//! Every step consumes the [`Open`] transaction and returns it only on success. So a transaction
//! that met an error cannot be committed: nothing is left to commit it with. (Postgres answers a
//! COMMIT of a failed transaction with success, and the rows are gone.)
//!
//! INV-6: the offset moves first, from its start to its end, by exactly one row or not at all.
//! INV-12: a transaction in which a statement failed cannot be committed.

use crate::core::batch::Span;
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::core::verdict::{self, OnUncertain};
use crate::core::writes::Writes;
use crate::store::bookkeeping::Spelling;
use crate::store::classify::{Failure, Rejection};
use crate::store::session::{Session, TransactionCommand};
use crate::store::{Outcome, StoreError, Transaction, codes, inspect, positions};

/// How the rows are tried. Nearly every batch is accepted whole, and each savepoint costs two round
/// trips, so savepoints are set only once the database has refused something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WriteMode {
    /// All together. A refusal rolls back the transaction.
    Whole,
    /// In parts, if any of a few rows can be written alone.
    Sample,
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
            Err(Failure::Data(rejection)) if is_out_of_turn(tx, &rejection) => {
                return Ok(Outcome::OutOfTurn);
            }
            Err(Failure::Data(_) | Failure::Twice) if mode < WriteMode::Bisect => WriteMode::Bisect,
            Err(Failure::Uncertain(rejection)) if tx.options.on_uncertain == OnUncertain::Fail => {
                return Err(rejection.uncertain());
            }
            Err(Failure::Uncertain(_)) if mode == WriteMode::Whole => WriteMode::Sample,
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
    let mut open = Open::begin(session, Some(tx.table), mode == WriteMode::CheckReferences).await?;
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
            return not_moved(session, tx, span).await.map_err(Failure::Store);
        }
    }
    if mode == WriteMode::Sample && tx.options.on_uncertain == OnUncertain::TakeApart {
        let doubt;
        (open, doubt) = open.sample(tx).await?;
        if let Some(doubt) = doubt {
            open.roll_back().await?;
            return Ok(Outcome::Doubtful(doubt.code().to_owned()));
        }
    }
    if mode == WriteMode::Whole {
        open = open.write_whole(tx).await?;
    } else {
        let rejected;
        (open, rejected) = open.write_bisected(tx).await?;
        if open.is_out_of_turn {
            open.roll_back().await?;
            return Ok(Outcome::OutOfTurn);
        }
        if !rejected.is_empty() {
            open.roll_back().await?;
            return Ok(Outcome::Rejected(rejected));
        }
    }
    let set_aside;
    (open, set_aside) = open.write_all_row_by_row(tx).await?;
    let Ok(set_aside) = set_aside else {
        open.roll_back().await?;
        return Ok(Outcome::Unread);
    };
    if let Some(column) = open.demanded {
        open.roll_back().await?;
        return Ok(Outcome::Demanded(column));
    }
    if open.is_out_of_turn {
        open.roll_back().await?;
        return Ok(Outcome::OutOfTurn);
    }
    if let Some(doubt) = open.doubt.take()
        && !verdict::are_bad(tx.options.on_uncertain, open.wrote.has_written)
    {
        open.roll_back().await?;
        return Ok(Outcome::Doubtful(doubt.code().to_owned()));
    }
    if tx.dead_letters.len() + set_aside.len() > tx.options.set_aside_max {
        open.roll_back().await?;
        return Ok(Outcome::Bad([tx.dead_letters, &set_aside].concat()));
    }
    let Wrote { older, has_written } = open.wrote;
    open.note(tx, &set_aside).await?.commit().await?;
    Ok(Outcome::Committed { set_aside, older, has_written })
}

/// Whether a row was refused for what another row has, and the two may be out of their order.
pub(super) fn is_out_of_turn(tx: &Transaction<'_>, rejection: &Rejection) -> bool {
    !tx.options.in_log_order && codes::is_taken(rejection.code())
}

/// What statements made of rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wrote {
    /// How many were left out, because the table has newer versions of them.
    pub(super) older: u64,
    /// Whether one was written.
    pub(super) has_written: bool,
}

impl Wrote {
    pub(super) fn add(&mut self, more: Wrote) {
        self.older += more.older;
        self.has_written |= more.has_written;
    }
}

/// Why the offset of a span did not move.
async fn not_moved<S: Session>(
    session: &mut S,
    tx: &Transaction<'_>,
    span: &Span,
) -> Result<Outcome, StoreError> {
    let found = positions::next_offsets(session, tx.scope, tx.spans).await?;
    let of_it = tx.spans.iter().zip(&found).find(|(one, _)| one.partition == span.partition);
    // The offset is where it was, so the table is not what it was.
    if of_it.is_some_and(|(_, next)| *next == Some(span.start)) {
        return Err(StoreError::Stop(inspect::table_changed(tx.table)));
    }
    Ok(Outcome::Fenced(found))
}

/// An open transaction in which every statement so far succeeded or was rolled back to a savepoint.
pub(super) struct Open<'s, S> {
    pub(super) session: &'s mut S,
    /// How many references dangle; `None`: nobody counts them.
    dangling: Option<u64>,
    /// What was written so far, and stays written.
    pub(super) wrote: Wrote,
    /// The first record that was refused alone with a code that says nothing certain.
    pub(super) doubt: Option<Rejection>,
    /// Whether a row was refused that may have been out of its turn.
    pub(super) is_out_of_turn: bool,
    /// A newly required column that a refused record lacks.
    pub(super) demanded: Option<usize>,
}

impl<'s, S: Session> Open<'s, S> {
    pub(super) async fn begin(
        session: &'s mut S,
        table: Option<&Table>,
        looks_for_dangling: bool,
    ) -> Result<Self, StoreError> {
        let begun = match table {
            Some(table) => session.begin(table).await,
            None => session.command(TransactionCommand::Begin).await,
        };
        begun.map_err(Failure::of_no_row)?;
        let dangling = if looks_for_dangling { Some(session.dangling().await?) } else { None };
        let (wrote, doubt, is_out_of_turn, demanded) = (Wrote::default(), None, false, None);
        Ok(Self { session, dangling, wrote, doubt, is_out_of_turn, demanded })
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
        let moved = self.session.move_offset(tx, span, last).await;
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
            Ok(wrote) => {
                self.wrote.add(wrote);
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

    /// Writes `rows`.
    pub(super) async fn write(
        &mut self,
        tx: &Transaction<'_>,
        rows: &[&Row<'_>],
        is_part: bool,
    ) -> Result<Wrote, Failure> {
        let wrote = self.run_statements(tx, rows, is_part).await?;
        let then: Vec<Row<'_>> = rows.iter().filter_map(|row| row.then(tx.table)).collect();
        if !then.is_empty() {
            // Only now: the database has judged the values that these increments build on (INV-16).
            // A row that was left out for a newer one is left out again, and counted already.
            self.run_statements(tx, &then.iter().collect::<Vec<_>>(), is_part).await?;
        }
        if is_part || !tx.row_by_row.is_empty() || tx.more_records.is_some() {
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
        Ok(wrote)
    }

    /// Runs the statements that write `rows`.
    async fn run_statements(
        &mut self,
        tx: &Transaction<'_>,
        rows: &[&Row<'_>],
        is_part: bool,
    ) -> Result<Wrote, Failure> {
        let (writes, mut wrote) = (Writes::of(tx.table, rows), Wrote::default());
        for statement in writes.statements(tx.table, tx.options.rows_per_statement, is_part) {
            let written = self.session.write(tx.table, &statement).await?;
            wrote.add(Wrote {
                older: statement.left_out(tx.table, written),
                has_written: statement.has_written(tx.table, written),
            });
        }
        Ok(wrote)
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
        if letters.is_empty() { Ok(self) } else { self.set_aside(tx, &letters).await }
    }

    /// Stores letters: in ASCII if the database's encoding lacks a character that a record or a
    /// message has. A letter that can't be stored would stop its route for ever.
    async fn set_aside(
        mut self,
        tx: &Transaction<'_>,
        letters: &[&DeadLetter],
    ) -> Result<Self, StoreError> {
        self.session.command(TransactionCommand::Savepoint).await.map_err(Failure::of_no_row)?;
        let stored = self.session.set_aside(tx.scope, letters, Spelling::AsTheyAre).await;
        let refused = matches!(stored, Err(Failure::Data(_) | Failure::Uncertain(_)));
        if !refused {
            stored.map_err(Failure::of_no_row)?;
        }
        self.end_savepoint(!refused).await?;
        if refused {
            let stored = self.session.set_aside(tx.scope, letters, Spelling::Ascii).await;
            stored.map_err(Failure::of_no_row)?;
        }
        Ok(self)
    }

    /// Commits. An error leaves open whether the transaction was committed, and the next attempt's
    /// compare-and-set tells; except a violated constraint, which is the server's answer: it was not.
    pub(super) async fn commit(self) -> Result<(), Failure> {
        match self.session.command(TransactionCommand::Commit).await {
            Err(
                refused @ (Failure::MissingReference(_) | Failure::Data(_) | Failure::Uncertain(_)),
            ) => {
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
