//! The transaction of a hand-over. It changes the bookkeeping alone, and only if the database
//! stands where the plan was made for.

use write_behind_shared::{NextOffset, Partition};

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::hand_over::HandOver;
use crate::core::table::Table;
use crate::store::classify::Failure;
use crate::store::fenced::Open;
use crate::store::statement::{Statement, Statements};
use crate::store::{AnyStore, Position, StoreError, claims, positions};

/// The tables with the places of a pipeline's records.
const PLACES: [&str; 5] = [
    "write_behind_offsets",
    "write_behind_writers",
    "write_behind_last_records",
    "write_behind_dead_letter_copies",
    DEAD_LETTERS,
];
const DEAD_LETTERS: &str = "write_behind_dead_letters";

/// Does what was planned.
///
/// # Errors
/// [`StoreError::Refused`], if the offsets have moved since. An error at COMMIT leaves open whether
/// it was done; doing it again is safe.
pub async fn hand_over(
    store: &mut AnyStore,
    table: &Table,
    plan: &HandOver,
) -> Result<(), StoreError> {
    let HandOver { from, to, partitions, .. } = plan;
    let mut open = Open::begin(store, None, false).await?;
    if !stands(open.session(), plan).await? {
        open.roll_back().await?;
        return Err(StoreError::Refused(
            "the offsets have just moved: a consumer is running. End it, and try again".to_owned(),
        ));
    }
    let session = open.session();
    match &plan.begins {
        None if from == to => {}
        None => {
            for places in PLACES {
                forget(session, places, to).await?;
                rename(session, places, from, to).await?;
            }
        }
        Some(begins) => {
            for places in PLACES {
                forget(session, places, to).await?;
                // The letters of another topic still tell what was wrong with its records.
                if places != DEAD_LETTERS {
                    forget(session, places, from).await?;
                }
            }
            begin_at(session, plan, begins).await?;
        }
    }
    begin_at(session, plan, &plan.moves).await?;
    for (partition, next) in &plan.moves {
        let go_to = Statement::new(session.dialect(), &[])
            .add("UPDATE write_behind_offsets SET next_offset = ?", [next.0.into()])
            .of_partition(to, *partition);
        session.perform(go_to).await?;
    }
    let count = Statement::new(session.dialect(), &[])
        .add("UPDATE write_behind_offsets SET partitions = ?", [i64::from(*partitions).into()])
        .of_topic(to);
    session.perform(count).await?;
    claims::replace(session, table, from, to).await?;
    open.commit().await.map_err(Failure::of_no_row)
}

/// Inserts where partitions begin of which the database knows nothing.
async fn begin_at<S: Statements>(
    session: &mut S,
    plan: &HandOver,
    begins: &[(Partition, NextOffset)],
) -> Result<(), StoreError> {
    let begins = begins.iter().map(|(partition, next)| Position {
        partition: *partition,
        next: *next,
        partitions: plan.partitions,
        writers: Vec::new(),
    });
    positions::begin_at(session, &plan.to, &begins.collect::<Vec<_>>()).await
}

/// Whether the database stands where the plan says, in every partition. Locks their offsets.
async fn stands<S: Statements>(session: &mut S, plan: &HandOver) -> Result<bool, StoreError> {
    for (partition, next) in &plan.seen {
        let lock = Statement::new(session.dialect(), &[])
            .add("UPDATE write_behind_offsets SET updated_at = CURRENT_TIMESTAMP", [])
            .of_partition(&plan.from, *partition)
            .add(" AND next_offset = ?", [next.0.into()]);
        if session.perform(lock).await? != 1 {
            return Ok(false);
        }
    }
    let known = positions::known(session, &plan.from).await?;
    Ok(known.len() == plan.seen.len())
}

async fn forget<S: Statements>(
    session: &mut S,
    places: &str,
    scope: &BookkeepingKey,
) -> Result<(), StoreError> {
    let delete = format!("DELETE FROM {places}");
    let statement = Statement::new(session.dialect(), &[]).add(&delete, []).of_topic(scope);
    session.perform(statement).await.map(|_| ())
}

async fn rename<S: Statements>(
    session: &mut S,
    places: &str,
    from: &BookkeepingKey,
    to: &BookkeepingKey,
) -> Result<(), StoreError> {
    let update = format!("UPDATE {places} SET pipeline = ?, cluster = ?, topic = ?");
    let statement = Statement::new(session.dialect(), &[]).add(&update, to.values()).of_topic(from);
    session.perform(statement).await.map(|_| ())
}
