//! A small world for the consumer: librdkafka's mock cluster as Kafka, a SQLite file as the database.

pub(crate) mod raw_record;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;
use write_behind_consumer::config::Config;
use write_behind_consumer::run::{Consumer, Drained, RunError, RunOptions};
use write_behind_consumer::status::Status;
use write_behind_shared::partition::partition_of;

pub(crate) const TOPIC: &str = "scores";
pub(crate) const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster, a database with one table, and a producer that knows nothing of write-behind.
pub(crate) struct World {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    pub(crate) directory: TempDir,
    producer: BaseProducer,
    runtime: tokio::runtime::Runtime,
}

/// A consumer that runs in this process, on a runtime of its own.
pub(crate) struct Running {
    pub(crate) status: Arc<Status>,
    stop: Option<oneshot::Sender<Stop>>,
    thread: Option<JoinHandle<Option<Result<Drained, RunError>>>>,
}

enum Stop {
    /// As by SIGTERM.
    Drain,
    /// As by SIGKILL: everything it has is dropped.
    Kill,
}

impl World {
    pub(crate) fn new() -> Self {
        // RUST_LOG shows what the consumers say.
        let shown = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env());
        shown.with_test_writer().try_init().ok();
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("linger.ms", "1")
            .create()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = Self { cluster, directory: TempDir::new().unwrap(), producer, runtime };
        world.execute("PRAGMA journal_mode = WAL");
        world.execute(
            "CREATE TABLE scores (id INTEGER PRIMARY KEY, name TEXT, visits INTEGER, points INTEGER)",
        );
        world
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("world.db")
    }

    /// A configuration, with `more` lines of TOML at its top level and `kafka` in its section.
    pub(crate) fn config(&self, kafka: &str, more: &str) -> Config {
        let text = format!(
            r#"
            name = "scores"
            [kafka]
            "bootstrap.servers" = "{}"
            "session.timeout.ms" = 6000
            "heartbeat.interval.ms" = 300
            {kafka}
            [database]
            url = "sqlite://{}"
            [[route]]
            topic = "{TOPIC}"
            [http]
            listen = "off"
            [batch]
            drain_time = "5s"
            max_age = "20ms"
            {more}
            "#,
            self.cluster.bootstrap_servers(),
            self.file().display(),
        );
        Config::read(&text, &std::collections::BTreeMap::new()).unwrap()
    }

    pub(crate) fn start(&self) -> Running {
        Running::start(self.config("", ""), RunOptions::default())
    }

    /// Runs a consumer until `holds`.
    pub(crate) fn start_and_drain_when(&self, what: &str, holds: impl FnMut() -> bool) {
        let consumer = self.start();
        wait_until(what, holds);
        consumer.drain().unwrap();
    }

    /// Writes a record as any client could.
    pub(crate) fn send(&self, key: &str, value: Option<&str>, add: Option<&str>) {
        let partition = partition_of(key.as_bytes(), PARTITIONS).0;
        self.send_to(partition, Some(key), value, add);
    }

    pub(crate) fn send_to(
        &self,
        partition: i32,
        key: Option<&str>,
        value: Option<&str>,
        add: Option<&str>,
    ) {
        let headers: Vec<(&str, &str)> = add.map(|add| ("add", add)).into_iter().collect();
        self.send_with(partition, key, value, &headers);
    }

    /// Writes a record with these headers.
    pub(crate) fn send_with(
        &self,
        partition: i32,
        key: Option<&str>,
        value: Option<&str>,
        headers: &[(&str, &str)],
    ) {
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(TOPIC).partition(partition);
        record.key = key;
        record.payload = value;
        if !headers.is_empty() {
            let insert = |headers: OwnedHeaders, (key, value): &(&str, &str)| {
                headers.insert(Header { key, value: Some(*value) })
            };
            record = record.headers(headers.iter().fold(OwnedHeaders::new(), insert));
        }
        while let Err((error, again)) = self.producer.send(record) {
            assert_eq!(
                error.rdkafka_error_code(),
                Some(rdkafka::types::RDKafkaErrorCode::QueueFull)
            );
            self.producer.poll(Duration::from_millis(10));
            record = again;
        }
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until the cluster has every record.
    pub(crate) fn flush(&self) {
        self.producer.flush(PATIENCE).unwrap();
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.runtime.block_on(async {
            let mut connection = self.connect().await;
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        });
    }

    /// The rows of a query, each as its columns' text.
    pub(crate) fn query(&self, sql: &str) -> Vec<Vec<String>> {
        self.runtime.block_on(async {
            let mut connection = self.connect().await;
            let rows = sqlx::query(AssertSqlSafe(sql.to_owned()))
                .fetch_all(&mut connection)
                .await
                .unwrap();
            let text = |row: &sqlx::sqlite::SqliteRow, at| {
                row.try_get::<Option<String>, _>(at)
                    .or_else(|_| {
                        row.try_get::<Option<i64>, _>(at).map(|n| n.map(|n| n.to_string()))
                    })
                    .unwrap()
                    .unwrap_or_else(|| "NULL".to_owned())
            };
            rows.iter().map(|row| (0..row.len()).map(|at| text(row, at)).collect()).collect()
        })
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.query(sql)[0][0].parse().unwrap()
    }

    /// Waits for `future`.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A connection of the test's own.
    pub(crate) async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(self.file())
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(10))
            .connect()
            .await
            .unwrap()
    }

    /// What the group has committed, of each partition.
    pub(crate) fn committed(&self) -> Vec<Option<i64>> {
        let mut asked = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            asked.add_partition(TOPIC, partition);
        }
        let answer = self.client().committed_offsets(asked, PATIENCE).unwrap();
        let offset = |offset| match offset {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        answer.elements().iter().map(|one| offset(one.offset())).collect()
    }

    pub(crate) fn client(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "scores")
            .create()
            .unwrap()
    }

    /// Where the database stands, of each partition.
    pub(crate) fn positions(&self) -> Vec<Option<i64>> {
        let rows = self.query("SELECT partition, next_offset FROM write_behind_offsets");
        let of = |partition: i32| {
            let row = rows.iter().find(|row| row[0] == partition.to_string());
            row.map(|row| row[1].parse().unwrap())
        };
        (0..PARTITIONS).map(of).collect()
    }

    /// Whether all tables of the bookkeeping are there: this one is created last.
    pub(crate) fn is_initialised(&self) -> bool {
        let last = "write_behind_dead_letter_copies";
        self.number(&format!("SELECT count(*) FROM sqlite_master WHERE name = '{last}'")) == 1
    }
}

