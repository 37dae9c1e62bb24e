//! The start of a handle: Kafka and the loader are asked what they must know, and its threads
//! begin.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tracing::{Span, info};
use uuid::Uuid;
use write_behind_shared::kafka::KafkaSettings;

use super::{Builder, preflight};
use crate::core::bounds::Bounds;
use crate::core::columns::Columns;
use crate::error::{BuildError, LoadError};
use crate::kafka::committed::{CommitPoller, poll_on_a_thread};
use crate::kafka::dead_letters::Letters;
use crate::kafka::follow::client::TailClient;
use crate::kafka::follow::run::Follower;
use crate::kafka::follow::{CaughtUp, Following, follow_on_threads};
use crate::kafka::group_offsets::GroupOffsets;
use crate::kafka::topic_config::TopicQuestion;
use crate::load::Source;
use crate::metrics::Metrics;
use crate::owner::{Owner, Threads};
use crate::partitions::admission::Limits;
use crate::partitions::cache::RowCache;
use crate::partitions::tail::Tail;
use crate::partitions::{Partitions, Setup, sync};
use crate::writes::accept::Acceptor;
use crate::writes::encode::Encoder;
use crate::writes::table_check::TableCheck;

use crate::kafka::producer::record_bytes_max;
use crate::reads::reader::Reader;
use crate::write_behind::WriteBehind;

/// What a semaphore can count at once.
const LIMIT_MAX: usize = u32::MAX as usize;
/// How long writes may be gathered.
const COALESCE_MAX: Duration = Duration::from_hours(1);
/// The longest time that librdkafka and the cache can count; nobody waits longer.
const TIME_MAX: Duration = Duration::from_hours(24 * 20);

impl<K, V> Builder<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    pub(super) async fn start(mut self) -> Result<WriteBehind<K, V>, BuildError> {
        self.check_limits()?;
        self.check_key_columns()?;
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        self.start_timeout = self.start_timeout.min(TIME_MAX);
        let deadline = Instant::now() + self.start_timeout;
        let kafka = std::mem::replace(&mut self.kafka, Err(BuildError::NoSinkGroup))?;
        let settings = kafka.settings();
        let group = self.sink_group.as_deref().ok_or(BuildError::NoSinkGroup)?;
        let group_offsets = GroupOffsets::new(settings, group, &self.topic)?;
        let loads = self.loader.is_some();
        let (group_offsets, topic) = preflight::ask(group_offsets, deadline, loads).await?;
        let partition_count = topic.partitions;
        Span::current().record("partitions", partition_count);
        let source = topic.cluster.map(|cluster| {
            let source = Source::new(&self.topic, group, cluster, partition_count);
            source.key_columns(self.key_columns.iter().cloned())
        });
        let table = self.prepare(source, deadline).await?;

