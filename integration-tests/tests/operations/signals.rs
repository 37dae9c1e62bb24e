//! SIGTERM in every weather: the worker ends within its drain's time and what closing may take, with
//! the documented code; a second one ends it at once; SIGHUP does not.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::postgres_wire::Point;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::wire::Door;
use integration_tests::worker::Worker;

use super::{Scene, answers, is_ok};

/// The drain's time here is 2 s and closing takes at most 6 s; the rest is a busy machine's. Without
/// the deadline there would be no end at all.
const ENDS_WITHIN: Duration = Duration::from_secs(40);

async fn ends(worker: &Worker) -> Result<ExitStatus> {
    let ended = tokio::time::timeout(ENDS_WITHIN, worker.exit()).await;
    ended.unwrap_or_else(|_| Err(anyhow::anyhow!("it still runs after {ENDS_WITHIN:?}")))
}

/// As by `kill`; gives how it ended.
async fn terminated(worker: &Worker) -> Result<ExitStatus> {
    worker.signal("TERM")?;
    ends(worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_ends_clean() -> Result<()> {
    let scene = Scene::new("idle").await?;
    let worker = scene.start(&scene.settings()).await?;
    let ended = terminated(&worker).await?;
    ensure!(ended.code() == Some(0), "{ended}");
    ensure!(worker.log().contains("clean=true"), "it has written all it read");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_database_is_away_ends_and_leaves_the_rest_to_the_next() -> Result<()> {
    let scene = Scene::new("away").await?;
    let worker = scene.start(&scene.settings()).await?;
    scene.wire.set(Door::BlackHole);
    scene.append(200).await?;
    until("records that wait", PATIENCE, async || {
        let held = worker.metric("write_behind_consumer_in_flight_rows").await?;
        Ok(Seen::when(held > Some(0.0), || format!("{held:?}")))
    })
    .await?;
    let ended = terminated(&worker).await?;
    ensure!(ended.code() == Some(0), "{ended}");
    ensure!(worker.log().contains("clean=false"), "it could not write what it held");
    scene.wire.set(Door::Open);
    let next = scene.start(&scene.settings()).await?;
    ensure!(scene.pipeline.number("sum(n)").await? == 600, "nothing is lost and nothing doubled");
    ensure!(terminated(&next).await?.code() == Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_lasts_to_the_end_of_the_worker_is_not_called_over() -> Result<()> {
    let scene = Scene::new("lasting").await?;
    let worker = scene.start(&scene.settings()).await?;
    scene.wire.set(Door::Refusing);
    scene.append(200).await?;
    until("the outage", PATIENCE, async || {
        let begins = worker.log().contains("an outage begins");
        Ok(Seen::when(begins, || "no word of it".to_owned()))
    })
    .await?;
    let ended = terminated(&worker).await?;
    ensure!(ended.code() == Some(0), "{ended}");
    let log = worker.log();
    ensure!(!log.contains("the outage is over"), "no all-clear: {log}");
    ensure!(log.contains("stops during the outage"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_inside_a_transaction_ends_and_nothing_of_it_is_half_there() -> Result<()> {
    let scene = Scene::new("inside").await?;
    let worker = scene.start(&scene.settings()).await?;
    let mut hold = scene.wire.hold(Point::Insert(scene.pipeline.name.clone()));
    scene.append(200).await?;
    hold.reached(PATIENCE).await?;
    let ended = terminated(&worker).await?;
    ensure!(ended.code() == Some(0), "{ended}");
    hold.release();
    let next = scene.start(&scene.settings()).await?;
    ensure!(scene.pipeline.number("sum(n)").await? == 600, "nothing is lost and nothing doubled");
    drop(next);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_broker_ends() -> Result<()> {
    let scene = Scene::new("brokerless").await?;
    let mut settings = scene.settings();
    settings.bootstrap = scene.pipeline.kafka.bootstrap_through_wire();
    let worker = scene.start(&settings).await?;
    scene.pipeline.kafka.wire().set(Door::BlackHole);
    let ended = terminated(&worker).await;
    scene.pipeline.kafka.wire().set(Door::Open);
    let ended = ended?;
    ensure!(ended.code() == Some(0), "{ended}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() -> Result<()> {
    let scene = Scene::new("second").await?;
    let mut settings = scene.settings();
    // Without the second signal it would wait for so long.
    settings.drain_time = "10m";
    let settings = settings.kafka("session.timeout.ms", "1800000");
    let worker = scene.start(&settings.kafka("max.poll.interval.ms", "1800000")).await?;
    scene.wire.set(Door::BlackHole);
    scene.append(200).await?;
    worker.signal("TERM")?;
    until("the drain", PATIENCE, async || {
        Ok(Seen::when(worker.log().contains("draining"), || "no word of it".to_owned()))
    })
    .await?;
    let ended = terminated(&worker).await?;
    ensure!(ended.code() == Some(1), "{ended}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_changes_nothing_and_says_so() -> Result<()> {
    let scene = Scene::new("hangup").await?;
    let worker = scene.start(&scene.settings()).await?;
    worker.signal("HUP")?;
    until("a word on it", PATIENCE, async || {
        worker.still_runs()?;
        Ok(Seen::when(worker.log().contains("SIGHUP changes nothing"), || worker.log()))
    })
    .await?;
    scene.append(200).await?;
    scene.pipeline.drained(&[&worker], PATIENCE).await?;
    answers(&worker, "/readyz", "ok", is_ok).await?;
    Ok(())
}
