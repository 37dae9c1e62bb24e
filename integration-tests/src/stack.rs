//! One broker and one database for all tests of a binary, and a pipeline of its own for each test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::containers::in_background;
use crate::kafka::Kafka;
use crate::log::{Group, Log, Raw};
use crate::postgres::Postgres;
use crate::wait::{PATIENCE, Seen, until};
use crate::worker::{Settings, Worker};

/// The broker that all tests of this binary share.
pub async fn kafka() -> Result<&'static Kafka> {
    static KAFKA: OnceCell<Kafka> = OnceCell::const_new();
    KAFKA.get_or_try_init(async || in_background(Kafka::start).await).await
}

/// The database that all tests of this binary share, unless they mean to harm it.
pub async fn postgres() -> Result<Arc<Postgres>> {
    static POSTGRES: OnceCell<Arc<Postgres>> = OnceCell::const_new();
    let started =
        POSTGRES.get_or_try_init(async || in_background(Postgres::start).await.map(Arc::new));
    Ok(Arc::clone(started.await?))
}

/// The database with `PostGIS` that all tests of this binary share.
pub async fn postgis() -> Result<&'static Postgres> {
    static POSTGIS: OnceCell<Postgres> = OnceCell::const_new();
    POSTGIS.get_or_try_init(async || in_background(Postgres::start_with_postgis).await).await
}

/// A topic, a table and a pipeline that no other test knows.
#[derive(Debug)]
pub struct Pipeline {
    /// Names the topic and the table.
    pub name: String,
    /// Names the pipeline and its group: the same, unless a test joins several to one worker.
    pub group: String,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The broker.
    pub kafka: &'static Kafka,
    /// The database.
    pub postgres: Arc<Postgres>,
    /// Any other Kafka client.
    pub log: Log,
    /// Any other database client.
    pub sql: PgPool,
}

/// A dead letter, as far as tests ask for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetAside {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Why it was set aside.
    pub reason: String,
    /// The database's code, when it was the database.
    pub sqlstate: Option<String>,
}

impl Pipeline {
    /// A topic with this many partitions, and a table with these columns, in the shared stack.
    pub async fn new(about: &str, partitions: i32, columns: &str) -> Result<Self> {
        Self::on(postgres().await?, about, partitions, columns).await
    }

    /// The same with a database of its own.
    pub async fn on(
        postgres: Arc<Postgres>,
        about: &str,
        partitions: i32,
        columns: &str,
    ) -> Result<Self> {
        let kafka = kafka().await?;
        let random = Uuid::new_v4().simple().to_string();
        let name = format!("{about}_{}", &random[..8]);
        kafka.create_topic(&name, partitions).await?;
        let sql = postgres.connect().await?;
        let table = format!("create table {name} ({columns})");
        sqlx::raw_sql(AssertSqlSafe(table)).execute(&sql).await.context("the test's table")?;
        let log = Log::new(&kafka.bootstrap())?;
        Ok(Self { group: name.clone(), name, partitions, kafka, postgres, log, sql })
    }

    /// What a worker of this pipeline is told, straight to the broker and the database.
    pub fn settings(&self, client: &str) -> Settings {
        Settings {
            pipeline: self.group.clone(),
            routes: vec![(self.name.clone(), format!("public.{}", self.name))],
            bootstrap: self.kafka.bootstrap(),
            database: Postgres::url_by_way_of(self.postgres.port()),
            client: format!("{client}-{}", self.name),
            ..Settings::plain()
        }
    }

    /// Appends raw records in their order.
    pub async fn append(&self, records: &[Raw]) -> Result<Vec<(i32, i64)>> {
        self.log.append(&self.name, self.partitions, records).await
    }

