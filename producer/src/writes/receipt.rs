//! Receipt of an accepted write, to wait for or to drop.

use std::sync::Arc;
use std::time::Duration;

use crate::core::journaled::Position;
use crate::core::ledger::Sequence;
use crate::error::DeliveryError;
use crate::partitions::partition::{SharedPending, Stage};
use crate::partitions::sync;

/// How a write was accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) sequence: Sequence,
    /// Its position in the journal, if the handle has one.
    #[cfg_attr(not(feature = "journal"), expect(dead_code, reason = "there is no journal"))]
    pub(crate) position: Option<Position>,
}

/// An accepted write: reads see it already.
///
/// It may be dropped: the write goes on. Waiting may be cancelled (`select!`, a timeout) without
/// unsending anything, and may be done later, twice, or never.
#[derive(Clone)]
pub struct Receipt {
    pub(crate) pending: Arc<SharedPending>,
    pub(crate) sequence: Sequence,
    /// Where it stands in the journal, if the handle has one.
    #[cfg(feature = "journal")]
    position: Option<Position>,
}

impl Receipt {
    /// Of a write that was accepted so.
    pub(crate) fn new(pending: &Arc<SharedPending>, accepted: Accepted) -> Self {
        let pending = Arc::clone(pending);
        Self {
            pending,
            sequence: accepted.sequence,
            #[cfg(feature = "journal")]
            position: accepted.position,
        }
    }

    /// Waits until the journal has the write ([`Builder::journal`](crate::Builder::journal)): from
    /// here on it survives what the journal [`survives`](crate::Journal::survives), and reaches Kafka
    /// though this process ends.
    ///
    /// # Errors
    /// [`DeliveryError::NotRecorded`]: the journal ended before, the handle was closed, or it has
    /// none.
    #[cfg(feature = "journal")]
    pub async fn recorded(&self) -> Result<(), DeliveryError> {
        match (&self.pending.journal, self.position) {
            (Some(journal), Some(position)) => journal.wait(position + 1).await,
            _ => Err(DeliveryError::NotRecorded("the handle has no journal".into())),
        }
    }

    /// Waits until all in-sync replicas of its partition have the write: from here on no crash
    /// of this process or of a broker loses it.
    ///
    /// # Errors
    /// [`DeliveryError`]: how it ended instead.
    pub async fn replicated(&self) -> Result<(), DeliveryError> {
        self.pending.pass(Stage::Replicated, self.sequence..self.sequence + 1).await
    }

    /// Waits until the database has the write, that is, until the consumer group has committed an
    /// offset past it.
    ///
    /// The group's offset passes a write that the database refused, too. A loader that knows of dead
    /// letters, as the table loaders do, tells them apart: [`DeliveryError::DeadLetter`]. Without such
    /// a loader this returns `Ok` for a refused row, and reads here go on showing it.
    ///
    /// # Errors
    /// [`DeliveryError`]: how it ended instead.
    pub async fn persisted(&self) -> Result<(), DeliveryError> {
        self.pending.pass(Stage::Persisted, self.sequence..self.sequence + 1).await
    }

    /// Like [`replicated`](Self::replicated), for no longer than `timeout`.
    ///
    /// # Errors
    /// [`DeliveryError`]; with [`DeliveryError::TimedOut`] it is still under way.
    pub async fn replicated_within(&self, timeout: Duration) -> Result<(), DeliveryError> {
        within(timeout, self.replicated()).await
    }

    /// Like [`persisted`](Self::persisted), for no longer than `timeout`.
    ///
    /// # Errors
    /// [`DeliveryError`]; with [`DeliveryError::TimedOut`] it is still under way.
    pub async fn persisted_within(&self, timeout: Duration) -> Result<(), DeliveryError> {
        within(timeout, self.persisted()).await
    }

    /// Waits until all of these writes are [`replicated`](Self::replicated).
    ///
    /// # Errors
    /// [`DeliveryError`]: how the first of them that is not ended.
    pub async fn all_replicated(receipts: &[Self]) -> Result<(), DeliveryError> {
        for receipt in receipts {
            receipt.replicated().await?;
        }
        Ok(())
    }

    /// Waits until all of these writes are [`persisted`](Self::persisted).
    ///
    /// # Errors
    /// [`DeliveryError`]: how the first of them that is not ended.
    pub async fn all_persisted(receipts: &[Self]) -> Result<(), DeliveryError> {
        for receipt in receipts {
            receipt.persisted().await?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Receipt {
    /// Where it stands and how far it is, without any row: a log line of it tells no data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Receipt");
        #[cfg(feature = "journal")]
        shown.field("position", &self.position);
        shown
            .field("partition", &self.pending.partition.0)
            .field("sequence", &self.sequence)
            .field("replicated", &self.pending.has_passed(Stage::Replicated, self.sequence))
            .field("persisted", &self.pending.has_passed(Stage::Persisted, self.sequence))
            .finish()
    }
}

pub(crate) async fn within(
    timeout: Duration,
    passed: impl Future<Output = Result<(), DeliveryError>>,
) -> Result<(), DeliveryError> {
    sync::timeout(timeout, passed).await.unwrap_or(Err(DeliveryError::TimedOut))
}
