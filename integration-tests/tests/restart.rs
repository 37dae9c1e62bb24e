//! A writing process killed with SIGKILL under load and started again: it reads what the log says
//! before the database has it. And two of them on a slow database: each sees what the other wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use integration_tests::figures::report;
use integration_tests::fold::{Folded, fold};
use integration_tests::handle::Handle;
use integration_tests::load::{COLUMNS, Cache, Load, Outcome, Plan, Row, Told};
use integration_tests::loader::SnapshotLoader;
use integration_tests::postgres::Postgres;
use integration_tests::random::seed;
use integration_tests::stack::{Pipeline, same_rows};
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::Worker;
use integration_tests::writer::{Service, Writer};
use tokio::task::JoinHandle;

const WRITER: &str = env!("CARGO_BIN_EXE_writer");
const PARTITIONS: i32 = 6;

async fn folded(pipeline: &Pipeline) -> Result<Folded> {
    fold(pipeline.log.read_all(&pipeline.name, PARTITIONS).await?)
}

/// The rows as a service reads them.
fn rows(folded: &Folded) -> Result<BTreeMap<String, Row>> {
    let row = |(key, row): (&String, &serde_json::Value)| {
        Ok((key.clone(), serde_json::from_value(row.clone())?))
    };
    folded.rows.iter().map(row).collect()
}

/// How many records are in the log that the database does not have.
async fn behind(pipeline: &Pipeline) -> Result<i64> {
    let applied: i64 = pipeline.applied().await?.values().sum();
    let ends: i64 = pipeline.log.ends(&pipeline.name, PARTITIONS).await?.values().sum();
    Ok(ends - applied)
}

/// Waits until the database has everything, and compares it with the log.
async fn database_is_the_log(pipeline: &Pipeline, worker: &Worker) -> Result<()> {
    pipeline.drained(&[worker], PATIENCE).await?;
    let mut table = pipeline.rows("id").await?;
    for row in table.values_mut() {
        row.as_object_mut().context("a row")?.remove("id");
    }
    same_rows(&table, &folded(pipeline).await?.rows)
}

