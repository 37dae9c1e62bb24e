//! `/status` and `write-behind status`: of a running worker, and of a pipeline that nobody runs. And
//! what the HTTP side refuses.

use anyhow::{Result, ensure};
use integration_tests::wait::{PATIENCE, Seen, until};
use serde_json::{Value, json};

use super::{Scene, answers, is_ok};

fn parsed(text: &str) -> Result<Value> {
    Ok(serde_json::from_str(text)?)
}

/// Of each partition of the only route: the log's end, and the offsets of the database and of Kafka.
fn offsets(report: &Value) -> Vec<[Option<i64>; 3]> {
    let partitions = report["routes"][0]["partitions"].as_array();
    let of = |partition: &Value| {
        ["log_end", "database_offset", "committed_offset"].map(|field| partition[field].as_i64())
    };
    partitions.map_or(Vec::new(), |partitions| partitions.iter().map(of).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_pipeline_without_one_say_the_same_offsets() -> Result<()> {
    let scene = Scene::new("status").await?;
    let worker = scene.start(&scene.settings()).await?;
    scene.pipeline.committed(&[&worker]).await?;
    answers(&worker, "/status", "the end", |answer| {
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let report = parsed(body).unwrap_or_default();
        let route = &report["routes"][0];
        let known = offsets(&report).iter().flatten().all(Option::is_some);
        known && route["lag_records"] == 0 && route["records_written"] == 200
    })
    .await?;

    let (ended, printed) = worker.command(&["status", "--json"]).await?;
    ensure!(ended.success(), "{ended}");
    let running = parsed(&printed)?;
    ensure!(running["source"] == "process" && running["schema"] == 1, "{running}");
    ensure!(running["process"]["in_group"] == true, "{running}");
    ensure!(running["process"]["not_ready"] == json!([]), "{running}");
    let fold = running["routes"][0]["fold"].as_f64();
    ensure!(fold > Some(1.0), "200 records over ten rows fold: {running}");
    ensure!(offsets(&running).len() == 2, "{running}");

    let (ended, printed) = worker.command(&["status", "--direct", "--json"]).await?;
    ensure!(ended.success(), "{ended}");
    let direct = parsed(&printed)?;
    ensure!(direct["source"] == "kafka-and-database", "{direct}");
    ensure!(offsets(&direct) == offsets(&running), "{direct}\n{running}");

    worker.kill()?;
    scene.append(30).await?;
    let (ended, printed) = worker.command(&["status", "--json"]).await?;
    ensure!(ended.success(), "{ended}");
    let dead = parsed(&printed)?;
    ensure!(dead["source"] == "kafka-and-database" && dead["process"].is_null(), "{dead}");
    ensure!(dead["routes"][0]["lag_records"] == 30, "{dead}");
    let (_, printed) = worker.command(&["status"]).await?;
    ensure!(printed.contains("asked Kafka and the database (no consumer answers at"), "{printed}");
    ensure!(printed.contains("LOG END") && printed.contains(&scene.pipeline.name), "{printed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_side_takes_only_short_gets_and_listens_where_it_is_told() -> Result<()> {
    let scene = Scene::new("http").await?;
    let worker = scene.start(&scene.settings()).await?;
    answers(&worker, "/healthz", "ok", is_ok).await?;
    let post =
        "POST /status HTTP/1.1\r\nHost: worker\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let refused = worker.talk(post.as_bytes()).await?;
    ensure!(refused.starts_with("HTTP/1.1 405"), "{refused}");
    let long =
        format!("GET /status HTTP/1.1\r\nHost: worker\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    // The connection may be closed before all of it is sent.
    let refused = worker.talk(long.as_bytes()).await.unwrap_or_default();
    ensure!(!is_ok(&refused), "{refused}");
    let nowhere = worker.answer("/etc/passwd").await?;
    ensure!(nowhere.starts_with("HTTP/1.1 404"), "{nowhere}");
    let page = worker.answer("/").await?;
    ensure!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_watched_goes_on_when_the_worker_is_gone_and_ends_when_it_is_told_to()
-> Result<()> {
    let scene = Scene::new("watch").await?;
    let worker = scene.start(&scene.settings()).await?;
    let watching = scene.settings().begin(&["status", "--watch", "--url", &worker.url()]).await?;
    let shows = async |what: &str, times: usize| {
        until(&format!("the status to show {what:?} {times} times"), PATIENCE, async || {
            watching.still_runs()?;
            let shown = watching.log();
            Ok(Seen::when(shown.matches(what).count() >= times, || shown))
        })
        .await
    };
    shows(&format!("the consumer at {}", worker.url()), 3).await?;
    worker.kill()?;
    shows("error: no consumer answers at", 2).await?;
    watching.signal("INT")?;
    let ended = watching.exit().await?;
    ensure!(ended.success(), "{ended}");
    Ok(())
}