impl Running {
    pub(crate) fn start(config: Config, options: RunOptions) -> Self {
        let consumer = Consumer::new(config, options).unwrap();
        let status = consumer.status();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let (drain, drained) = oneshot::channel::<()>();
            let running = consumer.run(async { drained.await.unwrap_or(()) });
            let result = runtime.block_on(async {
                let mut running = Box::pin(running);
                tokio::select! {
                    biased;
                    result = &mut running => Some(result),
                    stop = stopped => match stop {
                        Ok(Stop::Drain) => {
                            drain.send(()).unwrap();
                            Some(running.await)
                        }
                        _ => None,
                    },
                }
            });
            runtime.shutdown_background();
            result
        });
        Self { status, stop: Some(stop), thread: Some(thread) }
    }

    /// Ends as by SIGTERM.
    pub(crate) fn drain(mut self) -> Result<Drained, RunError> {
        self.stop.take().unwrap().send(Stop::Drain).ok();
        self.thread.take().unwrap().join().unwrap().unwrap()
    }

    /// Ends as by SIGKILL.
    pub(crate) fn kill(mut self) {
        self.stop.take().unwrap().send(Stop::Kill).ok();
        self.thread.take().unwrap().join().unwrap();
    }

    /// Waits for it to end by itself.
    pub(crate) fn ended(mut self) -> Result<Drained, RunError> {
        let thread = self.thread.take().unwrap();
        wait_until("the consumer ends", || thread.is_finished());
        thread.join().unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(Stop::Kill).ok();
        }
    }
}

pub(crate) fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_for(what, holds, |holds| *holds);
}

/// Looks again and again until `holds`, and shows what was last seen when it never does.
pub(crate) fn wait_for<T: Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    holds: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}; last seen: {seen:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
