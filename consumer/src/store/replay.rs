//! The transaction that replays a dead letter.
//!
//! It locks the partition's offset first, as a batch's transaction does, so the two wait for each
//! other and lock in the same order. While the replay is decided, neither the offset nor another
//! letter of the partition can change. The row and the letter's state change together, and only if
//! the letter is still open: nothing is replayed twice, however many replay at once and wherever a
//! process dies.

#![allow(private_bounds, reason = "every store of a database is such a session")]

use write_behind_shared::NextOffset;

use crate::core::dead_letters::{DeadLetterState, OfRow, StoredDeadLetter};
use crate::core::record::{DeadLetter, RawRecord};
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::core::verdict::OnUncertain;
use crate::store::classify::Failure;
use crate::store::fenced::Open;
use crate::store::session::Session;
use crate::store::{StoreError, Transaction, WriteOptions, inspect, letters};

/// Where the database stands while the transaction decides.
#[derive(Clone, Debug)]
pub struct ReplayPoint {
    /// Everything below is in the database.
    pub next: NextOffset,
    /// The later letters of the same row.
    pub behind: OfRow,
}

/// What to do with a dead letter.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Write this row and close the letter: as replayed, or as superseded if the table has a newer
    /// version of the row.
    Write(Row<'static>),
    /// Close it as superseded.
    Supersede,
    /// Change nothing.
    LeaveIt,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is closed.
    Closed(DeadLetterState),
    /// The database refused it again; nothing was changed.
    Rejected(DeadLetter),
    /// It was not open any more; nothing was changed.
    NotOpen,
    /// [`Decision::LeaveIt`]: nothing was changed.
    Left,
}

/// Replays `letter` into `table`, as `decide` says.
///
/// # Errors
/// `decide`'s error, or the database's [`StoreError`]. An error at COMMIT leaves open whether the
/// letter was replayed: its state tells.
pub async fn replay<S: Session, E: From<StoreError>>(
    store: &mut S,
    table: &Table,
    letter: &StoredDeadLetter,
    decide: impl AsyncFnOnce(ReplayPoint) -> Result<Decision, E>,
) -> Result<Replayed, E> {
    let mut open = Open::begin(store, Some(table), true).await?;
    // No offset moves here, by which a batch finds it out.
    if !open.session().is_as_described(table).await? {
        open.roll_back().await?;
        return Err(StoreError::Conflict(inspect::table_changed(table)).into());
    }
    let Some(next) = letters::lock(open.session(), letter).await? else {
        open.roll_back().await?;
        let topic = &letter.scope.topic;
        let why = format!("the database does not know how far it is in {topic}");
        return Err(StoreError::Stop(why).into());
    };
    let behind = letters::behind(open.session(), letter).await?;
    let decision = match decide(ReplayPoint { next, behind }).await {
        Ok(decision) => decision,
        Err(error) => {
            open.roll_back().await?;
            return Err(error);
        }
    };
    let state = match decision {
        Decision::LeaveIt => {
            open.roll_back().await?;
            return Ok(Replayed::Left);
        }
        Decision::Supersede => DeadLetterState::Superseded,
        Decision::Write(row) => {
            let row_by_row = [(letter.dead_letter.record.clone(), row)];
            let mut rejected;
            (open, rejected) = open.write_row_by_row(&of_one(table, letter, &row_by_row)).await?;
            if let Some(rejected) = rejected.pop() {
                open.roll_back().await?;
                return Ok(Replayed::Rejected(rejected));
            }
            // The table has a newer version, and the row was left out.
            if open.wrote.older > 0 {
                DeadLetterState::Superseded
            } else {
                DeadLetterState::Replayed
            }
        }
    };
    // Last, and under the partition's lock: two replays of one letter come here one after the
    // other, and the second finds it closed and rolls its row back.
    if !letters::close(open.session(), letter, state).await? {
        open.roll_back().await?;
        return Ok(Replayed::NotOpen);
    }
    open.commit().await.map_err(Failure::of_no_row)?;
    Ok(Replayed::Closed(state))
}

/// A transaction that moves no offset, and writes one record alone.
fn of_one<'a>(
    table: &'a Table,
    letter: &'a StoredDeadLetter,
    row_by_row: &'a [(RawRecord, Row<'static>)],
) -> Transaction<'a> {
    let options = WriteOptions {
        rows_per_statement: 1,
        set_aside_max: usize::MAX,
        refuse_missing_references: true,
        on_uncertain: OnUncertain::SetAside,
        in_log_order: true,
        folds_records: false,
    };
    Transaction { row_by_row, ..Transaction::moving(&letter.scope, 0, &[], table, options) }
}
