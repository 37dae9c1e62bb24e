//! The database away for longer than `max.poll.interval.ms`: the worker keeps its place in the
//! group and its memory, sets nothing aside, and goes on by itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::figures::report;
use integration_tests::log::{Group, Raw};
use integration_tests::postgres::Postgres;
use integration_tests::postgres_wire::{Point, PostgresWire};
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, throughout};
use integration_tests::wire::Door;
use integration_tests::worker::{Settings, Worker};

const POLL_INTERVAL: Duration = Duration::from_secs(6);
/// More than twice what a worker may be silent.
const OUTAGE: Duration = Duration::from_secs(14);

const COLUMNS: &str = "id text primary key, body text, n bigint not null default 0";
const KEYS: usize = 40_000;
const BODY_BYTES: usize = 4_000;
/// What came in while the database was away is 160 MB; this is what the worker may grow by.
const GROWTH_MAX: u64 = 96 << 20;

fn settings(pipeline: &Pipeline) -> Settings {
    let mut settings = pipeline.settings("worker");
    settings.buffers = "16MiB";
    settings.max_bytes = "1MiB";
    settings.drain_time = "1s";
    settings
        .kafka("session.timeout.ms", "6000")
        .kafka("max.poll.interval.ms", &POLL_INTERVAL.as_millis().to_string())
        .kafka("queued.max.messages.kbytes", "8192")
}

/// A record of every key: its body, and one for its counter.
fn flood(round: usize) -> impl Iterator<Item = Raw> {
    (0..KEYS).map(move |key| {
        let body = format!("{key} {round} ").repeat(BODY_BYTES / 8);
        Raw::put(&format!("key-{key}"), &format!(r#"{{"body":"{body}","n":1}}"#)).adding("n")
    })
}

struct Scene {
    pipeline: Pipeline,
    worker: Worker,
    group: Group,
    resident: u64,
}

impl Scene {
    /// A worker that has applied some records and stands still.
    async fn set(pipeline: Pipeline, settings: Settings) -> Result<Self> {
        let worker = settings.start().await?;
        let warming: Vec<Raw> = flood(0).take(2_000).collect();
        pipeline.append(&warming).await?;
        pipeline.drained(&[&worker], PATIENCE).await?;
        pipeline.committed(&[&worker]).await?;
        let group = pipeline.settled(&[&worker]).await?;
        let resident = worker.resident()?;
        Ok(Self { pipeline, worker, group, resident })
    }

    /// While the database is away: more comes in than the worker may hold, and it stays what it is.
    async fn endure(&self) -> Result<()> {
        for some in flood(1).collect::<Vec<_>>().chunks(2_000) {
            self.pipeline.append(some).await?;
            self.is_what_it_was().await?;
        }
        throughout(OUTAGE, async || self.is_what_it_was().await).await
    }

    async fn is_what_it_was(&self) -> Result<()> {
        self.worker.still_runs()?;
        let group = self.pipeline.log.group(&self.pipeline.group).await?;
        ensure!(group == self.group, "the group is {group:?} and was {:?}", self.group);
        let (resident, before) = (self.worker.resident()?, self.resident);
        ensure!(resident < before + GROWTH_MAX, "{resident} bytes resident, {before} before");
        Ok(())
    }

    /// The database is back: everything arrives, by the same member, and nothing was set aside.
    async fn recovers(self) -> Result<()> {
        self.pipeline.drained(&[&self.worker], PATIENCE).await?;
        self.pipeline.committed(&[&self.worker]).await?;
        self.is_what_it_was().await?;
        let letters = self.pipeline.dead_letters().await?;
        ensure!(letters.is_empty(), "good records were set aside: {letters:?}");
        assert_eq!(self.pipeline.number("count(*)").await?, KEYS as i64);
        assert_eq!(self.pipeline.number("sum(n)").await?, KEYS as i64 + 2_000);
        let stale = "count(*) filter (where body not like split_part(id, '-', 2) || ' 1 %')";
        assert_eq!(self.pipeline.number(stale).await?, 0, "rows without their last body");
        let grown = self.worker.resident()?.saturating_sub(self.resident) >> 20;
        let before = self.resident >> 20;
        report(&format!("the outage over, the worker has grown by {grown} MiB from {before} MiB"));
        Ok(())
    }
}

async fn with_a_database_of_its_own() -> Result<Scene> {
    let postgres = Arc::new(Postgres::start().await?);
    let pipeline = Pipeline::on(postgres, "outage", 3, COLUMNS).await?;
    let settings = settings(&pipeline);
    Scene::set(pipeline, settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_database_is_waited_for() -> Result<()> {
    let scene = with_a_database_of_its_own().await?;
    scene.pipeline.postgres.freeze().await?;
    scene.endure().await?;
    scene.pipeline.postgres.thaw().await?;
    scene.recovers().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_is_waited_for() -> Result<()> {
    let scene = with_a_database_of_its_own().await?;
    scene.pipeline.postgres.kill().await?;
    scene.endure().await?;
    scene.pipeline.postgres.restart().await?;
    scene.recovers().await
}

/// The worst moment: the offset is moved, the rows are not, and the line goes dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_goes_dead_inside_a_transaction_is_waited_for() -> Result<()> {
    let pipeline = Pipeline::new("outage", 3, COLUMNS).await?;
    let wire = PostgresWire::in_front_of(pipeline.postgres.port()).await?;
    let mut settings = settings(&pipeline);
    settings.database = Postgres::url_by_way_of(wire.port());
    let scene = Scene::set(pipeline, settings).await?;
    let mut hold = wire.hold(Point::Insert(scene.pipeline.name.clone()));
    let some: Vec<Raw> = flood(1).take(1).collect();
    // One record more than the flood: the counter of its key is taken back below.
    scene.pipeline.append(&some).await?;
    hold.reached(PATIENCE).await?;
    wire.set(Door::BlackHole);
    hold.release();
    scene.endure().await?;
    wire.set(Door::Open);
    let undo = Raw::put("key-0", r#"{"n":-1}"#).adding("n");
    scene.pipeline.append(&[undo]).await?;
    scene.recovers().await
}
