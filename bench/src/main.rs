//! The pipeline's hot loops beside raw loops that do the least possible, in one run.
//!
//! `cargo run --release -p bench -- put | get | fold | apply | latency | catch-up | journal | all`. `put`,
//! `get` and `journal` need nothing; `fold` starts a broker and `apply` a database in a container, unless told where
//! one is; `latency` and `catch-up` start both.

mod rounds;
mod players;
mod put;
mod get;
mod fold;
mod apply;
mod latency;
mod catch_up;
mod journal;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Measures a hot loop beside a raw one, in turns.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// Which loop.
    #[arg(value_enum)]
    what: What,
    /// How many rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A real Kafka, as host:port; `put` takes an embedded broker otherwise, `fold` a container.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// A real Postgres, as postgres://…; a container otherwise.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// How many records the backlogs of `catch-up` have.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Where `journal` has its files: on the disk that it measures.
    #[arg(long, value_name = "PATH", default_value = ".")]
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The producer's `put` beside `serde_json` and `BaseProducer::send`.
    Put,
    /// The producer's `get` beside a bare `moka` cache.
    Get,
    /// The consumer's fold beside a `BaseConsumer` that throws everything away.
    Fold,
    /// The consumer's apply beside a hand-written UNNEST upsert.
    Apply,
    /// How long a write takes until Kafka has it, and until the database has.
    Latency,
    /// How fast a consumer catches up with a backlog, and how busy it keeps its connections.
    CatchUp,
    /// The producer's `put` with a journal beside the same without.
    Journal,
    /// All of them.
    All,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { what, rounds, kafka, database, records, directory } = Arguments::parse();
    let wants = |one: What| what == one || what == What::All;
    if wants(What::Put) {
        put::run(rounds, kafka.clone()).await?;
    }
    if wants(What::Get) {
        get::run(rounds).await?;
    }
    if wants(What::Fold) {
        fold::run(rounds, kafka).await?;
    }
    if wants(What::Apply) {
        apply::run(rounds, database).await?;
    }
    if wants(What::Latency) {
        latency::run().await?;
    }
    if wants(What::CatchUp) {
        catch_up::run(rounds, records).await?;
    }
    if wants(What::Journal) {
        journal::run(rounds, &directory).await?;
    }
    Ok(())
}
