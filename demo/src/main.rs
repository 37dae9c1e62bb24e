//! The year 2013 of real flights through the whole pipeline, in one process.
//!
//! A service's part: each flight changes the row of its aircraft through the real producer crate,
//! at tens of thousands of writes a second. Behind its back the real consumer folds the records and
//! writes rows at the thousand a second that the database is said to take. At the end every row of
//! the table is checked against a plain loop over the file.

mod flights;
mod stack;
mod table;
mod worker;
mod replay;
mod progress;
mod report;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use write_behind_consumer::check;
use write_behind_consumer::status::{Status, StatusSnapshot};
use write_behind_producer::{NextOffset, WriteBehind};

use flights::Aircraft;
use progress::{Progress, Stages};
use stack::Stack;
use table::{AircraftLoader, Table};
use worker::Worker;

/// The name of the pipeline, its group, its topic and its table.
const NAME: &str = "aircraft";

/// What is logged unless `RUST_LOG` says otherwise.
const QUIET: &str = "warn";
/// The same on the embedded broker, which is gone when the demo is over and never says how a topic is
/// configured.
const QUIET_EMBEDDED: &str = "warn,librdkafka=off,write_behind_consumer::check=error";
/// How long the cache may take to close once all is written.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// How often the display is brought up to date.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Replays a year of real flights through write-behind and checks every row.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// Writes per second, at most.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    per_second: u64,
    /// Rows per second that the database takes.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    rows_per_second: u32,
    /// A real Kafka, as host:port, instead of the embedded broker.
    #[arg(long, env = "WRITE_BEHIND_DEMO_KAFKA", value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// A real database, as postgres://…, instead of SQLite.
    #[arg(long, env = "WRITE_BEHIND_DEMO_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// Where SQLite keeps its file.
    #[arg(long, default_value = "target/demo.sqlite", value_name = "FILE")]
    file: PathBuf,
    /// The flights.
    #[arg(long, default_value = "data/flights-2013.csv.gz", value_name = "FILE")]
    flights: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let quiet = if arguments.kafka.is_some() { QUIET } else { QUIET_EMBEDDED };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(quiet));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(std::io::stderr().is_terminal()).init();
    let outcome = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; nothing was checked")),
        outcome = demo(arguments) => outcome,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(arguments: Arguments) -> Result<()> {
    let flights = flights::read(&arguments.flights)?;
    if let Some(folder) = arguments.file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let Arguments { kafka, database, file, per_second, rows_per_second, .. } = arguments;
    let is_embedded = kafka.is_none();
    let stack = Stack::open(kafka, database, &file, NAME).await?;
    let table = Table::open(&stack.database).await?;
    println!(
        "{} flights, at {per_second} writes/s into a database that takes {rows_per_second} rows/s,\n\
         by way of {}",
        flights.len(),
        stack.described
    );

    let config = worker::configure(&stack, NAME, rows_per_second)?;
    if is_embedded {
        check::init(&config).await.context("creating the bookkeeping tables")?;
        table.hand_over(NAME, &stack.cluster).await?;
        println!(
            "(the consumer begins in ten seconds: this broker leaves one of its questions open)"
        );
    }
    let mut worker = Worker::start(config, &stack)?;
    worker.caught_up().await?;
    // A table that an earlier run has filled counts on from there.
    let before = table.all().await?;
    let (expected, left_out) = flights::fold(before.clone(), &flights)?;
    let cache = open_cache(&stack, table.clone()).await?;

    let writes = flights.iter().filter(|flight| flight.aircraft().is_some()).count();
    let progress = Arc::new(Progress::new(writes as u64));
    let display = tokio::spawn(follow(Arc::clone(&progress), worker.status()));
    let began = Instant::now();
    let replay = replay::replay(&cache, &flights, before, per_second, &progress);
    let replayed = worker.meanwhile(replay).await?;
    let persisted =
        async { cache.persisted_all().await.context("a write did not reach the database") };
    worker.meanwhile(persisted).await?;
    let until_drained = began.elapsed();
    display.abort();
    progress.finish();

    let consumed = worker.drain(until_drained).await?;
    cache.close(CLOSE_WITHIN).await.context("closing the cache")?;
    let found = table.all().await?;
    let difference = report::compare(&expected, &found);
    let report = report::table(&replayed, &consumed, left_out, found.len(), &difference);
    println!("\n{report}\nThe table `{NAME}` is kept, in {}.", stack.described_database);
    for example in &difference.examples {
        eprintln!("demo: {example}");
    }
    ensure!(difference.rows == 0, "{} rows are not what they should be", difference.rows);
    ensure!(replayed.stale_reads == 0, "{} reads were stale", replayed.stale_reads);
    Ok(())
}

/// Shows how far the consumer is, until it is aborted.
async fn follow(progress: Arc<Progress>, status: Arc<Status>) {
    let written = |snapshot: &StatusSnapshot| -> u64 {
        let partitions = snapshot.progress.partitions.iter();
        partitions
            .filter_map(|partition| Some(NextOffset::ZERO.distance_to(partition.written?)))
            .sum()
    };
    let earlier = written(&status.snapshot());
    loop {
        let snapshot = status.snapshot();
        let applied = written(&snapshot).saturating_sub(earlier);
        let (folded, rows) = (snapshot.counts.records, snapshot.counts.rows);
        progress.consumed(Stages { folded, applied, rows });
        tokio::time::sleep(SHOW_EVERY).await;
    }
}

async fn open_cache(stack: &Stack, table: Table) -> Result<WriteBehind<String, Aircraft>> {
    let loader = AircraftLoader {
        table,
        pipeline: NAME.to_owned(),
        cluster: stack.cluster.clone(),
        topic: NAME.to_owned(),
        partitions: stack.partitions,
    };
    let cache = WriteBehind::builder(NAME, [("bootstrap.servers", stack.bootstrap.as_str())])
        .sink_group(NAME)
        .loader(loader)
        .build()
        .await?;
    Ok(cache)
}
