//! Policy when Kafka is unavailable at build time: retry, or start without it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Builder;

impl<K, V> Builder<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    /// Builds the handle also while no broker answers, and connects it later: off unless set.
    /// `partitions` is how many the topic has, by which keys are distributed.
    ///
    /// [`build`](Self::build) still waits for [`start_timeout`](Self::start_timeout); set that low.
    /// Then, until Kafka answers:
    ///
    /// - Writes are accepted as always, up to [`max_pending`](Self::max_pending), and reads see them.
    ///   Nothing is replicated, and a crash of this process loses all of it.
    /// - Rows that must be loaded wait, at most for [`load_timeout`](Self::load_timeout), because the
    ///   loader is prepared only then.
    /// - Nothing is compared with the loader's table ([`check_columns`](Self::check_columns)), and a
    ///   row type that does not fit it is logged as an error.
    ///
    /// Once Kafka answers, the topic is looked at before the first record leaves. With another
    /// number of partitions nothing is sent, and the handle is halted
    /// ([`Halt::Repartitioned`](crate::Halt::Repartitioned)); a topic that does not exist yet, or is not
    /// for this client, is waited for. [`Event::Connected`](crate::Event::Connected) tells that writes
    /// leave. What an earlier life of this process wrote is not known here, so
    /// [`follow`](Self::follow) can't be set with it.
    ///
    #[cfg_attr(feature = "testing", doc = "```")]
    #[cfg_attr(not(feature = "testing"), doc = "```ignore")]
    /// # use std::time::Duration;
    /// # use write_behind_producer::{WriteBehind, testing};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let kafka = testing::Broker::start()?.topic("visits", 4)?;
    /// kafka.brokers_down()?;
    /// let visits = WriteBehind::<u64, serde_json::Value>::builder("visits", kafka.properties())
    ///     .sink_group("visit-writer")
    ///     .start_timeout(Duration::from_millis(200))
    ///     .start_offline(4)
    ///     .build()
    ///     .await?;
    /// let write = visits.put(&7, &serde_json::json!({"page": "/"})).await?;
    /// kafka.brokers_up()?;
    /// write.replicated().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_offline(mut self, partitions: i32) -> Self {
        self.offline_partitions = Some(partitions);
        self
    }
}

impl<K, V> Clone for Builder<K, V> {
    fn clone(&self) -> Self {
        Self {
            topic: self.topic.clone(),
            kafka: self.kafka.clone(),
            cache_config: self.cache_config,
            load_timeout: self.load_timeout,
            loader: self.loader.clone(),
            sink_group: self.sink_group.clone(),
            key_columns: self.key_columns.clone(),
            version: self.version.clone(),
            pending_bytes: self.pending_bytes,
            pending_rows: self.pending_rows,
            in_flight: self.in_flight,
            in_flight_bytes: self.in_flight_bytes,
            when_full: self.when_full,
            write_timeout: self.write_timeout,
            coalesce: self.coalesce,
            lagging_after: self.lagging_after,
            registry: self.registry.clone(),
            poll_interval: self.poll_interval,
            start_timeout: self.start_timeout,
            offline_partitions: self.offline_partitions,
            follow: self.follow,
            checks_columns: self.checks_columns,
            headers: self.headers.clone(),
            journal: self.journal.clone(),
            row: self.row,
        }
    }
}
