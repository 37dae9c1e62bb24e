//! The claim on a table: it makes a table the route's own, unless another topic's records go there
//! or the topic's offsets speak of another table.

use crate::apply::Target;
use crate::core::claim::{ClaimFacts, ClaimVerdict, judge_claim};
use crate::core::table::Table;
use crate::store::{Store, StoreError};

/// Claims the table of `target`.
///
/// # Errors
/// [`StoreError::Refused`], if the route may not write to it; [`StoreError::Stop`], if it is missing,
/// or its key or a column is unusable.
pub async fn claim<S: Store>(store: &mut S, target: &Target) -> Result<Table, StoreError> {
    let table = target.describe(store).await?;
    if judged(store, target, &table).await? == ClaimVerdict::Ours {
        return Ok(table);
    }
    store.note_claim(&table, &target.scope).await?;
    // Judged again, because two consumers may note their claims at once and one of them wins.
    match judged(store, target, &table).await? {
        ClaimVerdict::Ours => Ok(table),
        _ => {
            Err(StoreError::Unavailable("another consumer has just given the table up".to_owned()))
        }
    }
}

/// The verdict on the claim of `target` on its `table`. Changes nothing.
///
/// # Errors
/// [`StoreError::Refused`], if the route may not write to it.
pub async fn judged<S: Store>(
    store: &mut S,
    target: &Target,
    table: &Table,
) -> Result<ClaimVerdict, StoreError> {
    let scope = &target.scope;
    let claims = store.claims(table, scope).await?;
    let known = store.known(scope).await?;
    let next: Vec<_> = known.iter().map(|known| (known.partition, known.next)).collect();
    let name = &*target.table;
    let facts = ClaimFacts { name, table, scope, claims: &claims, next: &next, is_empty: None };
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