/// Starts the process and has it read everything, with nobody writing meanwhile: what a killed
/// process has just sent may still arrive.
async fn started_and_read(
    pipeline: &Pipeline,
    service: &Service,
) -> Result<(Writer, BTreeMap<String, Row>)> {
    until("the log to be still", PATIENCE, async || {
        let before = pipeline.log.ends(&pipeline.name, PARTITIONS).await?;
        let mut writer = Writer::start(WRITER, service).await?;
        let read = writer.read().await?;
        let after = pipeline.log.ends(&pipeline.name, PARTITIONS).await?;
        Ok(if before == after {
            Seen::Done((writer, read))
        } else {
            Seen::NotYet(format!("{before:?}, then {after:?}"))
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_reads_after_its_restart_what_the_database_does_not_have() -> Result<()> {
    const LIVES: u64 = 3;
    const SOME: usize = 5_000;
    let pipeline = Pipeline::new("restart", PARTITIONS, COLUMNS).await?;
    let seed = seed("restarts")?;
    let service = |life: u64| Service {
        bootstrap: pipeline.kafka.bootstrap(),
        database: Postgres::url_by_way_of(pipeline.postgres.port()),
        name: pipeline.name.clone(),
        partitions: PARTITIONS,
        plan: Plan {
            name: format!("life-{life}"),
            seed: seed.wrapping_add(life * 1_000),
            tasks: 0..4,
            keys: 200,
            per_second: 1_500,
            alone: true,
        },
        journal: None,
    };
    let worker = pipeline.settings("worker").soon_given_up().start().await?;
    pipeline.settled(&[&worker]).await?;

    let mut replicated = BTreeSet::new();
    let mut writer = Writer::start(WRITER, &service(0)).await?;
    writer.write().await?;
    until("something to be in the database", PATIENCE, async || {
        let applied = pipeline.applied().await?;
        Ok(Seen::when(applied.values().any(|next| *next > 0), || format!("{applied:?}")))
    })
    .await?;
    // From here on the database stands still, with a part of the log.
    worker.kill()?;
    let mut ahead = 0;
    for life in 1..=LIVES {
        ahead += SOME;
        // Its lines may tell of writes from before the database stood still: the log is asked.
        until("the log to be far ahead of the database", PATIENCE, async || {
            let behind = behind(&pipeline).await?;
            Ok(Seen::when(behind > ahead as i64, || format!("{behind} records")))
        })
        .await?;
        writer.replicates(SOME).await?;
        replicated.extend(writer.kill().await?);
        let read;
        (writer, read) = started_and_read(&pipeline, &service(life)).await?;
        let folded = folded(&pipeline).await?;
        same_rows(&read, &rows(&folded)?).with_context(|| format!("life {life}"))?;
        let names =
            folded.kept.iter().filter_map(|placed| placed.raw.columns().ok()??.remove("by"));
        let names: BTreeSet<String> =
            names.filter_map(|by| Some(by.as_str()?.to_owned())).collect();
        let lost: Vec<_> = replicated.difference(&names).take(5).collect();
        ensure!(lost.is_empty(), "said to be replicated, and not in the log: {lost:?}");
        let behind = behind(&pipeline).await?;
        report(&format!(
            "life {life} read {} rows, the database {behind} records behind",
            read.len()
        ));
        writer.write().await?;
    }

    let worker = pipeline.settings("successor").soon_given_up().start().await?;
    writer.replicates(SOME).await?;
    replicated.extend(writer.kill().await?);
    database_is_the_log(&pipeline, &worker).await?;
    let (_writer, read) = started_and_read(&pipeline, &service(LIVES + 1)).await?;
    same_rows(&read, &rows(&folded(&pipeline).await?)?)
}

/// One of two services on the same rows.
struct Twin {
    handle: Handle,
    load: Load,
    reads: JoinHandle<Result<u64>>,
}

impl Twin {
    async fn start(pipeline: &Pipeline, plan: &Plan, stop: &Arc<AtomicBool>) -> Result<Self> {
        let (sql, name) = (pipeline.sql.clone(), pipeline.name.clone());
        let loader = SnapshotLoader { sql, name, partitions: PARTITIONS };
        let builder = Handle::builder(&pipeline.kafka.bootstrap(), &pipeline.name).loader(loader);
        let handle = Handle::new(builder.follow(true)).await?;
        let load = Load::start(plan, &handle.cache);
        let reads = tokio::spawn(never_go_back(handle.cache.clone(), Arc::clone(stop)));
        Ok(Self { handle, load, reads })
    }
}

/// Reads rows that are only added to, over and over. Returns how often.
async fn never_go_back(cache: Cache, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut seen: BTreeMap<String, i64> = BTreeMap::new();
    let mut reads = 0;
    while !stop.load(Ordering::Acquire) {
        let key = format!("shared-{}", reads % 20);
        let now = cache.get(&key).await?.map_or(0, |row| row.n);
        let before = seen.insert(key.clone(), now).unwrap_or(0);
        ensure!(now >= before, "{key} was {before} and is now {now}");
        reads += 1;
        tokio::task::yield_now().await;
    }
    Ok(reads)
}

async fn reads(cache: &Cache, keys: &BTreeSet<String>) -> Result<BTreeMap<String, Row>> {
    let mut rows = BTreeMap::new();
    for key in keys {
        if let Some(row) = cache.get(key).await? {
            rows.insert(key.clone(), row);
        }
    }
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_on_a_slow_database_read_what_the_log_says() -> Result<()> {
    let pipeline = Pipeline::new("twins", PARTITIONS, COLUMNS).await?;
    let mut settings = pipeline.settings("worker");
    settings.rows_per_second = Some(60);
    let worker = settings.start().await?;
    pipeline.settled(&[&worker]).await?;
    let seed = seed("twins")?;
    // The rows of tasks 1 and 2 are written by both services.
    let plan = |name: &str, tasks| {
        let name = name.to_owned();
        Plan { name, seed, tasks, keys: 100, per_second: 1_000, alone: false }
    };
    let plans = [plan("one", 0..3), plan("other", 1..4)];
    let keys: BTreeSet<String> = plans.iter().flat_map(Plan::keys).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let twins = [
        Twin::start(&pipeline, &plans[0], &stop).await?,
        Twin::start(&pipeline, &plans[1], &stop).await?,
    ];
    until("both to have written a lot", PATIENCE, async || {
        let accepted = twins.each_ref().map(|twin| twin.load.accepted());
        Ok(Seen::when(accepted.iter().all(|n| *n > 30_000), || format!("{accepted:?}")))
    })
    .await?;

    // However long what follows takes: the database does not get the writes from here on.
    worker.freeze()?;
    let before = twins.each_ref().map(|twin| twin.load.accepted());
    until("both to write on", PATIENCE, async || {
        let accepted = twins.each_ref().map(|twin| twin.load.accepted());
        let more = accepted.iter().zip(before).all(|(now, before)| *now > before);
        Ok(Seen::when(more, || format!("{accepted:?}")))
    })
    .await?;

    let mut handles = Vec::new();
    stop.store(true, Ordering::Release);
    for Twin { handle, load, reads } in twins {
        let told = load.told(PATIENCE).await?;
        let lost = told.iter().filter(|told: &&Told| told.outcome != Outcome::Replicated).count();
        ensure!(lost == 0, "{lost} writes were not replicated");
        report(&format!("{} reads of counters never went back", reads.await??));
        handles.push(handle);
    }
    let log = rows(&folded(&pipeline).await?)?;
    for handle in &handles {
        until("what the other wrote to be seen", PATIENCE, async || {
            let read = reads(&handle.cache, &keys).await?;
            Ok(same_rows(&read, &log).map_or_else(|e| Seen::NotYet(e.to_string()), Seen::Done))
        })
        .await?;
    }
    let behind = behind(&pipeline).await?;
    ensure!(behind > 0, "the database has everything, so nothing was read from the log");
    report(&format!("both services read what the log says, the database {behind} records behind"));

    worker.thaw()?;
    database_is_the_log(&pipeline, &worker).await?;
    for handle in &handles {
        same_rows(&reads(&handle.cache, &keys).await?, &log)?;
        handle.cache.close(PATIENCE).await?;
    }
    Ok(())
}
