//! A million random operations from two producers: the table equals a model that shares nothing
//! with the pipeline. `SOAK_SECONDS` makes it go on for so long instead.
//!
//! One of the producers gathers its writes. Both write singly, in batches, urgently, and by `modify`.
//!
//! A quarter of the keys is written by the one producer alone, a quarter by the other, with every
//! operation. On the other half both only add, which commutes, so the result does not depend on how
//! the producers' writes interleave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration_tests::figures::report;
use integration_tests::random::{Random, seed};
use integration_tests::stack::{Pipeline, same_rows};
use integration_tests::wait::{PATIENCE, Seen, until};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use write_behind_producer::{BuildError, PostgresLoader, Priority, WriteBehind};

const COLUMNS: &str =
    "id bigint primary key, name text, score bigint, visits bigint not null default 0";
const KEYS: u64 = 10_000;
const OPERATIONS_EACH: u64 = 500_000;
const READ_BACK_EVERY: u64 = 1_000;
/// A modification may have to load its row, so it is rare.
const MODIFY_EVERY: u64 = 200;
const BATCH_MAX: u64 = 20;

/// A row as a service would have it, and as the model keeps it. One that was only added to has no
/// other column until the database has given it its defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Row {
    name: Option<String>,
    score: Option<i64>,
    visits: i64,
}

/// One producer, and what its writes must have come to.
struct Service {
    place: u64,
    random: Random,
    cache: WriteBehind<i64, Row>,
    urgent: WriteBehind<i64, Row>,
    rows: BTreeMap<i64, Row>,
}

/// When it is enough.
#[derive(Clone, Copy, Debug)]
enum Until {
    Operations(u64),
    Time(Instant),
}

impl Until {
    fn of_the_environment() -> Result<Self> {
        Ok(match std::env::var("SOAK_SECONDS") {
            Ok(seconds) => {
                let seconds = Duration::from_secs(seconds.parse().context("SOAK_SECONDS")?);
                Self::Time(Instant::now() + seconds)
            }
            Err(_) => Self::Operations(OPERATIONS_EACH),
        })
    }

    fn is_over(self, done: u64) -> bool {
        match self {
            Self::Operations(operations) => done >= operations,
            Self::Time(end) => Instant::now() >= end,
        }
    }
}

impl Service {
    async fn start(pipeline: &Pipeline, place: u64, seed: u64) -> Result<Self> {
        let kafka = [("bootstrap.servers", pipeline.kafka.bootstrap())];
        let loader = PostgresLoader::table(pipeline.sql.clone(), pipeline.name.clone());
        let builder = WriteBehind::builder(&pipeline.name, kafka).sink_group(&pipeline.group);
        let builder = builder.loader(loader).coalesce(Duration::from_millis(20 * place));
        let cache = until("the bookkeeping to be there", PATIENCE, async || {
            match builder.clone().build().await {
                Ok(cache) => Ok(Seen::Done(cache)),
                Err(BuildError::Loader(error)) => Ok(Seen::NotYet(error.to_string())),
                Err(error) => bail!(error),
            }
        })
        .await?;
        let urgent = cache.with_priority(Priority::High);
        let random = Random::from_seed(seed.wrapping_add(place));
        Ok(Self { place, random, cache, urgent, rows: BTreeMap::new() })
    }

    /// Its rows, and how many operations they come from.
    async fn run(mut self, until: Until) -> Result<(BTreeMap<i64, Row>, u64)> {
        let mut done = 0;
        while !until.is_over(done) {
            let (id, shared) = self.choose();
            self.operate(id, shared).await?;
            if done % READ_BACK_EVERY == 0 && !shared {
                self.put(id).await?;
                let read = self.cache.get(&id).await?;
                ensure!(read.as_ref() == self.rows.get(&id), "{id} reads {read:?}");
            }
            done += 1;
        }
        self.cache.persisted_all().await?;
        self.cache.close(Duration::from_secs(30)).await?;
        Ok((self.rows, done))
    }

    /// A key, and whether the other writes it too.
    fn choose(&mut self) -> (i64, bool) {
        let id = self.random.below(KEYS);
        // Of four neighbouring keys the first is ours alone, the second the other's.
        let own = id % 4 < 2;
        let id = if own { id - id % 4 + self.place } else { id };
        (id as i64, !own)
    }

    /// This handle, now and then the urgent one.
    fn cache(&mut self) -> &WriteBehind<i64, Row> {
        if self.random.below(50) == 0 { &self.urgent } else { &self.cache }
    }

    /// Some keys that are ours alone, or that both only add to; each once.
    fn several(&mut self, shared: bool) -> Vec<i64> {
        let wanted = 1 + self.random.below(BATCH_MAX);
        let chosen = (0..wanted).map(|_| self.choose());
        let chosen: BTreeSet<i64> =
            chosen.filter(|(_, other)| *other == shared).map(|(id, _)| id).collect();
        chosen.into_iter().collect()
    }

    async fn put_many(&mut self) -> Result<()> {
        let mut rows = BTreeMap::new();
        for id in self.several(false) {
            rows.insert(id, self.random_row());
        }
        self.cache().put_many(&rows).await?;
        self.rows.extend(rows);
        Ok(())
    }

