//! The start of a handle: Kafka and the loader are asked what they must know, and its threads
//! begin.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tracing::{Span, info, warn};
use uuid::Uuid;

use super::offline::{OfflineLoader, OfflineStart};
use super::preflight::Topic;
use super::{Builder, preflight};
use crate::core::bounds::Bounds;
use crate::core::columns::Columns;
use crate::core::journal_label::JournalLabel;
use crate::error::{BuildError, LoadError};
use crate::kafka::committed::{CommitPoller, CommitPollerGuard, poll_on_a_thread};
use crate::kafka::connection::Connection;
use crate::kafka::dead_letters::Letters;
use crate::kafka::follow::client::TailClient;
use crate::kafka::follow::run::Follower;
use crate::kafka::follow::{CaughtUp, Following, follow_on_threads};
use crate::kafka::group_offsets::GroupOffsets;
use crate::kafka::topic_config::TopicQuestion;
use crate::load::Source;
use crate::load::late::LateLoader;
use crate::metrics::Metrics;
use crate::owner::{OfflineGuard, Owner, Threads};
use crate::partitions::admission::Limits;
use crate::partitions::cache::RowCache;
use crate::partitions::journaling::Journaling;
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
/// Characters of a topic's name, at most.
const TOPIC_NAME_MAX: usize = 249;
/// The longest time that librdkafka and the cache can count; nobody waits longer.
const TIME_MAX: Duration = Duration::from_hours(24 * 20);

impl<K, V> Builder<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    pub(super) async fn start(mut self) -> Result<WriteBehind<K, V>, BuildError> {
        let group = &*self.check()?;
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        self.start_timeout = self.start_timeout.min(TIME_MAX);
        let deadline = Instant::now() + self.start_timeout;
        let kafka = std::mem::replace(&mut self.kafka, Err(BuildError::NoSinkGroup))?;
        let connection = kafka.connection();
        let journal = self.open_journal(deadline).await?;
        let known = journal.label();
        let cluster = known.as_ref().and_then(|known| known.cluster.clone());
        let (group_offsets, topic) = self.meet_kafka(connection, group, deadline, known).await?;
        let partition_count = topic.partitions;
        Span::current().record("partitions", partition_count);
        let table = Arc::new(self.prepare(&topic, group, deadline).await?);

