//! The database away and back: what the log says of it, and what health does.

use anyhow::{Context, Result, ensure};
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::wire::Door;
use integration_tests::worker::Worker;
use serde_json::Value;

use super::{Scene, answers, is_ok};

/// Attempts that an outage is to have here.
const ATTEMPTS: f64 = 8.0;

/// Whether there are as many messages as beginnings, and each begins so.
fn begin_with(messages: &[String], beginnings: &[&str]) -> bool {
    messages.len() == beginnings.len()
        && messages.iter().zip(beginnings).all(|(message, begins)| message.starts_with(begins))
}

/// The lines of a log in JSON that are not detail.
fn told(worker: &Worker) -> Result<Vec<Value>> {
    let log = worker.log();
    let lines = log.lines().map(|line| serde_json::from_str(line).context(line.to_owned()));
    let lines: Vec<Value> = lines.collect::<Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line["level"] != "DEBUG").collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_many_attempts_is_two_lines_and_makes_it_unready_but_not_sick() -> Result<()> {
    let scene = Scene::new("outage").await?;
    let worker = scene.start(&scene.settings().with("WRITE_BEHIND_LOG_FORMAT", "json")).await?;
    answers(&worker, "/readyz", "ok", is_ok).await?;
    let before = told(&worker)?.len();

    scene.wire.set(Door::Refusing);
    scene.append(200).await?;
    until("many attempts", PATIENCE, async || {
        let retries = worker.metric("write_behind_consumer_retries_total").await?;
        Ok(Seen::when(retries >= Some(ATTEMPTS), || format!("{retries:?}")))
    })
    .await?;
    let away = answers(&worker, "/readyz", "why", |answer| answer.contains("the database")).await?;
    ensure!(away.starts_with("HTTP/1.1 503"), "{away}");
    let well = worker.answer("/healthz").await?;
    ensure!(is_ok(&well), "a database that is away is no reason to restart: {well}");
    let status: Value = serde_json::from_str(&worker.get("/status").await?)?;
    ensure!(status["troubles"][0]["about"] == "the database", "{status}");
    ensure!(status["routes"][0]["state"] == "failing", "{status}");

    scene.wire.set(Door::Open);
    answers(&worker, "/readyz", "ok", is_ok).await?;
    scene.pipeline.drained(&[&worker], PATIENCE).await?;
    let status: Value = serde_json::from_str(&worker.get("/status").await?)?;
    ensure!(status["troubles"] == serde_json::json!([]), "{status}");
    ensure!(status["routes"][0]["last_error"]["message"].is_string(), "{status}");

    let lines = told(&worker)?.split_off(before);
    let levels: Vec<_> = lines.iter().map(|line| line["level"].as_str()).collect();
    ensure!(levels == [Some("WARN"), Some("INFO")], "{lines:#?}");
    ensure!(lines[0]["what"] == "the database" && lines[0]["error"].is_string(), "{lines:#?}");
    ensure!(lines[1]["attempts"].as_f64() >= Some(ATTEMPTS), "{lines:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_worker_tells_of_its_start_its_partitions_and_its_end_alone() -> Result<()> {
    let scene = Scene::new("quiet").await?;
    let worker = scene.start(&scene.settings().with("WRITE_BEHIND_LOG_FORMAT", "json")).await?;
    answers(&worker, "/readyz", "ok", is_ok).await?;
    let messages = || {
        let text = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
        Ok::<_, anyhow::Error>(told(&worker)?.iter().map(text).collect::<Vec<_>>())
    };
    let started = messages()?;
    let told = ["write-behind ", "Kafka and the database answer: ", "partitions assigned"];
    ensure!(begin_with(&started, &told), "{started:?}");
    for _ in 0..20 {
        scene.append(50).await?;
        scene.pipeline.drained(&[&worker], PATIENCE).await?;
    }
    ensure!(messages()? == started, "{:?}", messages()?);
    worker.terminate().await?;
    ensure!(
        begin_with(&messages()?[started.len()..], &["draining: ", "stopped"]),
        "{:?}",
        messages()?
    );
    Ok(())
}
