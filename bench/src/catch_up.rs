//! How fast a consumer catches up with a backlog, and how busy it keeps its connections.
//!
//! A broker and a Postgres in containers, the consumer as a process of its own. The backlog stands in
//! eight partitions before the consumer starts, and the table is compared with what the log folds to,
//! row by row. Where the cores are shared, the CPU time tells more than the seconds.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use integration_tests::log::Raw;
use integration_tests::random::Random;
use integration_tests::stack::Pipeline;
use integration_tests::wait::PATIENCE;
use integration_tests::worker::{Settings, Worker};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};

const COLUMNS: &str = "player_id bigint primary key, score bigint not null, name text not null,
    updated_at bigint";
const PARTITIONS: i32 = 8;
const SEED: u64 = 20_240_117;
/// How often it is looked how far the database is.
const LOOK: Duration = Duration::from_millis(10);

/// How the keys of a backlog are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Keys {
    /// Uniformly from a million.
    Distinct,
    /// By Zipf's law from ten thousand.
    Hot,
}

/// Connections and `max_rows` of each run; the first are the defaults.
const DISTINCT: [(u32, u32); 7] =
    [(2, 10_000), (2, 1_000), (2, 2_000), (2, 50_000), (4, 2_000), (4, 10_000), (4, 50_000)];
const HOT: [(u32, u32); 2] = [(2, 10_000), (2, 1_000)];

/// A backlog, and what it folds to.
struct Backlog {
    keys: Keys,
    pipeline: Pipeline,
    records: u64,
    /// By key: the last score and time.
    rows: Vec<Option<(i64, i64)>>,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Serialize)]
struct CatchUp {
    keys: Keys,
    connections: u32,
    max_rows: u32,
    /// From the first row in the table on.
    records_per_second: f64,
    /// The time that transactions took, over the connections and that time.
    busy: f64,
    rows_per_transaction: f64,
    /// CPU seconds a million records.
    consumer_cpu: f64,
    postgres_cpu: f64,
    kafka_cpu: f64,
    peak_megabytes: f64,
    /// From the start of the process to the first row.
    first_row_seconds: f64,
}

/// Catches up `rounds` times with a backlog of `records` of each kind, in each setting.
pub(crate) async fn run(rounds: u32, records: u64) -> Result<()> {
    println!("catch-up: {records} records in {PARTITIONS} partitions");
    for (keys, settings) in [(Keys::Distinct, &DISTINCT[..]), (Keys::Hot, &HOT[..])] {
        let mut backlog = Backlog::of(keys, records).await?;
        let distinct = backlog.rows.iter().flatten().count();
        println!("{keys:?} keys: {distinct} rows");
        for round in 0..rounds {
            for (connections, max_rows) in settings {
                let table = format!("{}_{round}_{connections}_{max_rows}", backlog.pipeline.name);
                let caught_up = backlog.catch_up(table, *connections, *max_rows).await?;
                println!("  {}", caught_up.line());
                println!("{}", serde_json::to_string(&caught_up)?);
            }
        }
    }
    Ok(())
}

impl Keys {
    fn count(self) -> u64 {
        match self {
            Keys::Distinct => 1_000_000,
            Keys::Hot => 10_000,
        }
    }

    fn draw(self, random: &mut Random, weights: &[f64]) -> u64 {
        match self {
            Keys::Distinct => random.below(self.count()),
            Keys::Hot => {
                let all = weights.last().copied().unwrap_or_default();
                let at = random.below(1 << 52) as f64 / (1_u64 << 52) as f64 * all;
                let rank = weights.partition_point(|weight| *weight < at) as u64;
                rank * 7_919 % self.count()
            }
        }
    }
}

impl Backlog {
    async fn of(keys: Keys, records: u64) -> Result<Self> {
        let about = if keys == Keys::Hot { "hot" } else { "distinct" };
        let pipeline = Pipeline::new(about, PARTITIONS, COLUMNS).await?;
        let mut random = Random::from_seed(SEED);
        let mut rows = vec![None; keys.count() as usize];
        let mut sum = 0.0;
        let weight = |rank: u64| {
            sum += 1.0 / (rank as f64).powf(0.99);
            sum
        };
        let weights: Vec<f64> = (1..=keys.count()).map(weight).collect();
        let mut part = Vec::with_capacity(100_000);
        for n in 0..records {
            let key = keys.draw(&mut random, &weights);
            let (score, at) = (random.below(1_000_000_000), 1_700_000_000_000 + n);
            rows[key as usize] = Some((score as i64, at as i64));
            let name = name(key as i64, score as i64);
            let value = format!(
                r#"{{"player_id":{key},"score":{score},"name":"{name}","updated_at":{at}}}"#
            );
            part.push(Raw::put(&key.to_string(), &value));
            if part.len() == part.capacity() || n + 1 == records {
                pipeline.append(&part).await?;
                part.clear();
            }
        }
        Ok(Self { keys, pipeline, records, rows })
    }

