//! The rest of the start of a handle that was built while Kafka was away: once Kafka answers, the
//! start's assumptions are checked before the first record is sent.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::preflight::{self, Topic};
use crate::core::columns::Columns;
use crate::error::{BuildError, Halt};
use crate::event::Event;
use crate::kafka::group_offsets::GroupOffsets;
use crate::load::{AnyLoader, Source};
use crate::owner::OfflineGuard;
use crate::partitions::{Partitions, sync};
use crate::writes::table_check::TableCheck;

/// What the start does once Kafka answers.
pub(super) struct OfflineStart<K> {
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) partitions: Arc<Partitions>,
    /// Makes the client that asks about the topic.
    pub(super) group_offsets: Box<dyn Fn() -> Result<GroupOffsets, BuildError> + Send + Sync>,
    /// How long one attempt takes.
    pub(super) attempt: Duration,
    /// Lets the records leave; given how many replicas the topic has.
    pub(super) connect: Box<dyn FnOnce(Option<usize>) + Send>,
    pub(super) loader: Option<OfflineLoader<K>>,
    /// The cluster that the journal's writes are for, if it says so.
    pub(super) cluster: Option<String>,
}

/// A loader that waits for Kafka's answer.
pub(super) struct OfflineLoader<K> {
    pub(super) loader: Arc<dyn AnyLoader<K>>,
    pub(super) ready: watch::Sender<bool>,
    pub(super) key_columns: Vec<Box<str>>,
    /// The row's columns, if they are compared with the table, and where that comparison goes.
    pub(super) columns: Option<Columns>,
    pub(super) table: Arc<OnceLock<TableCheck>>,
}

/// How long before Kafka is asked again, or a loader prepared again that was not ready.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl<K: Send + Sync + 'static> OfflineStart<K> {
    /// Goes on with the start as a task of this runtime.
    pub(super) fn go_on(self) -> OfflineGuard {
        OfflineGuard(tokio::spawn(self.run()))
    }

    async fn run(self) {
        let topic_name = self.topic.as_str();
        let asks_cluster = self.loader.is_some() || self.cluster.is_some();
        let ask = &*self.group_offsets;
        let topic = wait_for_kafka(topic_name, ask, self.attempt, asks_cluster).await;
        if let (Some(was), Some(now)) = (&self.cluster, &topic.cluster)
            && was != now
        {
            // What the journal holds belongs elsewhere.
            let (was, now) = (was.clone(), now.clone());
            error!(topic = topic_name, was, now, "another cluster answers than the journal's");
            self.partitions.halt(Halt::AnotherCluster { was, now });
            return;
        }
        let (was, now) = (self.partitions.count(), topic.partitions);
        if was != now {
            // No record has left: in this topic, each key would belong elsewhere.
            if self.partitions.halt(Halt::Repartitioned { was, now }) {
                error!(topic = topic_name, was, now, "the topic has another partition count");
            }
            return;
        }
        // Before the first record leaves: no later offset of the group is taken for the one before.
        self.partitions.start_at(&topic.committed);
        (self.connect)(topic.replicas);
        info!(topic = topic_name, "kafka answers; what was written meanwhile is sent");
        self.partitions.events.tell(|| Event::Connected);
        if let (Some(loader), Some(cluster)) = (self.loader, topic.cluster) {
            let source = Source::new(topic_name, &self.group, cluster, now);
            loader.get_ready(topic_name, source).await;
        }
    }
}

/// What is known of the topic, once Kafka tells it.
async fn wait_for_kafka(
    topic: &str,
    group_offsets: &(dyn Fn() -> Result<GroupOffsets, BuildError> + Send + Sync),
    attempt: Duration,
    cluster_too: bool,
) -> Topic {
    let mut told = String::new();
    loop {
        let answer = match group_offsets() {
            Ok(client) => preflight::ask(client, Instant::now() + attempt, cluster_too).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok((_, topic)) => return topic,
            Err(error) => {
                let text = error.to_string();
                if text != told {
                    warn!(topic, %error, "writes wait until kafka answers");
                    told = text;
                }
                sync::pause(RETRY_INTERVAL).await;
            }
        }
    }
}

impl<K> OfflineLoader<K> {
    async fn get_ready(self, topic: &str, source: Source) {
        let source = source.key_columns(self.key_columns);
        while let Err(error) = self.loader.prepare_boxed(&source).await {
            warn!(topic, %error, "the loader is not ready; loads wait");
            sync::pause(RETRY_INTERVAL).await;
        }
        if let (Some(columns), Some(shape)) = (self.columns, self.loader.table_shape()) {
            match TableCheck::new(shape, columns) {
                // It is set once, here.
                Ok(check) => drop(self.table.set(check)),
                Err(error) => error!(topic, %error, "rows of this type will be dead letters"),
            }
        }
        // Nobody waits when the handle is gone.
        let _ = self.ready.send(true);
    }
}
