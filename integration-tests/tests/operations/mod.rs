//! What an operator lives with: the live page in a real browser, the status, health, the log of an
//! outage, signals and the deadline of a drain.

mod page;
mod page_actions;
mod outage;
mod signals;
mod status;

use anyhow::Result;
use integration_tests::log::Raw;
use integration_tests::postgres::Postgres;
use integration_tests::postgres_wire::PostgresWire;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::{Settings, Worker};

const COLUMNS: &str = "id text primary key, n bigint not null default 0";

/// A pipeline whose way to the database can be shut.
struct Scene {
    pipeline: Pipeline,
    wire: PostgresWire,
}

impl Scene {
    async fn new(about: &str) -> Result<Self> {
        let pipeline = Pipeline::new(about, 2, COLUMNS).await?;
        let wire = PostgresWire::in_front_of(pipeline.postgres.port()).await?;
        Ok(Self { pipeline, wire })
    }

    fn settings(&self) -> Settings {
        let mut settings = self.pipeline.settings("worker");
        settings.database = Postgres::url_by_way_of(self.wire.port());
        settings
    }

    /// `count` increments over ten rows.
    async fn append(&self, count: usize) -> Result<()> {
        let record = |n: usize| Raw::put(&format!("key-{}", n % 10), r#"{"n":1}"#).adding("n");
        self.pipeline.append(&(0..count).map(record).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// A worker of these settings that has applied some records.
    async fn start(&self, settings: &Settings) -> Result<Worker> {
        let worker = settings.start().await?;
        self.append(200).await?;
        self.pipeline.drained(&[&worker], PATIENCE).await?;
        Ok(worker)
    }
}

/// Waits until `path` is answered with a head and a body that `holds`; gives them.
async fn answers(
    worker: &Worker,
    path: &str,
    what: &str,
    holds: impl Fn(&str) -> bool,
) -> Result<String> {
    until(&format!("{path} to say {what}"), PATIENCE, async || {
        worker.still_runs()?;
        // Before it listens nobody answers.
        let answer = worker.answer(path).await.unwrap_or_else(|error| error.to_string());
        Ok(if holds(&answer) { Seen::Done(answer) } else { Seen::NotYet(answer) })
    })
    .await
}

fn is_ok(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200")
}
