//! The claim on a table: it makes a table the route's own, unless another topic's records go there.

use crate::apply::Target;
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::store::{Store, StoreError};

/// Claims the table of `target`, or returns why the route may not write to it.
///
/// # Errors
/// [`StoreError::Stop`], if the table is missing, or its key or a column is unusable.
pub(crate) async fn claim<S: Store>(
    store: &mut S,
    target: &Target,
) -> Result<Option<String>, StoreError> {
    let table = target.describe(store).await?;
    // Ask before claiming, so that a start needs no lock once the table is claimed.
    let owner = match store.owner(&table).await? {
        Some(owner) => owner,
        None => store.claim(&table, &target.scope).await?,
    };
    Ok(not_its_table(target, &owner))
}

/// Why `target` may not write its table, if another topic owns it.
pub(crate) fn not_its_table(target: &Target, owner: &BookkeepingKey) -> Option<String> {
    let BookkeepingKey { pipeline, cluster, topic } = owner;
    (*owner != target.scope).then(|| {
        format!(
            "table {} is written by the pipeline {pipeline:?} from topic {topic:?} of cluster \
             {cluster:?}: two logs have no order between them. Give this route a table of its own; \
             or, when the other pipeline has ended for good, hand the table over by deleting its row \
             from write_behind_tables",
            target.table
        )
    })
}
