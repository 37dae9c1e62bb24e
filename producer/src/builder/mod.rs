//! How a handle is made: settings and limits in, a handle whose topic is known to exist out.

mod reads;
mod preflight;
mod start;
mod away;
mod offline;
mod journal_setting;
#[cfg(feature = "journal")]
mod journal;
#[cfg(not(feature = "journal"))]
mod no_journal;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{Instrument as _, field, info_span};

use self::journal_setting::JournalSetting;
use crate::core::record_headers::RecordHeaders;
use crate::error::BuildError;
use crate::kafka::client::Kafka;
use crate::load::AnyLoader;
use crate::partitions::admission::WhenFull;
use crate::partitions::cache::CacheConfig;
use crate::write_behind::WriteBehind;
use crate::writes::encode::HeaderSource;

/// Settings of a [`WriteBehind`] in the making; see [`WriteBehind::builder`]. A clone can be built
/// where the first attempt failed for a reason that may pass ([`BuildError::may_pass`]).
#[must_use = "nothing happens before `build`"]
pub struct Builder<K, V> {
    topic: String,
    kafka: Result<Kafka, BuildError>,
    cache_config: CacheConfig,
    load_timeout: Duration,
    loader: Option<Arc<dyn AnyLoader<K>>>,
    sink_group: Option<String>,
    key_columns: Vec<Box<str>>,
    version: Option<Arc<str>>,
    pending_bytes: usize,
    pending_rows: Option<usize>,
    in_flight: Option<usize>,
    in_flight_bytes: Option<usize>,
    when_full: WhenFull,
    write_timeout: Option<Duration>,
    coalesce: Option<Duration>,
    lagging_after: Duration,
    registry: Option<Registry>,
    poll_interval: Duration,
    start_timeout: Duration,
    /// The partition count with which a handle is built though Kafka is away.
    offline_partitions: Option<i32>,
    follow: bool,
    checks_columns: bool,
    headers: Option<HeaderSource>,
    journal: JournalSetting,
    row: PhantomData<fn(V) -> V>,
}

