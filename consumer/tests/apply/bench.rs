//! A worker with everything around it, and faults to order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tempfile::TempDir;
use tokio::sync::watch;
use write_behind_consumer::apply::history::RouteHistory;
use write_behind_consumer::apply::retry::RetryLimits;
use write_behind_consumer::apply::{Applied, Connect, Event, Stats, Target, Worker};
use write_behind_consumer::clock::Clock;
use write_behind_consumer::core::batch::{Batch, FoldedRow, Span};
use write_behind_consumer::core::bookkeeping_key::BookkeepingKey;
use write_behind_consumer::core::claim::Claim;
use write_behind_consumer::core::flood::FloodLimits;
use write_behind_consumer::core::record::{DeadLetter, RawRecord};
use write_behind_consumer::core::table::Table;
use write_behind_consumer::store::{
    AnyStore, BookkeepingState, Database, Known, Outcome, Position, Store, StoreError, Timeouts,
    Transaction, WriteOptions,
};
use write_behind_shared::{Change, NextOffset, Offset, Partition, record};

use crate::records::Records;

/// What a call of `apply` does instead of what it should.
pub(crate) enum Fault {
    /// Fails before anything happened.
    Fails(StoreError),
    /// Fails in the same way after ten seconds.
    FailsLate(StoreError),
    /// Commits, and loses the answer.
    CommitsUnheard,
}

/// The faults to come, and what was asked so far.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) faults: Mutex<VecDeque<Fault>>,
    pub(crate) manners: Mutex<Vec<WriteOptions>>,
    pub(crate) connections: Mutex<usize>,
    /// Whether the database gives no sign to a transaction that the table was altered, as MySQL gives none
    /// of a trigger.
    pub(crate) gives_no_sign: Mutex<bool>,
    pub(crate) clock: SkippingClock,
}

/// A clock on which a wait takes no time.
#[derive(Clone, Debug, Default)]
pub(crate) struct SkippingClock(Arc<Mutex<Duration>>);

impl Clock for SkippingClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
        tokio::task::yield_now().await;
    }
}

pub(crate) struct Scripted {
    store: AnyStore,
    pub(crate) script: Arc<Script>,
}

impl Store for Scripted {
    async fn bookkeeping(&mut self) -> Result<BookkeepingState, StoreError> {
        self.store.bookkeeping().await
    }

    async fn init(&mut self) -> Result<BookkeepingState, StoreError> {
        self.store.init().await
    }

    async fn describe(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
        self.store.describe(table, key).await
    }

    async fn positions(
        &mut self,
        scope: &BookkeepingKey,
        partitions: &[Partition],
    ) -> Result<Vec<Position>, StoreError> {
        self.store.positions(scope, partitions).await
    }

    async fn begin_at(
        &mut self,
        scope: &BookkeepingKey,
        at: &[Position],
    ) -> Result<(), StoreError> {
        self.store.begin_at(scope, at).await
    }

    async fn known(&mut self, scope: &BookkeepingKey) -> Result<Vec<Known>, StoreError> {
        self.store.known(scope).await
    }

    async fn claims(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> Result<Vec<Claim>, StoreError> {
        self.store.claims(table, scope).await
    }

    async fn note_claim(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> Result<(), StoreError> {
        self.store.note_claim(table, scope).await
    }

    async fn is_empty(&mut self, table: &Table) -> Result<bool, StoreError> {
        self.store.is_empty(table).await
    }

    async fn apply(&mut self, transaction: &Transaction<'_>) -> Result<Outcome, StoreError> {
        self.script.manners.lock().unwrap().push(transaction.options);
        let fault = self.script.faults.lock().unwrap().pop_front();
        let gives_no_sign = *self.script.gives_no_sign.lock().unwrap();
        match fault {
            None if gives_no_sign => {
                let identity = self.store.describe("t", &[]).await?.identity;
                let table = Table { identity, ..transaction.table.clone() };
                self.store.apply(&Transaction { table: &table, ..*transaction }).await
            }
            None => self.store.apply(transaction).await,
            Some(Fault::Fails(error)) => Err(error),
            Some(Fault::FailsLate(error)) => {
                self.script.clock.sleep(Duration::from_secs(10)).await;
                Err(error)
            }
            Some(Fault::CommitsUnheard) => {
                let outcome = self.store.apply(transaction).await;
                assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
                Err(StoreError::Unavailable("the answer was lost".to_owned()))
            }
        }
    }
}

/// A database file that lives as long as its tests.
#[derive(Clone)]
pub(crate) struct File(Arc<TempDir>);

impl File {
    pub(crate) async fn connection(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.0.path().join("test.db"));
        options.create_if_missing(true).connect().await.unwrap()
    }

    pub(crate) async fn sql(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut self.connection().await).await.unwrap();
    }

    pub(crate) async fn list(&self, sql: &'static str) -> Vec<String> {
        let rows = sqlx::query(sql).fetch_all(&mut self.connection().await).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub(crate) async fn store(&self) -> AnyStore {
        let url = format!("sqlite://{}", self.0.path().join("test.db").display());
        Database::parse(&url).unwrap().connect(&Timeouts::STANDARD).await.unwrap()
    }
}

pub(crate) struct Connections {
    pub(crate) file: File,
    pub(crate) script: Arc<Script>,
}

impl Connect for Connections {
    type Store = Scripted;

