//! The transaction that replays a dead letter: takes the letter and what decides about it, gives what
//! became of it.
//!
//! It takes the partition's lock first, as the consumer's own transaction does, so the two wait for
//! each other and never lock in another order; what is decided is decided while neither the offset
//! nor another letter of the partition can change. The row and the letter's state change together:
//! only a letter that is still open is closed, or everything is rolled back, so nothing is replayed
//! twice, whoever replays at once and wherever a process dies.

use write_behind_shared::NextOffset;

use crate::core::dead_letters::{DeadLetterState, OfRow, StoredDeadLetter};
use crate::core::record::DeadLetter;
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::store::classify::Failure;
use crate::store::fenced::Open;
use crate::store::{AnyStore, StoreError, Transaction, WriteOptions, letters};

/// Where the database stands while the transaction decides.
#[derive(Clone, Debug)]
pub struct ReplayPoint {
    /// Everything below is in the database.
    pub next: NextOffset,
    /// The letters of the same row behind this one.
    pub behind: OfRow,
}

/// What to do with a letter.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Write this, and close the letter as replayed; or as superseded, if the row has a newer version.
    Write(Row<'static>),
    /// Close it as superseded.
    Supersede,
    /// Nothing: let the partition go.
    LeaveIt,
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is closed.
    Closed(DeadLetterState),
    /// The database refuses it again; nothing was changed.
    Rejected(DeadLetter),
    /// It was not open any more; nothing was changed.
    NotOpen,
    /// As decided, nothing was changed.
    Left,
}

/// Replays `letter` into `table`, as `decide` says.
///
/// # Errors
/// What `decide` fails with; [`StoreError`] of the database, of which one at COMMIT leaves open
/// whether it was done: the letter's state tells.
pub async fn replay<E: From<StoreError>>(
    store: &mut AnyStore,
    table: &Table,
    letter: &StoredDeadLetter,
    decide: impl AsyncFnOnce(ReplayPoint) -> Result<Decision, E>,
) -> Result<Replayed, E> {
    let mut open = Open::begin(store, true).await?;
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
            // A row of a newer version was left as it is.
            if open.older > 0 { DeadLetterState::Superseded } else { DeadLetterState::Replayed }
        }
    };
    if !letters::close(open.session(), letter, state).await? {
        open.roll_back().await?;
        return Ok(Replayed::NotOpen);
    }
    open.commit().await.map_err(Failure::of_no_row)?;
    Ok(Replayed::Closed(state))
}

/// A transaction that moves no offset and writes one record alone.
fn of_one<'a>(
    table: &'a Table,
    letter: &'a StoredDeadLetter,
    row_by_row: &'a [(crate::core::record::RawRecord, Row<'static>)],
) -> Transaction<'a> {
    Transaction {
        scope: &letter.scope,
        partitions: 0,
        spans: &[],
        table,
        rows: &[],
        row_by_row,
        dead_letters: &[],
        last_records: &[],
        writers: &[],
        forgotten: &[],
        options: WriteOptions {
            rows_per_statement: 1,
            set_aside_max: usize::MAX,
            refuse_missing_references: true,
        },
    }
}