    /// Where the database's bookkeeping stands in each partition.
    pub async fn applied(&self) -> Result<BTreeMap<i32, i64>> {
        let text = r#"select "partition", next_offset from write_behind_offsets
            where pipeline = $1 and topic = $2"#;
        let exists: bool =
            sqlx::query_scalar("select to_regclass('write_behind_offsets') is not null")
                .fetch_one(&self.sql)
                .await?;
        if !exists {
            return Ok(BTreeMap::new());
        }
        let rows =
            sqlx::query(text).bind(&self.group).bind(&self.name).fetch_all(&self.sql).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Waits until the database has all that is in the log now.
    pub async fn drained(&self, workers: &[&Worker], patience: Duration) -> Result<()> {
        let ends = self.log.ends(&self.name, self.partitions).await?;
        until(&format!("{} to be in the database", self.name), patience, async || {
            workers.iter().try_for_each(|worker| worker.still_runs())?;
            let applied = self.applied().await?;
            Ok(Seen::when(reaches(&applied, &ends), || format!("{applied:?} of {ends:?}")))
        })
        .await
    }

    /// Waits until Kafka's committed offsets are at the end of the log as it is now.
    pub async fn committed(&self, workers: &[&Worker]) -> Result<()> {
        let ends = self.log.ends(&self.name, self.partitions).await?;
        until(&format!("Kafka's offsets of {} to catch up", self.name), PATIENCE, async || {
            workers.iter().try_for_each(|worker| worker.still_runs())?;
            let committed = self.log.committed(&self.group, &self.name, self.partitions).await?;
            Ok(Seen::when(reaches(&committed, &ends), || format!("{committed:?} of {ends:?}")))
        })
        .await
    }

    /// Waits until exactly these workers are the group, with nothing left to hand over.
    pub async fn settled(&self, workers: &[&Worker]) -> Result<Group> {
        let mut clients: Vec<&str> = workers.iter().map(|worker| worker.client()).collect();
        clients.sort_unstable();
        until(&format!("the group {} to be {clients:?}", self.group), PATIENCE, async || {
            workers.iter().try_for_each(|worker| worker.still_runs())?;
            let group = self.log.group(&self.group).await?;
            let there: Vec<&str> = group.members.iter().map(|member| &*member.client).collect();
            let assigned = group.members.iter().filter(|member| member.assigned).count();
            let all = assigned == clients.len().min(self.partitions as usize);
            let settled = group.state == "Stable" && there == clients && all;
            Ok(if settled { Seen::Done(group) } else { Seen::NotYet(format!("{group:?}")) })
        })
        .await
    }

    /// Waits until these workers read all partitions between them, each its part. They say it
    /// themselves, so it holds for every group protocol.
    pub async fn shared_out(&self, workers: &[&Worker]) -> Result<()> {
        let name = &self.name;
        until(&format!("{} workers to read all of {name}", workers.len()), PATIENCE, async || {
            let mut parts = Vec::new();
            for worker in workers {
                worker.still_runs()?;
                let part = worker.metric("write_behind_consumer_partitions").await;
                // One that was started just now does not answer yet.
                parts.push(part.ok().flatten().unwrap_or(0.0) as i32);
            }
            let idle = parts.iter().filter(|part| **part == 0).count();
            let may_be_idle = workers.len().saturating_sub(self.partitions as usize);
            let all = parts.iter().sum::<i32>() == self.partitions && idle <= may_be_idle;
            Ok(Seen::when(all, || format!("{parts:?} partitions")))
        })
        .await
    }

    /// Makes each insert wait in its transaction, so that a worker that leaves does so inside one.
    pub async fn slow_down(&self) -> Result<()> {
        let text = format!(
            "create function slow_{0}() returns trigger language plpgsql as
                $$ begin perform pg_sleep(0.1); return null; end $$;
            create trigger slow before insert on {0} for each statement execute function slow_{0}()",
            self.name
        );
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&self.sql).await?;
        Ok(())
    }

    /// What was set aside, in the order of the log.
    pub async fn dead_letters(&self) -> Result<Vec<SetAside>> {
        let text = r#"select "partition", record_offset, reason, sqlstate
            from write_behind_dead_letters where pipeline = $1 and topic = $2
            order by "partition", record_offset"#;
        let rows =
            sqlx::query(text).bind(&self.group).bind(&self.name).fetch_all(&self.sql).await?;
        let set_aside = |row: &sqlx::postgres::PgRow| {
            Ok(SetAside {
                partition: row.try_get(0)?,
                offset: row.try_get(1)?,
                reason: row.try_get(2)?,
                sqlstate: row.try_get(3)?,
            })
        };
        rows.iter().map(set_aside).collect()
    }

    /// The table's rows as JSON objects, by the text of the key column.
    pub async fn rows(&self, key: &str) -> Result<BTreeMap<String, serde_json::Value>> {
        let text = format!("select {key}::text, to_jsonb(t)::text from {} t", self.name);
        let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(&self.sql).await?;
        rows.iter()
            .map(|row| {
                let json: String = row.try_get(1)?;
                Ok((row.try_get(0)?, serde_json::from_str(&json)?))
            })
            .collect()
    }

    /// The one number that `expression` is over the whole table.
    pub async fn number(&self, expression: &str) -> Result<i64> {
        let text = format!("select coalesce(({expression}), 0)::bigint from {}", self.name);
        Ok(sqlx::query_scalar(AssertSqlSafe(text)).fetch_one(&self.sql).await?)
    }
}

/// An error that names the first few differences between a table and what it should be.
pub fn same_rows<V: PartialEq + std::fmt::Debug>(
    found: &BTreeMap<String, V>,
    expected: &BTreeMap<String, V>,
) -> Result<()> {
    let keys = found.keys().chain(expected.keys());
    let mut wrong: Vec<&String> =
        keys.filter(|key| found.get(*key) != expected.get(*key)).collect();
    wrong.sort();
    wrong.dedup();
    let shown: Vec<String> = wrong
        .iter()
        .take(5)
        .map(|key| format!("{key}: {:?} should be {:?}", found.get(*key), expected.get(*key)))
        .collect();
    ensure!(wrong.is_empty(), "{} rows differ:\n  {}", wrong.len(), shown.join("\n  "));
    Ok(())
}

fn reaches(at: &BTreeMap<i32, i64>, ends: &BTreeMap<i32, i64>) -> bool {
    ends.iter().all(|(partition, end)| *end == 0 || at.get(partition).is_some_and(|at| at >= end))
}
