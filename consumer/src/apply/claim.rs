//! Claims a table for a route, unless another topic already writes it or the topic's offsets belong
//! to another table.

use crate::apply::Target;
use crate::core::claim::{ClaimFacts, ClaimVerdict, judge_claim};
use crate::core::table::Table;
use crate::store::{Store, StoreError};

/// Claims the table of `target` for a route that starts.
///
/// # Errors
/// [`StoreError::Refused`], if the route may not write to it; [`StoreError::Stop`], if it is missing,
/// or its key or a column is unusable.
pub async fn claim<S: Store>(store: &mut S, target: &Target) -> Result<Table, StoreError> {
    claimed(store, target, false).await
}

/// Claims it for a running route, which only certain evidence may stop.
///
/// # Errors
/// As [`claim`].
pub async fn claim_again<S: Store>(store: &mut S, target: &Target) -> Result<Table, StoreError> {
    claimed(store, target, true).await
}

async fn claimed<S: Store>(
    store: &mut S,
    target: &Target,
    is_running: bool,
) -> Result<Table, StoreError> {
    let table = target.describe(store).await?;
    match verdict(store, target, &table, is_running).await? {
        ClaimVerdict::Ours => return Ok(table),
        // Noted below, so told once.
        ClaimVerdict::NoteEmptied(emptied) => {
            tracing::warn!(topic = %target.scope.topic, table = %target.table, "{}", emptied.warning());
        }
        _ => {}
    }
    store.note_claim(&table, &target.scope).await?;
    // Judged again, because two consumers may note their claims at once and one of them wins.
    match verdict(store, target, &table, is_running).await? {
        ClaimVerdict::Ours => Ok(table),
        _ => {
            Err(StoreError::Unavailable("another consumer has just given the table up".to_owned()))
        }
    }
}

/// The verdict on the claim of `target`, which starts, on its `table`. Changes nothing.
///
/// # Errors
/// [`StoreError::Refused`], if the route may not write to it.
pub async fn judged<S: Store>(
    store: &mut S,
    target: &Target,
    table: &Table,
) -> Result<ClaimVerdict, StoreError> {
    verdict(store, target, table, false).await
}

/// The same for a route that is at work.
pub(super) async fn judged_again<S: Store>(
    store: &mut S,
    target: &Target,
    table: &Table,
) -> Result<(), StoreError> {
    verdict(store, target, table, true).await.map(|_| ())
}

async fn verdict<S: Store>(
    store: &mut S,
    target: &Target,
    table: &Table,
    is_running: bool,
) -> Result<ClaimVerdict, StoreError> {
    let scope = &target.scope;
    let claims = store.claims(table, scope).await?;
    let known = store.known(scope).await?;
    let next: Vec<_> = known.iter().map(|known| (known.partition, known.next)).collect();
    let (name, claims, is_empty) = (&*target.table, &claims[..], None);
    let facts = ClaimFacts { name, table, scope, claims, next: &next, is_empty, is_running };
    let mut verdict = judge_claim(&facts);
    if verdict == ClaimVerdict::AskWhetherEmpty {
        let is_empty = Some(store.is_empty(table).await?);
        verdict = judge_claim(&ClaimFacts { is_empty, ..facts });
    }
    match verdict {
        ClaimVerdict::Refuse(refusal) => Err(StoreError::Refused(refusal.to_string())),
        verdict => Ok(verdict),
    }
}