    /// Runs a consumer into `table` until the database has all of the backlog.
    async fn catch_up(
        &mut self,
        table: String,
        connections: u32,
        max_rows: u32,
    ) -> Result<CatchUp> {
        let text = format!("create table {table} ({COLUMNS})");
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&self.pipeline.sql).await?;
        self.pipeline.group.clone_from(&table);
        let settings = Settings {
            routes: vec![(self.pipeline.name.clone(), format!("public.{table}"))],
            connections,
            max_rows,
            max_age: "200ms",
            ..self.pipeline.settings("catch-up")
        };
        let settings = settings.with("WRITE_BEHIND_LOG", "info");
        let (postgres, kafka) = (&self.pipeline.postgres, self.pipeline.kafka);
        let (postgres_before, kafka_before) = (postgres.cpu().await?, kafka.cpu().await?);
        let began = Instant::now();
        let worker = settings.start().await?;
        let first = self.reaches(&worker, 1).await?;
        let last = self.reaches(&worker, self.records as i64).await?;
        let millions = self.records as f64 / 1e6;
        let (cpu, peak) = (worker.cpu()?.as_secs_f64(), worker.peak()?);
        let postgres_cpu = postgres.cpu().await?.saturating_sub(postgres_before).as_secs_f64();
        let kafka_cpu = kafka.cpu().await?.saturating_sub(kafka_before).as_secs_f64();
        let metric = async |name: &str| {
            let name = format!("write_behind_consumer_{name}");
            anyhow::Ok(worker.metric(&name).await?.unwrap_or_default())
        };
        let transactions = metric("transaction_seconds_count").await?.max(1.0);
        let writing = metric("transaction_seconds_sum").await?;
        let rows = metric("written_rows_total").await?;
        self.check(&table).await?;
        drop(worker);
        let text = format!("drop table {table}");
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&self.pipeline.sql).await?;
        // The first transaction began before its rows could be seen.
        let window = (last - first).as_secs_f64() + writing / transactions;
        Ok(CatchUp {
            keys: self.keys,
            connections,
            max_rows,
            records_per_second: self.records as f64 / window,
            busy: writing / (f64::from(connections) * window),
            rows_per_transaction: rows / transactions,
            consumer_cpu: cpu / millions,
            postgres_cpu: postgres_cpu / millions,
            kafka_cpu: kafka_cpu / millions,
            peak_megabytes: peak as f64 / 1e6,
            first_row_seconds: (first - began).as_secs_f64(),
        })
    }

    /// When the database has this number of records.
    async fn reaches(&self, worker: &Worker, records: i64) -> Result<Instant> {
        let began = Instant::now();
        loop {
            let applied: i64 = self.pipeline.applied().await?.values().sum();
            if applied >= records {
                return Ok(Instant::now());
            }
            worker.still_runs()?;
            if began.elapsed() > PATIENCE {
                bail!("{applied} of {records} records after {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Compares every row.
    async fn check(&self, table: &str) -> Result<()> {
        let text = format!("select player_id, score, name, updated_at from {table}");
        let found = sqlx::query(AssertSqlSafe(text)).fetch_all(&self.pipeline.sql).await?;
        let expected = self.rows.iter().flatten().count();
        ensure!(found.len() == expected, "{} rows instead of {expected}", found.len());
        for row in found {
            let (key, score, at): (i64, i64, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(3)?);
            let is = (score, row.try_get::<String, _>(2)?, at);
            let (score, at) = self.rows[key as usize].unwrap_or_default();
            ensure!(is == (score, name(key, score), at), "row {key} is {is:?}");
        }
        Ok(())
    }
}

impl CatchUp {
    fn line(&self) -> String {
        format!(
            "connections {}, max_rows {}: {:.0} records/s, busy {:.0} %, {:.0} rows a transaction; CPU s \
             a million records: consumer {:.2}, Postgres {:.2}, Kafka {:.2}; {:.0} MB; first row after \
             {:.2} s",
            self.connections,
            self.max_rows,
            self.records_per_second,
            100.0 * self.busy,
            self.rows_per_transaction,
            self.consumer_cpu,
            self.postgres_cpu,
            self.kafka_cpu,
            self.peak_megabytes,
            self.first_row_seconds,
        )
    }
}

fn name(key: i64, score: i64) -> String {
    format!("player-{key:07}-{:04x}", score & 0xffff)
}
