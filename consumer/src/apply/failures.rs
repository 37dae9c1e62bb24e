//! The failed attempts to write one batch.

use std::time::Duration;

use crate::apply::log::RereadError;
use crate::apply::retry::WriteError;
use crate::core::verdict::Failing;
use crate::store::StoreError;

/// The failed attempts of one batch so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    /// How many, whatever they were.
    pub(super) retries: u32,
    /// How many asked too much of the database.
    pub(super) saturated: u32,
    /// How many were refusals with an uncertain code.
    pub(super) refused: u32,
    since: Option<Duration>,
}

/// Whose failure it is that a batch can't be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// No batch could be written now.
    Connection,
    /// The batch's own, for this reason.
    Batch(String),
    /// The batch's own, for this reason, if the database takes other writes.
    AskDatabase(String),
}

impl Failures {
    /// An attempt failed.
    pub(super) fn failed(&mut self, now: Duration, error: &WriteError) {
        self.since.get_or_insert(now);
        self.retries += 1;
        self.saturated += u32::from(matches!(error, WriteError::Store(StoreError::Saturated(_))));
        self.refused += u32::from(matches!(error, WriteError::Store(StoreError::Uncertain(_))));
    }

    /// How the batch fails.
    pub(super) fn failing(&self, now: Duration, given_back: bool, shrinks: bool) -> Failing {
        let lasts = self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        Failing { failures: self.retries, lasts, given_back, shrinks }
    }
}

impl Cause {
    /// The cause of a failure that a batch keeps meeting.
    pub(super) fn of(error: &WriteError) -> Self {
        match error {
            WriteError::Connect(_) => Cause::Connection,
            WriteError::Store(StoreError::Conflict(why)) => Cause::Batch(why.clone()),
            WriteError::Store(StoreError::Unavailable(why) | StoreError::Saturated(why)) => {
                Cause::AskDatabase(format!(
                    "its records can't be written, though the database takes other writes: {why}"
                ))
            }
            WriteError::Store(error) => Cause::AskDatabase(error.to_string()),
            WriteError::Log(RereadError::Unavailable(_) | RereadError::Stop(_)) => {
                Cause::Batch(error.to_string())
            }
        }
    }
}
