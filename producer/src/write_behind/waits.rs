//! The calls that wait for all writes of a handle.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WriteBehind;
use crate::error::DeliveryError;
use crate::partitions::partition::Stage;
use crate::writes::receipt::within;

impl<K, V> WriteBehind<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    /// Waits until every write accepted before this call is replicated, without a time limit. May
    /// be cancelled.
    ///
    /// # Errors
    /// [`DeliveryError`]: one of them was lost, or an earlier one that no call has told of yet, or
    /// the handle was closed. It is the first such loss, and all others count as told too; each is
    /// an [`Event`](crate::Event).
    pub async fn replicated_all(&self) -> Result<(), DeliveryError> {
        self.owner.pass(Stage::Replicated).await
    }

    /// Like [`replicated_all`](Self::replicated_all), for no longer than `timeout`.
    ///
    /// # Errors
    /// As of [`replicated_all`](Self::replicated_all); with [`DeliveryError::TimedOut`] the writes
    /// are still under way, and no loss counts as told.
    pub async fn replicated_all_within(&self, timeout: Duration) -> Result<(), DeliveryError> {
        within(timeout, self.replicated_all()).await
    }

    /// Waits until the journal has every write accepted before this call
    /// ([`Builder::journal`](crate::Builder::journal)).
    ///
    /// # Errors
    /// [`DeliveryError::NotRecorded`]: the journal ended before, the handle was closed, or it has
    /// none.
    #[cfg(feature = "journal")]
    pub async fn recorded_all(&self) -> Result<(), DeliveryError> {
        match &self.owner.partitions.journal {
            Some(journal) => journal.wait(journal.next()).await,
            None => Err(DeliveryError::NotRecorded("the handle has no journal".into())),
        }
    }

    /// Waits until every write accepted before this call is in the database, without a time limit.
    /// May be cancelled.
    ///
    /// # Errors
    /// As of [`replicated_all`](Self::replicated_all).
    pub async fn persisted_all(&self) -> Result<(), DeliveryError> {
        self.owner.pass(Stage::Persisted).await
    }

    /// Like [`persisted_all`](Self::persisted_all), for no longer than `timeout`.
    ///
    /// # Errors
    /// As of [`replicated_all_within`](Self::replicated_all_within).
    pub async fn persisted_all_within(&self, timeout: Duration) -> Result<(), DeliveryError> {
        within(timeout, self.persisted_all()).await
    }

    /// Another name of [`persisted_all`](Self::persisted_all), as caches have it. A Kafka producer's
    /// `flush` is [`replicated_all`](Self::replicated_all).
    ///
    /// # Errors
    /// As of [`replicated_all`](Self::replicated_all).
    pub async fn flush(&self) -> Result<(), DeliveryError> {
        self.persisted_all().await
    }

    /// Another name of [`persisted_all_within`](Self::persisted_all_within).
    ///
    #[cfg_attr(feature = "testing", doc = "```")]
    #[cfg_attr(not(feature = "testing"), doc = "```ignore")]
    /// # use write_behind_producer::{WriteBehind, testing};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Score { points: i64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = testing::Broker::start()?.topic("scores", 1)?;
    /// # let database = kafka.sink("scores", "scores-writer")?;
    /// # let scores = WriteBehind::<String, Score>::builder("scores", kafka.properties())
    /// #     .sink_group("scores-writer").loader(database.loader()).build().await?;
    /// scores.put("ada", &Score { points: 1 }).await?;
    /// # scores.replicated_all().await?;
    /// # database.apply_all()?;
    /// scores.flush_within(std::time::Duration::from_secs(60)).await?;   // the database has it
    /// let stats = scores.stats();
    /// assert!(stats.writes == 1 && stats.pending_rows == 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As of [`replicated_all_within`](Self::replicated_all_within).
    pub async fn flush_within(&self, timeout: Duration) -> Result<(), DeliveryError> {
        self.persisted_all_within(timeout).await
    }
}
