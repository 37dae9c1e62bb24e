//! A million random operations from two producers: the table equals a model that shares nothing
//! with the pipeline.
//!
//! A quarter of the keys is written by the one producer alone, a quarter by the other, with every
//! operation. On the other half both only add, which commutes, so the result does not depend on how
//! the producers' writes interleave.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_tests::figures::report;
use integration_tests::random::{Random, seed};
use integration_tests::stack::{Pipeline, same_rows};
use integration_tests::wait::PATIENCE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use write_behind_producer::WriteBehind;

const COLUMNS: &str =
    "id bigint primary key, name text, score bigint, visits bigint not null default 0";
const KEYS: u64 = 10_000;
const OPERATIONS_EACH: u64 = 500_000;
const READ_BACK_EVERY: u64 = 1_000;

/// A row as a service would have it, and as the model keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    rows: BTreeMap<i64, Row>,
}

impl Service {
    async fn start(pipeline: &Pipeline, place: u64, seed: u64) -> Result<Self> {
        let kafka = [("bootstrap.servers", pipeline.kafka.bootstrap())];
        let builder = WriteBehind::builder(&pipeline.name, kafka).sink_group(&pipeline.group);
        let (cache, rows) = (builder.build().await?, BTreeMap::new());
        Ok(Self { place, random: Random::from_seed(seed.wrapping_add(place)), cache, rows })
    }

    async fn run(mut self) -> Result<BTreeMap<i64, Row>> {
        for done in 0..OPERATIONS_EACH {
            let id = self.random.below(KEYS);
            // Of four neighbouring keys the first is ours alone, the second the other's.
            let id = match id % 4 {
                0 | 1 => id - id % 4 + self.place,
                _ => id,
            };
            let shared = id % 4 > 1;
            self.operate(id as i64, shared).await?;
            if done % READ_BACK_EVERY == 0 && !shared {
                self.put(id as i64).await?;
                let read = self.cache.get(&(id as i64)).await?;
                ensure!(read.as_ref() == self.rows.get(&(id as i64)), "{id} reads {read:?}");
            }
        }
        self.cache.persisted_all().await?;
        self.cache.close(Duration::from_secs(30)).await?;
        Ok(self.rows)
    }

    async fn operate(&mut self, id: i64, shared: bool) -> Result<()> {
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
        self.cache.add(&id, "visits", delta).await?;
        Ok(())
    }

    async fn add_score(&mut self, id: i64) -> Result<()> {
        let delta = self.random.below(1_000) as i64 - 500;
        let row = self.rows.entry(id).or_default();
        row.score = Some(row.score.unwrap_or(0) + delta);
        self.cache.add(&id, "score", delta).await?;
        Ok(())
    }

    async fn put(&mut self, id: i64) -> Result<()> {
        let number = self.random.next();
        let name = (!number.is_multiple_of(5)).then(|| format!("n{}", number % 1_000));
        let row = Row { name, score: Some(number as i64 >> 20), visits: (number % 100) as i64 };
        self.cache.put(&id, &row).await?;
        self.rows.insert(id, row);
        Ok(())
    }

    async fn delete(&mut self, id: i64) -> Result<()> {
        self.rows.remove(&id);
        self.cache.delete(&id).await?;
        Ok(())
    }

    async fn rename(&mut self, id: i64) -> Result<()> {
        let name = format!("renamed {}", self.random.below(1_000));
        self.cache.update(&id, &json!({ "name": name })).await?;
        self.rows.entry(id).or_default().name = Some(name);
        Ok(())
    }

    async fn set_score(&mut self, id: i64) -> Result<()> {
        let score = self.random.below(2).eq(&0).then(|| self.random.below(1_000) as i64);
        self.cache.update(&id, &json!({ "score": score })).await?;
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
    let seed = seed("random operations")?;
    let pipeline = Pipeline::new("random", 6, COLUMNS).await?;
    let worker = pipeline.settings("worker").start().await?;
    let began = Instant::now();
    let one = tokio::spawn(Service::start(&pipeline, 0, seed).await?.run());
    let other = tokio::spawn(Service::start(&pipeline, 1, seed).await?.run());
    let expected = merged(one.await??, other.await??);
    let wrote = began.elapsed();
    pipeline.drained(&[&worker], PATIENCE).await?;
    report(&format!(
        "{} random operations written in {wrote:.1?}, in the database after {:.1?}",
        2 * OPERATIONS_EACH,
        began.elapsed()
    ));
    same_rows(&pipeline.rows("id").await?, &expected).with_context(|| format!("SEED={seed}"))?;
    assert_eq!(pipeline.dead_letters().await?, []);
    pipeline.committed(&[&worker]).await
}