    async fn connect(&self) -> Result<Scripted, StoreError> {
        *self.script.connections.lock().unwrap() += 1;
        Ok(Scripted { store: self.file.store().await, script: Arc::clone(&self.script) })
    }
}

/// A worker over an empty table, and everything around it.
pub(crate) struct Bench {
    pub(crate) file: File,
    pub(crate) script: Arc<Script>,
    pub(crate) log: Arc<Records>,
    pub(crate) worker: Worker<Connections, Records, SkippingClock>,
    pub(crate) shutdown: watch::Sender<bool>,
    pub(crate) next: i64,
    /// What was told of records that were set aside: how many, and the first.
    pub(crate) set_aside: Arc<Mutex<Vec<(usize, String)>>>,
}

pub(crate) const TABLE: &str = "CREATE TABLE t (id integer PRIMARY KEY, n bigint DEFAULT 0, \
                     short text CHECK (length(short) <= 3))";
pub(crate) const DUMP: &str = "SELECT concat_ws(' ', id, n, short) FROM t ORDER BY id";
pub(crate) const LETTERS: &str = "SELECT record_offset || ' ' || reason FROM write_behind_dead_letters \
                       ORDER BY record_offset";

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(FloodLimits::STANDARD).await
    }

    pub(crate) async fn with(limits: FloodLimits) -> Self {
        let file = File(Arc::new(tempfile::tempdir().unwrap()));
        file.sql(TABLE).await;
        let owned = |text: &str| text.to_owned();
        let scope = BookkeepingKey { pipeline: owned("p"), cluster: owned("c"), topic: owned("t") };
        let mut store = file.store().await;
        store.init().await.unwrap();
        let start = Position {
            partition: Partition(0),
            next: NextOffset(0),
            partitions: 1,
            writers: vec![],
        };
        store.begin_at(&scope, &[start]).await.unwrap();
        let target = Target {
            scope,
            partitions: 1,
            table: owned("t"),
            key: Vec::new(),
            columns: None,
            rename: Vec::new(),
            version: None,
            history: Arc::new(RouteHistory::new(limits)),
        };
        let (script, log) = (Arc::new(Script::default()), Arc::new(Records::default()));
        let limits = RetryLimits {
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(5),
            ..RetryLimits::STANDARD
        };
        let set_aside = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&set_aside);
        let observe = move |event: Event<'_>| {
            if let Event::SetAside(_, places, first) = event {
                told.lock().unwrap().push((places.len(), first));
            }
        };
        let worker = Worker::new(
            Connections { file: file.clone(), script: Arc::clone(&script) },
            Arc::clone(&log),
            Arc::from([target]),
            (limits, 1),
            Arc::new(observe),
            script.clock.clone(),
        );
        Self { file, script, log, worker, shutdown: watch::channel(false).0, next: 0, set_aside }
    }

    pub(crate) fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script.faults.lock().unwrap().extend(faults);
    }

    /// Appends records to the log and folds them into a batch, as the pipeline would.
    pub(crate) fn batch(&mut self, records: &[(&str, &str, &str)]) -> Batch {
        let start = self.next;
        let records_count = records.len() as u64;
        let mut batch = Batch { topic: "t".into(), records: records_count, ..Batch::default() };
        let mut folded: BTreeMap<&str, Change> = BTreeMap::new();
        for (key, value, add) in records {
            let record = raw(self.next, key, value, add);
            self.log.all.lock().unwrap().push(record.clone());
            self.next += 1;
            match record::decode(record.value.as_deref(), Some(add)) {
                Ok(change) => folded.entry(key).or_default().fold(change),
                Err(error) => batch.dead_letters.push(DeadLetter {
                    record,
                    reason: error.to_string(),
                    sqlstate: None,
                }),
            }
        }
        batch.rows = folded
            .into_iter()
            .map(|(key, change)| FoldedRow {
                partition: Partition(0),
                key: key.as_bytes().into(),
                change,
                row_by_row: false,
            })
            .collect();
        let (start, end) = (NextOffset(start), NextOffset(self.next));
        batch.spans = vec![Span { partition: Partition(0), start, end }];
        batch
    }

    pub(crate) async fn apply(&mut self, batch: &Batch) -> Applied {
        let mut shutdown = self.shutdown.subscribe();
        let applied = self.worker.apply(batch, &mut shutdown);
        tokio::time::timeout(Duration::from_mins(1), applied).await.expect("it takes too long")
    }

    /// Applies records as one batch that must be written.
    pub(crate) async fn write(&mut self, records: &[(&str, &str, &str)]) -> Stats {
        let batch = self.batch(records);
        match self.apply(&batch).await {
            Applied::Written(written, stats) => {
                assert_eq!(written.spans(), batch.spans);
                stats
            }
            other => panic!("it must be written, not {other:?}"),
        }
    }

    pub(crate) async fn dump(&self) -> Vec<String> {
        self.file.list(DUMP).await
    }

    pub(crate) async fn letters(&self) -> Vec<String> {
        self.file.list(LETTERS).await
    }
}

pub(crate) fn raw(offset: i64, key: &str, value: &str, add: &str) -> RawRecord {
    let add = (!add.is_empty()).then(|| ("add".to_owned(), Some(add.as_bytes().into())));
    RawRecord {
        partition: Partition(0),
        offset: Offset(offset),
        key: Some(key.as_bytes().into()),
        value: Some(value.as_bytes().into()),
        headers: add.into_iter().collect(),
    }
}
