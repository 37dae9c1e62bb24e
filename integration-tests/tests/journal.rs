//! A writing process with a journal, killed with SIGKILL while Kafka is there, while it is away, and
//! while it comes back: whatever it said is recorded reaches the table, and every increment once.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use integration_tests::figures::report;
use integration_tests::kafka::Kafka;
use integration_tests::load::{COLUMNS, Plan};
use integration_tests::log::Log;
use integration_tests::postgres::Postgres;
use integration_tests::random::{Random, seed};
use integration_tests::stack::{Pipeline, postgres};
use integration_tests::wait::PATIENCE;
use integration_tests::wire::Door;
use integration_tests::writer::{Service, Writer};
use sqlx::AssertSqlSafe;

const WRITER: &str = env!("CARGO_BIN_EXE_writer");
const PARTITIONS: i32 = 4;

/// Kafka, as the process finds it.
#[derive(Clone, Copy, Debug)]
enum Seen {
    There,
    Away,
    Refusing,
    ComingBack,
    GoingAway,
}

/// A pipeline on a broker of its own, which can be cut off from the service alone.
async fn pipeline(kafka: &'static Kafka) -> Result<Pipeline> {
    let (name, postgres) = ("journal".to_owned(), postgres().await?);
    kafka.create_topic(&name, PARTITIONS).await?;
    let sql = postgres.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(format!("create table {name} ({COLUMNS})"))).execute(&sql).await?;
    let (group, log) = (name.clone(), Log::new(&kafka.bootstrap())?);
    Ok(Pipeline { name, group, partitions: PARTITIONS, kafka, postgres, log, sql })
}

fn service(pipeline: &Pipeline, life: u64, directory: &Path) -> Service {
    Service {
        bootstrap: pipeline.kafka.bootstrap_through_wire(),
        database: Postgres::url_by_way_of(pipeline.postgres.port()),
        name: pipeline.name.clone(),
        partitions: PARTITIONS,
        plan: Plan {
            name: format!("life-{life}"),
            seed: 0,
            tasks: 0..4,
            keys: 0,
            per_second: 0,
            alone: true,
        },
        journal: Some(directory.to_owned()),
    }
}

/// One life: it records some writes, and is killed. Gives those that it said are recorded.
async fn live(
    pipeline: &Pipeline,
    service: &Service,
    seen: Seen,
    random: &mut Random,
) -> Result<Vec<String>> {
    let wire = pipeline.kafka.wire();
    wire.set(match seen {
        Seen::There | Seen::GoingAway => Door::Open,
        Seen::Refusing => Door::Refusing,
        Seen::Away | Seen::ComingBack => Door::BlackHole,
    });
    let mut writer = Writer::start(WRITER, service).await?;
    writer.count().await?;
    let mut some = || 1 + random.below(150) as usize;
    writer.records(some()).await?;
    match seen {
        Seen::ComingBack => wire.set(Door::Open),
        Seen::GoingAway => wire.set(Door::BlackHole),
        Seen::There | Seen::Away | Seen::Refusing => {}
    }
    writer.records(some()).await?;
    writer.kill_and_recorded().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_service_had_recorded_reaches_the_table_once() -> Result<()> {
    let kills: u64 = std::env::var("JOURNAL_KILLS").map_or(Ok(10), |kills| kills.parse())?;
    let kafka: &'static Kafka = Box::leak(Box::new(Kafka::start().await?));
    let pipeline = pipeline(kafka).await?;
    let mut settings = pipeline.settings("worker");
    settings.bootstrap = kafka.bootstrap();
    let worker = settings.soon_given_up().start().await?;
    pipeline.settled(&[&worker]).await?;
    let directory = tempfile::tempdir()?;
    let mut random = Random::from_seed(seed("kills")?);
    let cases = [Seen::There, Seen::Away, Seen::ComingBack, Seen::GoingAway, Seen::Refusing];
    let mut recorded = BTreeSet::new();
    for life in 0..kills {
        let seen = cases[life as usize % cases.len()];
        let service = service(&pipeline, life, directory.path());
        let said = live(&pipeline, &service, seen, &mut random).await;
        recorded.extend(said.with_context(|| format!("life {life}, kafka {seen:?}"))?);
    }
    kafka.wire().set(Door::Open);
    let mut last = Writer::start(WRITER, &service(&pipeline, kills, directory.path())).await?;
    last.replicate().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;

    let rows = pipeline.rows("id").await?;
    let lost: Vec<_> = recorded.iter().filter(|name| !rows.contains_key(*name)).take(5).collect();
    ensure!(lost.is_empty(), "said to be recorded, and not in the table: {lost:?}");
    let twice = pipeline.number("count(*) filter (where n <> 1)").await?;
    ensure!(twice == 0, "{twice} rows do not have exactly 1");
    let (all, said) = (rows.len(), recorded.len());
    ensure!(all >= said, "{all} rows of {said}");
    report(&format!("{kills} kills: {said} writes said to be recorded, {all} in the table"));
    Ok(())
}