    async fn add_many(&mut self) -> Result<()> {
        let delta = self.random.below(10) as i64 - 3;
        let ids = self.several(true);
        for id in &ids {
            self.rows.entry(*id).or_default().visits += delta;
        }
        self.cache().add_many("visits", ids.iter().map(|id| (id, delta))).await?;
        Ok(())
    }

    async fn modify(&mut self, id: i64) -> Result<()> {
        let expected = self.rows.get(&id).cloned();
        let mut seen = None;
        let modified = self
            .cache
            .modify(&id, |row| {
                seen.clone_from(&row);
                let visits = row.as_ref().map_or(0, |row| row.visits) + 1;
                Some(Row { visits, ..row.unwrap_or_default() })
            })
            .await?;
        ensure!(seen == expected, "{id} is given to `modify` as {seen:?}, not {expected:?}");
        self.rows.insert(id, modified.row.context("a row")?);
        Ok(())
    }

    fn random_row(&mut self) -> Row {
        let number = self.random.next();
        let name = (!number.is_multiple_of(5)).then(|| format!("n{}", number % 1_000));
        Row { name, score: Some(number as i64 >> 20), visits: (number % 100) as i64 }
    }

    async fn operate(&mut self, id: i64, shared: bool) -> Result<()> {
        if !shared && self.random.below(MODIFY_EVERY) == 0 {
            return self.modify(id).await;
        }
        if self.random.below(BATCH_MAX) == 0 {
            return if shared { self.add_many().await } else { self.put_many().await };
        }
        match self.random.below(if shared { 2 } else { 8 }) {
            0 => self.add_visits(id).await,
            1 => self.add_score(id).await,
            2 | 3 => self.put(id).await,
            4 => self.delete(id).await,
            5 => self.rename(id).await,
            _ => self.set_score(id).await,
        }
    }

    async fn add_visits(&mut self, id: i64) -> Result<()> {
        let delta = self.random.below(10) as i64 - 3;
        self.rows.entry(id).or_default().visits += delta;
        self.cache().add(&id, "visits", delta).await?;
        Ok(())
    }

    async fn add_score(&mut self, id: i64) -> Result<()> {
        let delta = self.random.below(1_000) as i64 - 500;
        let row = self.rows.entry(id).or_default();
        row.score = Some(row.score.unwrap_or(0) + delta);
        self.cache().add(&id, "score", delta).await?;
        Ok(())
    }

    async fn put(&mut self, id: i64) -> Result<()> {
        let row = self.random_row();
        self.cache().put(&id, &row).await?;
        self.rows.insert(id, row);
        Ok(())
    }

    async fn delete(&mut self, id: i64) -> Result<()> {
        self.rows.remove(&id);
        self.cache().delete(&id).await?;
        Ok(())
    }

    async fn rename(&mut self, id: i64) -> Result<()> {
        let name = format!("renamed {}", self.random.below(1_000));
        self.cache().update(&id, &json!({ "name": name })).await?;
        self.rows.entry(id).or_default().name = Some(name);
        Ok(())
    }

    async fn set_score(&mut self, id: i64) -> Result<()> {
        let score = self.random.below(2).eq(&0).then(|| self.random.below(1_000) as i64);
        self.cache().update(&id, &json!({ "score": score })).await?;
        self.rows.entry(id).or_default().score = score;
        Ok(())
    }
}

/// The rows of both; on the shared keys their additions.
fn merged(mut one: BTreeMap<i64, Row>, other: BTreeMap<i64, Row>) -> BTreeMap<String, Value> {
    for (id, row) in other {
        let into = one.entry(id).or_default();
        into.visits += row.visits;
        into.score = match (into.score, row.score) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        into.name = into.name.take().or(row.name);
    }
    let row = |(id, row): (i64, Row)| {
        let Row { name, score, visits } = row;
        (id.to_string(), json!({ "id": id, "name": name, "score": score, "visits": visits }))
    };
    one.into_iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_random_operations_of_two_producers_equal_the_model() -> Result<()> {
    let (seed, until) = (seed("random operations")?, Until::of_the_environment()?);
    let pipeline = Pipeline::new("random", 6, COLUMNS).await?;
    let worker = pipeline.settings("worker").start().await?;
    let began = Instant::now();
    let one = tokio::spawn(Service::start(&pipeline, 0, seed).await?.run(until));
    let other = tokio::spawn(Service::start(&pipeline, 1, seed).await?.run(until));
    let ((one, of_one), (other, of_other)) = (one.await??, other.await??);
    let expected = merged(one, other);
    let wrote = began.elapsed();
    pipeline.drained(&[&worker], PATIENCE).await?;
    report(&format!(
        "{} random operations written in {wrote:.1?}, in the database after {:.1?}",
        of_one + of_other,
        began.elapsed()
    ));
    same_rows(&pipeline.rows("id").await?, &expected).with_context(|| format!("SEED={seed}"))?;
    assert_eq!(pipeline.dead_letters().await?, []);
    pipeline.committed(&[&worker]).await
}
