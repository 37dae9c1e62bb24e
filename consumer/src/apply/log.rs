//! The log as workers need it: some rows' records, read a second time.

use std::sync::Arc;

use crate::core::batch::{Span, WantedKeys};
use crate::core::record::RawRecord;

/// Why records could not be read again.
#[derive(Debug, thiserror::Error)]
pub enum RereadError {
    /// A passing failure: try again.
    #[error("the log can't be read again: {0}")]
    Unavailable(String),
    /// A person must act.
    #[error("{0}")]
    Stop(String),
}

/// Records read again, no more than memory may hold at once.
#[derive(Debug)]
pub struct RereadPart {
    /// The records, in log order within a partition.
    pub records: Vec<RawRecord>,
    /// What is left of the spans.
    pub rest: Vec<Span>,
}

/// A log that can be read again.
pub trait Log: Send + Sync + 'static {
    /// The first records of the `wanted` keys in `spans`: at least one, if there is one.
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// [`RereadError`]. A success has skipped no record of the spans before their rest.
    fn records(
        &self,
        topic: Arc<str>,
        spans: Vec<Span>,
        wanted: Arc<WantedKeys>,
    ) -> impl Future<Output = Result<RereadPart, RereadError>> + Send;
}

pub(crate) fn gone(topic: &str) -> RereadError {
    RereadError::Stop(format!(
        "records of {topic} that the database refuses are no longer in the log, so they can't be \
         told from the good ones around them; keep records longer than the database may be down \
         (`retention.ms`)"
    ))
}