impl<K, V> Builder<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    pub(crate) fn new(topic: String, kafka: Result<Kafka, BuildError>) -> Self {
        Self {
            topic,
            kafka,
            cache_config: CacheConfig::default(),
            load_timeout: Duration::from_secs(30),
            loader: None,
            sink_group: None,
            key_columns: Vec::new(),
            version: None,
            pending_bytes: 256 << 20,
            pending_rows: None,
            in_flight: None,
            in_flight_bytes: None,
            when_full: WhenFull::Wait,
            write_timeout: None,
            coalesce: None,
            lagging_after: Duration::from_mins(1),
            registry: None,
            poll_interval: Duration::from_millis(100),
            start_timeout: Duration::from_secs(30),
            offline_partitions: None,
            follow: false,
            checks_columns: true,
            headers: None,
            journal: JournalSetting::default(),
            row: PhantomData,
        }
    }

    /// The consumer's group, that is, its pipeline's `name`: what it has committed is in the
    /// database. Required.
    pub fn sink_group(mut self, group: impl Into<String>) -> Self {
        self.sink_group = Some(group.into());
        self
    }

    /// The key's columns, in a tuple's order. A tuple has no names for them, so a tuple as `K`
    /// needs this; a struct or a map names them itself, and must then name the same.
    ///
    /// Where the names are known, a write that says something else of a key column than its key
    /// does is refused as [`Refusal::KeyColumn`](crate::Refusal::KeyColumn); without them it
    /// becomes a dead letter. To name a single column, `key_columns(["id"])`, is worth it for that.
    ///
    /// ```no_run
    /// # use write_behind_producer::WriteBehind;
    /// # async fn run(row: std::collections::HashMap<String, i64>) -> Result<(), Box<dyn std::error::Error>> {
    /// let seats = WriteBehind::<(String, i64), _>::builder("seats", [("bootstrap.servers", "kafka:9092")])
    ///     .sink_group("seats")
    ///     .key_columns(["tenant", "id"])
    ///     .build()
    ///     .await?;
    /// seats.put(&("acme".to_owned(), 7), &row).await?;   // the row where tenant = 'acme' and id = 7
    /// # Ok(())
    /// # }
    /// ```
    pub fn key_columns(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.key_columns = columns.into_iter().map(|column| column.into().into()).collect();
        self
    }

    /// The column that holds a row's version, if the consumer's route has a `version`; none unless
    /// set. The name is the one that records use. Needs a loader.
    ///
    /// The consumer leaves out a write whose row has a newer version, and so do reads here: over a
    /// row of version 5 nobody ever sees version 3, nor is it cached. So a read after a write needs
    /// the row beneath it, and loads it unless it is known here; [`put`](WriteBehind::put) leaves
    /// columns alone that `V` does not have. Every write but a delete must set the version
    /// ([`Refusal::NoVersion`](crate::Refusal::NoVersion)); a delete always counts, and after one
    /// any version does. Writes of one row are gathered by [`coalesce`](Self::coalesce) only where
    /// the later one sets all that the earlier one does.
    ///
    /// Versions that are numbers are compared here. Others, as instants, only the database compares:
    /// such a write is seen as if it counted until it is there, and the row is not cached then.
    pub fn version(mut self, column: impl Into<Arc<str>>) -> Self {
        self.version = Some(column.into());
        self
    }

    /// How much memory may be taken by what is not in the database, and what a write does when
    /// that is reached: 256 MiB and [`WhenFull::Wait`] unless set.
    ///
    /// It is an estimate: the rows, 384 bytes for each row and write, and a row that was loaded
    /// beneath an increment counts too. The records in librdkafka's own queue, bounded by
    /// `queue.buffering.max.kbytes`, come on top.
    pub fn max_pending(mut self, bytes: usize, when_full: WhenFull) -> Self {
        self.pending_bytes = bytes;
        self.when_full = when_full;
        self
    }

    /// How long a write may wait for room, without limit unless set: then it returns
    /// [`WriteError::NoRoomInTime`](crate::WriteError::NoRoomInTime), and nothing has changed.
    pub fn write_timeout(mut self, time: Duration) -> Self {
        self.write_timeout = Some(time);
        self
    }

    /// How many rows may have something that is not in the database; without limit unless set.
    pub fn max_pending_rows(mut self, rows: usize) -> Self {
        self.pending_rows = Some(rows);
        self
    }

    /// How many writes may wait for Kafka's answer; without limit of their own unless set. They
    /// take memory of [`max_pending`](Self::max_pending) too. librdkafka's queue has limits of its
    /// own (`queue.buffering.max.messages`, `queue.buffering.max.kbytes`), of which each partition
    /// has an equal part; beyond that, writes wait here for their turn.
    pub fn max_in_flight(mut self, writes: usize) -> Self {
        self.in_flight = Some(writes);
        self
    }

    /// How much memory writes may take that wait for Kafka's answer, estimated as for
    /// [`max_pending`](Self::max_pending); without limit of their own unless set.
    pub fn max_in_flight_bytes(mut self, bytes: usize) -> Self {
        self.in_flight_bytes = Some(bytes);
        self
    }

    /// Gathers the writes of one row for `window` and sends one record that says as much: 10,000
    /// increments of one counter become a handful of records. Off unless set.
    ///
    /// Every write is visible at once and has its own [`Receipt`](crate::Receipt), and a write that
    /// cannot go with the one before it (whatever follows a delete) is a record of its own. The
    /// order of one row's writes stays; a write may reach the log earlier than one of another row
    /// that was accepted before it, by as much as the window. Replication takes longer by the
    /// window, and a crash of this process loses as much more. At most an hour.
    pub fn coalesce(mut self, window: Duration) -> Self {
        self.coalesce = (!window.is_zero()).then_some(window);
        self
    }

    /// The age of the oldest write that is not in the database from which on
    /// [`Event::Lagging`](crate::Event::Lagging) is told: 60 s unless set.
    pub fn lagging_after(mut self, age: Duration) -> Self {
        self.lagging_after = age;
        self
    }

    /// Where the metrics are registered, under the label `topic`, until the handle's last
    /// clone is dropped. Two handles on one topic need a registry each.
    ///
    /// | `write_behind_producer_…` | kind | what |
    /// |---|---|---|
    /// | `writes_total` | counter | writes accepted |
    /// | `refused_total` | counter | writes refused for what they are |
    /// | `overloaded_total` | counter | writes that found no room and were told so |
    /// | `coalesced_total` | counter | accepted writes that went with an earlier one of their row |
    /// | `forgotten_total` | counter | rows that were dropped from memory to make room |
    /// | `followed_total` | counter | records of others that were read from the log |
    /// | `follow_lag_records` | gauge | records in the log that were not read yet |
    /// | `dead_letters_total` | counter | writes that the database refused |
    /// | `lost_total` | counter | accepted writes that failed or whose outcome is unknown |
    /// | `reads_total` | counter | reads |
    /// | `hits_pending_total` | counter | reads answered by pending writes |
    /// | `hits_cached_total` | counter | reads answered by the cache |
    /// | `misses_total` | counter | reads that needed the loader, or found nothing |
    /// | `loads_total` | counter | rows asked of the loader; several reads may share one |
    /// | `load_failures_total` | counter | rows that the loader could not give |
    /// | `load_seconds` | histogram | time of a question to the loader, for any number of rows |
    /// | `pending_rows` | gauge | rows with a write that is not in the database |
    /// | `pending_bytes` | gauge | memory that these take, estimated |
    /// | `in_flight` | gauge | writes that Kafka has not answered |
    /// | `in_flight_bytes` | gauge | memory that these take, estimated |
    /// | `waiting_writes` | gauge | writes that wait for room |
    /// | `max_pending_bytes` | gauge | the limit of `pending_bytes` |
    /// | `max_pending_rows` | gauge | the limit of `pending_rows`; `+Inf` without one |
    /// | `max_in_flight` | gauge | the limit of `in_flight`; `+Inf` without one |
    /// | `max_in_flight_bytes` | gauge | the limit of `in_flight_bytes`; `+Inf` without one |
    /// | `held_partitions` | gauge | partitions whose writes Kafka does not take now |
    /// | `replicated_lag_seconds` | gauge | age of the oldest write that Kafka has not answered |
    /// | `persisted_lag_seconds` | gauge | age of the oldest write that is not in the database |
    /// | `write_sampled_seconds` | histogram | time until a write is accepted, of every 64th write |
    /// | `replicated_sampled_seconds` | histogram | time from a write to Kafka's answer, of every 64th write at most |
    /// | `client_errors_total` | counter | errors of the Kafka client: brokers away, and so on |
    /// | `client_failures_total` | counter | Kafka clients that failed for good and were replaced |
    /// | `watch_errors_total` | counter | looks at the sink group's offsets that failed |
    /// | `journal_bytes` | gauge | what the journal has of its disk; this and what follows with a journal |
    /// | `journal_oldest_seconds` | gauge | age of the journal's oldest write that Kafka may not have |
    /// | `journal_batches_total` | counter | batches that were written to the journal |
    /// | `journal_writing_seconds_total` | counter | how long these took, syncs included |
    /// | `journal_cut_bytes` | gauge | what was cut from the journal's end when it was opened |
    /// | `replayed_total` | counter | writes of an earlier life of the process that the journal held |
    /// [`WriteBehind::stats`] gives the same numbers without a registry. The times of writes are
    /// of samples: their `_count` is not the number of writes.
    pub fn metrics(mut self, registry: &Registry) -> Self {
        self.registry = Some(registry.clone());
        self
    }

    /// The longest time between two questions for the group's committed offsets while something is
    /// pending: 100 ms unless set. They are asked for every 20 ms while they move, and less often
    /// while they stand still. It bounds how much later than the database `persisted()` knows.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Reads the log as well, of all writers: off unless set.
    ///
    /// [`build`](Self::build) then returns when everything is read that was in the log from the
    /// sink group's committed offset on: a restarted service reads what it wrote before, though
    /// the database may not have it yet. Afterwards what others write to the topic, with this
    /// crate or any other Kafka client, shows up here as soon as it is replicated. If it does not,
    /// [`tail_is_current`](WriteBehind::tail_is_current) and
    /// [`Known::may_be_behind`](crate::Known::may_be_behind) say so.
    ///
    /// It costs the network and a thread for every record of the topic, and memory for rows that
    /// are not in the database, of any writer. [`max_pending`](Self::max_pending) bounds that
    /// too: rows of others that find no room are dropped, and reads of such a row say that they may
    /// be behind until the database has it. `build` takes as long as the log is behind.
    ///
    /// # Limits
    /// - A record does not say whether it holds a whole row. One with every field of `V` is taken
    ///   for whole if `V` is a struct without flattened parts; over any other, reads need the
    ///   loader.
    /// - A record that the consumer will set aside because it does not fit the table is read
    ///   like a good one until the consumer has passed it.
    /// - The database drops a record whose `write-id` it has seen. Here that is known of writers
    ///   since the place where reading began: the first record of a writer may repeat one from
    ///   before, so a row that it added to is not kept once the database has it.
    /// - A loader that does not give the partition's offset ([`Loaded::at`](crate::Loaded::at)),
    ///   as a closure doesn't, may find a row with or without what was just read from the log. What
    ///   it finds is given, and not kept.
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Gives each record headers of its own: `add` is called by each write, on the task that writes,
    /// so that it can name the trace that the write belongs to.
    ///
    /// ```no_run
    /// # use write_behind_producer::{Builder, WriteBehind};
    /// # fn traceparent() -> Option<String> { None }
    /// # fn run(builder: Builder<u64, std::collections::HashMap<String, i64>>) {
    /// builder.headers(|headers| {
    ///     if let Some(parent) = traceparent() {               // of the current span, as W3C writes it
    ///         headers.add("traceparent", parent);
    ///     }
    /// });
    /// # }
    /// ```
    ///
    /// The consumer ignores them and keeps them with a dead letter. A record that is sent again has
    /// the same ones, and writes that are gathered ([`coalesce`](Self::coalesce)) go under those of the
    /// first. They take at most 1,024 bytes a record, which count beyond
    /// [`max_pending`](Self::max_pending) until Kafka has answered; the names `write-id`, `add` and
    /// `priority` are reserved ([`Refusal::Headers`](crate::Refusal::Headers)).
    pub fn headers(mut self, add: impl Fn(&mut RecordHeaders) + Send + Sync + 'static) -> Self {
        self.headers = Some(HeaderSource(Arc::new(add)));
        self
    }

    /// Whether writes are compared with the loader's table, if it knows that, as the table loaders
    /// do: they are unless set. Then a row type with a field that the table has no column for fails
    /// `build` ([`BuildError::NoSuchColumn`]), and a write that names another column, or whose key
    /// does not fit the key's column, is refused at the call ([`Refusal`](crate::Refusal)). Without
    /// it, such records become dead letters. The table is looked at once, by `build`.
    ///
    /// Set it to false where the route renames columns (`rename`), or the row type has fields that
    /// it does not write, or reads by another name (`#[serde(alias)]`).
    pub fn check_columns(mut self, check: bool) -> Self {
        self.checks_columns = check;
        self
    }

    /// How long `build` waits for Kafka and for [`Loader::prepare`](crate::Loader::prepare) in all:
    /// 30 s unless set. With [`follow`](Self::follow) it may take longer, and this is how long Kafka
    /// may be silent while the log is read.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Asks Kafka for the topic and starts the handle. Needs a tokio runtime, where loads will run.
    ///
    /// # Errors
    /// [`BuildError`]: a setting is wrong, Kafka does not answer, or the topic does not exist. No
    /// error holds the value of a Kafka property.
    ///
    /// # Cancellation
    /// Dropped before it is done, it registers no metrics and leaves nothing running but a question
    /// to Kafka that is under way, which ends within [`start_timeout`](Self::start_timeout).
    pub async fn build(self) -> Result<WriteBehind<K, V>, BuildError> {
        let span = info_span!(
            "build",
            topic = self.topic,
            sink_group = self.sink_group,
            partitions = field::Empty
        );
        self.start().instrument(span).await
    }
}

impl<K, V> WriteBehind<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    /// A handle on the rows of `topic`, with librdkafka properties for the connection.
    pub fn builder(
        topic: impl Into<String>,
        kafka: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Builder<K, V> {
        Builder::new(topic.into(), Kafka::new(kafka))
    }
}

impl Kafka {
    /// A handle on the rows of `topic` that uses this client: one for each topic, which can be cloned.
    pub fn builder<K, V>(&self, topic: impl Into<String>) -> Builder<K, V>
    where
        K: Serialize + Clone + Send + Sync + 'static,
        V: Serialize + DeserializeOwned,
    {
        Builder::new(topic.into(), Ok(self.clone()))
    }
}

impl<K, V> std::fmt::Debug for Builder<K, V> {
    /// Names of Kafka properties only: values may be passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("topic", &self.topic)
            .field("sink_group", &self.sink_group)
            .finish_non_exhaustive()
    }
}