        // Held here until the handle has it: what fails or is dropped from here on leaves the
        // registry as it was, so that the next build can register the same metrics.
        let registry = self.registry.take().unwrap_or_default();
        let (metrics, registration) = Metrics::new(&registry, &self.topic)?;
        let metrics = Arc::new(metrics);
        let (partitions, journal) = self.partitions(journal, &topic)?;
        let late = self.late_loader(topic.is_online, &table);
        partitions.start_at(&topic.committed);
        let shared = (&partitions, &metrics);
        let commit_poller = self.poll_commits(group_offsets, &topic, group, shared)?;
        let (tail, following) = self.read_the_log(connection, group, shared).await?;
        let record_bytes = Arc::new(AtomicUsize::new(record_bytes_max(&connection.settings)));
        let encoder = Encoder {
            partitions: partition_count,
            key_columns: self.key_columns.as_slice().into(),
            version: self.version.clone(),
            record_bytes: Arc::clone(&record_bytes),
            pending_bytes: self.pending_bytes.min(self.in_flight_bytes.unwrap_or(usize::MAX)),
            headers: self.headers.take(),
            may_repeat_columns: Columns::of::<V>().names().is_none(),
            table,
        };
        let question = TopicQuestion::new(connection, &self.topic, &runtime)?;
        let times = (self.coalesce, self.lagging_after);
        let member = kafka.join(&self.topic, &partitions, &metrics, times, topic.is_online)?;
        let smaller_batches = kafka.smaller_batches();
        let question =
            move |replicas| question.ask_on_a_thread(replicas, smaller_batches, record_bytes);
        let offline = if topic.is_online {
            question(topic.replicas)?;
            None
        } else {
            let connect = (kafka.connect_later(&member), question);
            Some(self.go_on_later(connection, group, &partitions, (connect, late), cluster))
        };
        let (loader, load_timeout) = (self.loader, self.load_timeout);
        let acceptor = Acceptor {
            partitions: Arc::clone(&partitions),
            write_timeout: self.write_timeout,
            waits_recorded: self.journal.waits_recorded,
            metrics: Arc::clone(&metrics),
        };
        let runtime = Some(runtime);
        let reader = Reader { partitions, loader, load_timeout, metrics, tail, runtime };
        let threads = Threads {
            kafka,
            journal,
            _commit_poller: commit_poller,
            _following: following,
            _offline: offline,
        };
        info!("built");
        Ok(WriteBehind::new(Owner::new(encoder, acceptor, reader, member, threads, registration)))
    }

    /// What Kafka says of the topic, or what is taken for granted while it is away.
    async fn meet_kafka(
        &self,
        connection: &Connection,
        group: &str,
        deadline: Instant,
        known: Option<JournalLabel>,
    ) -> Result<(GroupOffsets, Topic), BuildError> {
        let client = || GroupOffsets::new(connection, group, &self.topic);
        let asked = preflight::ask(client()?, deadline, self.asks_cluster()).await;
        match (asked, self.offline_partitions) {
            (Ok((_, Topic { partitions: has, .. })), Some(said)) if has != said => {
                Err(BuildError::Partitions { said, has })
            }
            (Err(BuildError::NoAnswer(reason)), said) => {
                // With `follow` the log is read before anything else, so Kafka must be there.
                let known = known.filter(|_| !self.follow).map(|known| known.partitions);
                let Some(partitions) = said.or(known) else {
                    return Err(BuildError::NoAnswer(reason));
                };
                warn!(%reason, "built while kafka is away; writes wait until it answers");
                Ok((client()?, Topic::taken_for_granted(partitions)))
            }
            (asked, _) => asked,
        }
    }

    /// Starts the thread that asks what the group has committed.
    fn poll_commits(
        &self,
        group_offsets: GroupOffsets,
        topic: &Topic,
        group: &str,
        (partitions, metrics): (&Arc<Partitions>, &Arc<Metrics>),
    ) -> Result<CommitPollerGuard, BuildError> {
        let mut letters = self.loader.as_ref().and_then(Letters::of);
        if let Some(letters) = &mut letters {
            letters.start_at(topic.committed.clone());
        }
        let (shared, measured) = (Arc::clone(partitions), Arc::clone(metrics));
        let poller = CommitPoller::new(group_offsets, shared, measured, letters, Instant::now());
        let never_committed = topic.is_online && topic.committed.is_empty();
        let poller = poller.expect_first_commit(never_committed.then_some(group));
        poll_on_a_thread(poller, self.poll_interval)
    }

    /// Of a handle that starts while Kafka is away: makes loads wait for the loader to be prepared.
    fn late_loader(
        &mut self,
        is_online: bool,
        table: &Arc<OnceLock<TableCheck>>,
    ) -> Option<OfflineLoader<K>> {
        let loader = self.loader.take()?;
        if is_online {
            self.loader = Some(loader);
            return None;
        }
        let (late, ready) = LateLoader::new(Arc::clone(&loader));
        self.loader = Some(Arc::new(late));
        Some(OfflineLoader {
            loader,
            ready,
            key_columns: self.key_columns.clone(),
            columns: self.checks_columns.then(Columns::of::<V>),
            table: Arc::clone(table),
        })
    }

    /// Goes on with the start once Kafka answers.
    fn go_on_later(
        &self,
        connection: &Connection,
        group: &str,
        partitions: &Arc<Partitions>,
        ((connect, question), loader): (
            (
                impl FnOnce() + Send + 'static,
                impl FnOnce(Option<usize>) -> Result<(), BuildError> + Send + 'static,
            ),
            Option<OfflineLoader<K>>,
        ),
        cluster: Option<String>,
    ) -> OfflineGuard {
        let connect = move |replicas| {
            connect();
            if let Err(error) = question(replicas) {
                warn!(%error, "the topic's limits are not looked at");
            }
        };
        let names = (connection.clone(), group.to_owned(), self.topic.clone());
        let ask = move || GroupOffsets::new(&names.0, &names.1, &names.2);
        let start = OfflineStart {
            topic: self.topic.clone(),
            group: group.to_owned(),
            partitions: Arc::clone(partitions),
            group_offsets: Box::new(ask),
            attempt: self.start_timeout,
            connect: Box::new(connect),
            loader,
            cluster,
        };
        start.go_on()
    }

    /// Prepares the loader, and compares the row type with its table. What comes of that is set
    /// once: here, or when Kafka answers.
    async fn prepare(
        &self,
        topic: &Topic,
        group: &str,
        deadline: Instant,
    ) -> Result<OnceLock<TableCheck>, BuildError> {
        let none = OnceLock::new();
        let (Some(loader), Some(cluster)) = (&self.loader, &topic.cluster) else {
            return Ok(none);
        };
        let source = Source::new(&self.topic, group, cluster, topic.partitions);
        let source = source.key_columns(self.key_columns.iter().cloned());
        let left = deadline.saturating_duration_since(Instant::now());
        let prepared = sync::timeout(left, loader.prepare_boxed(&source)).await;
        let silent = || Err(LoadError::new("it gave no answer within `start_timeout`"));
        prepared.unwrap_or_else(silent).map_err(BuildError::Loader)?;
        match loader.table_shape().filter(|_| self.checks_columns) {
            Some(shape) => Ok(TableCheck::new(shape, Columns::of::<V>())?.into()),
            None => Ok(none),
        }
    }

    pub(super) fn setup(&self, partition_count: i32, journal: Option<Arc<Journaling>>) -> Setup {
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
            journal,
            clock: Instant::now,
        }
    }

    /// Reads the log, if the handle is to follow it.
    async fn read_the_log(
        &self,
        connection: &Connection,
        group: &str,
        shared: (&Arc<Partitions>, &Arc<Metrics>),
    ) -> Result<(Option<Arc<Tail>>, Option<Following>), BuildError> {
        if !self.follow {
            return Ok((None, None));
        }
        let partition_count = shared.0.count();
        let (tail, following, caught_up) =
            self.begin_to_follow(connection, group, partition_count, shared)?;
        let ended = |_| BuildError::NoAnswer("the reading of the log ended".into());
        // Both are owned here meanwhile, so a cancelled caller ends their threads.
        caught_up.await.map_err(ended)??;
        Ok((Some(tail), Some(following)))
    }

    fn begin_to_follow(
        &self,
        connection: &Connection,
        group: &str,
        partition_count: i32,
        (partitions, metrics): (&Arc<Partitions>, &Arc<Metrics>),
    ) -> Result<(Arc<Tail>, Following, CaughtUp), BuildError> {
        let client = TailClient::new(connection, group, &self.topic, partition_count)?;
        let follower = Follower {
            partitions: Arc::clone(partitions),
            metrics: Arc::clone(metrics),
            columns: Columns::of::<V>(),
            version: self.version.clone(),
            start_timeout: self.start_timeout,
        };
        follow_on_threads(client, follower)
    }

    /// Refuses settings that make no sense. Gives the sink group.
    fn check(&self) -> Result<String, BuildError> {
        self.check_limits()?;
        self.check_key_columns()?;
        if !is_a_topic(&self.topic) {
            return Err(BuildError::TopicName(self.topic.clone()));
        }
        let group = self.sink_group.clone().filter(|group| !group.trim().is_empty());
        group.ok_or(BuildError::NoSinkGroup)
    }

    /// Whether Kafka is asked which cluster it is.
    fn asks_cluster(&self) -> bool {
        self.loader.is_some() || self.journal.is_set()
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
        } else if self.start_timeout.is_zero() {
            "`start_timeout` must be positive: Kafka is asked about the topic"
        } else if self.load_timeout.is_zero() {
            "`load_timeout` must be positive"
        } else if self.version.is_some() && self.loader.is_none() {
            "`version` needs a loader: whether a write is left out depends on the row that is there"
        } else if self.write_timeout.is_some_and(|time| time.is_zero()) {
            "`write_timeout` must be positive; a write that waits for nothing is a `try_` one"
        } else if self.offline_partitions.is_some_and(|partitions| partitions < 1) {
            "`start_offline` needs the topic's partition count, which is positive"
        } else if self.offline_partitions.is_some() && self.follow {
            "`follow` reads the log when the handle is built, so it can't `start_offline`"
        } else if self.sink_group.as_ref().is_some_and(|group| group.contains('\0')) {
            "`sink_group` has a NUL character, which no group's name can have"
        } else if self.journal.waits_recorded && !self.journal.is_set() {
            "`wait_recorded` needs a `journal`"
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

/// Whether Kafka can have a topic of this name.
fn is_a_topic(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TOPIC_NAME_MAX).contains(&name.len())
        && name.bytes().all(fits)
        && name != "."
        && name != ".."
}
