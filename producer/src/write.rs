//! The ticket of an accepted write, to wait on or to drop.

use std::sync::Arc;

use crate::error::DeliveryError;
use crate::lanes::{SharedLane, Stage};
use crate::ledger::Ticket;

/// An accepted write: reads see it already.
///
/// It may be dropped: the write goes on. Waiting may be cancelled (`select!`, a timeout) without
/// unsending anything, and may be done later, twice, or never.
#[derive(Clone, Debug)]
pub struct Write {
    pub(crate) lane: Arc<SharedLane>,
    pub(crate) ticket: Ticket,
}

impl Write {
    /// Waits until all in-sync replicas of its partition have the write: from here on no crash
    /// of this process or of a broker loses it.
    ///
    /// # Errors
    /// [`DeliveryError`]: how it ended instead.
    pub async fn replicated(&self) -> Result<(), DeliveryError> {
        self.lane.pass(Stage::Replicated, self.ticket..self.ticket + 1).await
    }

    /// Waits until the database has the write, that is, until the consumer group has committed an
    /// offset past it.
    ///
    /// # Errors
    /// [`DeliveryError`]: how it ended instead.
    pub async fn persisted(&self) -> Result<(), DeliveryError> {
        self.lane.pass(Stage::Persisted, self.ticket..self.ticket + 1).await
    }
}
