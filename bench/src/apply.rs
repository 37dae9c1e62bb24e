//! The consumer's apply beside a hand-written UNNEST upsert, on one connection each.
//!
//! The hand-written loop has its values ready in the database's own types and knows nothing of
//! offsets. Ours starts from folded JSON: it judges every value against its column, moves the
//! offset, writes and commits.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use integration_tests::postgres::Postgres;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use write_behind_consumer::apply::history::RouteHistory;
use write_behind_consumer::apply::log::{Log, RereadError, RereadPart};
use write_behind_consumer::apply::retry::RetryLimits;
use write_behind_consumer::apply::{Applied, Target, Worker};
use write_behind_consumer::clock::MonotonicClock;
use write_behind_consumer::core::batch::{Batch, FoldedRow, LastRecord, Span, WantedKeys};
use write_behind_consumer::core::bookkeeping_key::BookkeepingKey;
use write_behind_consumer::core::flood::FloodLimits;
use write_behind_consumer::store::{Database, Position, Store, Timeouts};
use write_behind_shared::{NextOffset, Offset, Partition, record};

use crate::rounds::{Duel, Lap};

const ROWS: u64 = 10_000;
const BATCHES: u64 = 20;
const TABLES: [&str; 2] = ["bench_raw", "bench_ours"];

/// Never asked: no row of the bench is refused.
struct NoLog;

impl Log for NoLog {
    async fn records(
        &self,
        _: Arc<str>,
        _: Vec<Span>,
        _: Arc<WantedKeys>,
    ) -> Result<RereadPart, RereadError> {
        Err(RereadError::Stop("the bench has no log".to_owned()))
    }
}

/// Runs `rounds` of both loops.
pub(crate) async fn run(rounds: u32, database: Option<String>) -> Result<()> {
    println!("apply: {BATCHES} transactions a round, {ROWS} rows each, one connection");
    let container = if database.is_none() { Some(Postgres::start().await?) } else { None };
    let own = container.as_ref().map(|postgres| Postgres::url_by_way_of(postgres.port()));
    let url = database.or(own).unwrap_or_default();
    let mut sql = PgConnection::connect(&url).await.context("can't connect to Postgres")?;
    for table in TABLES {
        let text = format!(
            "drop table if exists {table}; create table {table} (id bigint primary key,
             name text not null, score bigint not null, level integer not null, updated_at bigint not null)"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut sql).await?;
    }
    let mut worker = worker(&url).await?;
    let mut next = 0;
    let mut duel = Duel::new("apply", 0.95);
    for round in 0..rounds {
        let first = u64::from(round);
        let (raw, ours) = (raw(&mut sql, first).await?, ours(&mut worker, &mut next, first).await?);
        duel.round(raw, ours);
    }
    duel.report()
}

async fn raw(sql: &mut PgConnection, round: u64) -> Result<Lap> {
    let batches: Vec<Columns> = (0..BATCHES).map(|batch| Columns::of(round + batch)).collect();
    let began = Instant::now();
    for columns in &batches {
        let mut tx = sql.begin().await?;
        sqlx::query(
            "insert into bench_raw (id, name, score, level, updated_at)
             select * from unnest($1::bigint[], $2::text[], $3::bigint[], $4::integer[], $5::bigint[])
             on conflict (id) do update set name = excluded.name, score = excluded.score,
             level = excluded.level, updated_at = excluded.updated_at",
        )
        .bind(&columns.id)
        .bind(&columns.name)
        .bind(&columns.score)
        .bind(&columns.level)
        .bind(&columns.updated_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
    }
    Ok(Lap { items: ROWS * BATCHES, took: began.elapsed() })
}

struct Columns {
    id: Vec<i64>,
    name: Vec<String>,
    score: Vec<i64>,
    level: Vec<i32>,
    updated_at: Vec<i64>,
}

impl Columns {
    fn of(batch: u64) -> Self {
        let rows = 0..ROWS as i64;
        Self {
            id: rows.clone().collect(),
            name: rows.clone().map(|id| format!("player {id}")).collect(),
            score: rows.clone().map(|id| id + batch as i64).collect(),
            level: rows.clone().map(|_| 7).collect(),
            updated_at: rows.map(|id| 1_700_000_000 + id + batch as i64).collect(),
        }
    }
}

type OurWorker = Worker<(Database, Timeouts), NoLog>;

async fn worker(url: &str) -> Result<OurWorker> {
    let database = Database::parse(url)?;
    let scope = BookkeepingKey {
        pipeline: format!("bench-{}", std::process::id()),
        cluster: "bench".to_owned(),
        topic: "bench".to_owned(),
    };
    let mut store = database.connect(&Timeouts::STANDARD).await?;
    store.init().await?;
    let (partition, next) = (Partition(0), NextOffset::ZERO);
    let begin = Position { partition, next, partitions: 1, writers: Vec::new() };
    store.begin_at(&scope, &[begin]).await?;
    let target = Target {
        scope,
        partitions: 1,
        table: TABLES[1].to_owned(),
        key: Vec::new(),
        columns: None,
        rename: Vec::new(),
        version: None,
        history: Arc::new(RouteHistory::new(FloodLimits::NONE)),
    };
    let (retry, connect) = ((RetryLimits::STANDARD, 1), (database, Timeouts::STANDARD));
    let targets = Arc::new([target]);
    Ok(Worker::new(
        connect,
        Arc::new(NoLog),
        targets,
        retry,
        Arc::new(|event| {
            eprintln!("bench: {event:?}");
        }),
        MonotonicClock::start(),
    ))
}

async fn ours(worker: &mut OurWorker, next: &mut i64, round: u64) -> Result<Lap> {
    let mut batches = Vec::new();
    for batch in 0..BATCHES {
        batches.push(batch_of(next, round + batch)?);
    }
    let (_running, mut shutdown) = watch::channel(false);
    let began = Instant::now();
    for batch in &batches {
        match worker.apply(batch, &mut shutdown).await {
            Applied::Written(..) => {}
            other => bail!("a batch was not written: {other:?}"),
        }
    }
    Ok(Lap { items: ROWS * BATCHES, took: began.elapsed() })
}

fn batch_of(next: &mut i64, batch: u64) -> Result<Batch> {
    let start = NextOffset(*next);
    *next += ROWS as i64;
    let row = |id: u64| {
        let (score, at) = (id + batch, 1_700_000_000 + id + batch);
        let value =
            format!(r#"{{"name":"player {id}","score":{score},"level":7,"updated_at":{at}}}"#);
        let change = record::decode(Some(value.as_bytes()), None)?;
        let key = id.to_string().into_bytes().into_boxed_slice();
        anyhow::Ok(FoldedRow { partition: Partition(0), key, change, row_by_row: false })
    };
    let partition = Partition(0);
    let last = LastRecord { partition, offset: Offset(*next - 1), timestamp: 1_700_000_000_000 };
    Ok(Batch {
        route: 0,
        topic: Arc::from("bench"),
        spans: vec![Span { partition, start, end: NextOffset(*next) }],
        rows: (0..ROWS).map(row).collect::<Result<_>>()?,
        last_records: vec![last],
        records: ROWS,
        ..Batch::default()
    })
}