        let registry = self.registry.clone().unwrap_or_default();
        // Held here until the handle has it: what fails or is dropped from here on leaves the
        // registry as it was, so that the next build can register the same metrics.
        let (metrics, registration) = Metrics::new(&registry, &self.topic)?;
        let metrics = Arc::new(metrics);
        let partitions = Arc::new(Partitions::new(self.setup(partition_count)));
        let never_committed = topic.committed.is_empty();
        partitions.start_at(&topic.committed);
        let mut letters = self.loader.as_ref().and_then(Letters::of);
        if let Some(letters) = &mut letters {
            letters.start_at(topic.committed);
        }
        let (shared, measured) = (Arc::clone(&partitions), Arc::clone(&metrics));
        let poller = CommitPoller::new(group_offsets, shared, measured, letters, Instant::now());
        let poller = poller.expect_first_commit(never_committed.then_some(group));
        let commit_poller = poll_on_a_thread(poller, self.poll_interval)?;
        // Both are held here while the log is read: a caller that goes away ends their threads.
        let (tail, following) = if self.follow {
            let (tail, following, caught_up) =
                self.begin_to_follow(settings, group, partition_count, (&partitions, &metrics))?;
            let ended = |_| BuildError::NoAnswer("the reading of the log ended".to_owned());
            caught_up.await.map_err(ended)??;
            (Some(tail), Some(following))
        } else {
            (None, None)
        };
        let record_bytes = Arc::new(AtomicUsize::new(record_bytes_max(settings)));
        let encoder = Encoder {
            partitions: partition_count,
            key_columns: self.key_columns.as_slice().into(),
            version: self.version.clone(),
            record_bytes: Arc::clone(&record_bytes),
            pending_bytes: self.pending_bytes.min(self.in_flight_bytes.unwrap_or(usize::MAX)),
            headers: self.headers.take(),
            table,
        };
        let question = TopicQuestion::new(settings, &self.topic, &runtime)?;
        question.ask_on_a_thread(topic.replicas, kafka.smaller_batches(), record_bytes)?;
        let times = (self.coalesce, self.lagging_after);
        let member = kafka.join(&self.topic, &partitions, &metrics, times)?;
        let (loader, load_timeout) = (self.loader, self.load_timeout);
        let acceptor = Acceptor {
            partitions: Arc::clone(&partitions),
            write_timeout: self.write_timeout,
            metrics: Arc::clone(&metrics),
        };
        let runtime = Some(runtime);
        let reader = Reader { partitions, loader, load_timeout, metrics, tail, runtime };
        let threads = Threads { kafka, _commit_poller: commit_poller, _following: following };
        info!("built");
        Ok(WriteBehind::new(Owner::new(encoder, acceptor, reader, member, threads, registration)))
    }

    /// Prepares the loader, and compares the row type with its table.
    async fn prepare(
        &self,
        source: Option<Source>,
        deadline: Instant,
    ) -> Result<Option<Arc<TableCheck>>, BuildError> {
        let (Some(loader), Some(source)) = (&self.loader, source) else { return Ok(None) };
        let left = deadline.saturating_duration_since(Instant::now());
        let prepared = sync::timeout(left, loader.prepare_boxed(&source)).await;
        let silent = || Err(LoadError::new("it gave no answer within `start_timeout`"));
        prepared.unwrap_or_else(silent).map_err(BuildError::Loader)?;
        let shape = loader.table_shape().filter(|_| self.checks_columns);
        let check = shape.map(|shape| TableCheck::new(shape, Columns::of::<V>()));
        Ok(check.transpose()?.map(Arc::new))
    }

    fn setup(&self, partition_count: i32) -> Setup {
        Setup {
            partitions: partition_count as usize,
            loads: self.loader.is_some(),
            follows: self.follow,
            cache: RowCache::new(self.cache_config),
            limits: Limits::new([
                Some(self.pending_bytes),
                self.pending_rows,
                self.in_flight,
                self.in_flight_bytes,
            ]),
            when_full: self.when_full,
            coalesce: self.coalesce,
            bounds: Bounds::STANDARD,
            writer: Uuid::new_v4(),
            clock: Instant::now,
        }
    }

    fn begin_to_follow(
        &self,
        settings: &KafkaSettings,
        group: &str,
        partition_count: i32,
        (partitions, metrics): (&Arc<Partitions>, &Arc<Metrics>),
    ) -> Result<(Arc<Tail>, Following, CaughtUp), BuildError> {
        let client = TailClient::new(settings, group, &self.topic, partition_count)?;
        let follower = Follower {
            partitions: Arc::clone(partitions),
            metrics: Arc::clone(metrics),
            columns: Columns::of::<V>(),
            version: self.version.clone(),
            start_timeout: self.start_timeout,
        };
        follow_on_threads(client, follower)
    }

    fn check_limits(&self) -> Result<(), BuildError> {
        let wrong = if self.pending_bytes == 0 || self.pending_bytes > LIMIT_MAX {
            "`max_pending` must be between 1 byte and 4 GiB"
        } else if self.pending_rows == Some(0) {
            "`max_pending_rows` must be positive"
        } else if self.in_flight == Some(0) {
            "`max_in_flight` must be positive"
        } else if self.in_flight_bytes.is_some_and(|bytes| bytes == 0 || bytes > LIMIT_MAX) {
            "`max_in_flight_bytes` must be between 1 byte and 4 GiB"
        } else if self.poll_interval.is_zero() {
            "`poll_interval` must be positive"
        } else if self.load_timeout.is_zero() {
            "`load_timeout` must be positive"
        } else if self.version.is_some() && self.loader.is_none() {
            "`version` needs a loader: whether a write is left out depends on the row that is there"
        } else if self.write_timeout.is_some_and(|time| time.is_zero()) {
            "`write_timeout` must be positive; a write that waits for nothing is a `try_` one"
        } else if self.coalesce.is_some_and(|window| window > COALESCE_MAX) {
            "`coalesce` must be at most an hour"
        } else {
            return Ok(());
        };
        Err(BuildError::Limit(wrong))
    }

    fn check_key_columns(&self) -> Result<(), BuildError> {
        let mut names: Vec<&str> = self.key_columns.iter().map(|name| &**name).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        match twice.or(names.first().copied().filter(|name| name.is_empty())) {
            Some(name) => Err(BuildError::KeyColumns(name.to_owned())),
            None => Ok(()),
        }
    }
}
