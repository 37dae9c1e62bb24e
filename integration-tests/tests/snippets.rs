//! The examples of `docs/wire.md`, run as they stand there with kcat, Java, Python and Go: what they write
//! is what the page says, in the partition of the Java client's default partitioner, and is applied.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use integration_tests::stack::Pipeline;
use integration_tests::wait::PATIENCE;
use serde_json::{Value, json};
use tokio::process::Command;
use write_behind_shared::partition::partition_of;

const PAGE: &str = include_str!("../../docs/wire.md");
const COLUMNS: &str = "player text PRIMARY KEY, name text, score bigint NOT NULL DEFAULT 0";
const PARTITIONS: i32 = 5;

/// The page's example in this language, with the address and the topic of a test.
fn example(language: &str, pipeline: &Pipeline) -> Result<String> {
    let (_, examples) = PAGE.split_once("## Examples").context("there are examples")?;
    let fence = format!("```{language}\n");
    let (_, example) = examples.split_once(&fence).with_context(|| language.to_owned())?;
    let (example, _) = example.split_once("\n```").context("a fence that ends")?;
    ensure!(example.contains("localhost:9092"), "the example names the broker");
    let here = example.replace("localhost:9092", &pipeline.kafka.bootstrap());
    Ok(match language {
        "sh" => here.replace("-t scores", &format!("-t {}", pipeline.name)),
        _ => here.replace("\"scores\"", &format!("\"{}\"", pipeline.name)),
    })
}

/// Runs a program in a folder; `what` says how it comes onto a machine that lacks it.
async fn run(folder: &Path, what: &str, program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    // A module's name and its dependencies must not depend on where the temporary folder lies.
    command.env("GOFLAGS", "-mod=mod").env("GOWORK", "off");
    let output = command.output().await.with_context(|| format!("{program}: {what}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {}\n{told}", output.status);
    Ok(())
}

/// What the example wrote, and what became of it.
async fn writes_as_the_page_says(pipeline: &Pipeline) -> Result<()> {
    let records = pipeline.log.read_all(&pipeline.name, PARTITIONS).await?;
    let told = |record: &integration_tests::log::Placed| {
        let value = record.raw.value.as_deref();
        let value = value.map(serde_json::from_slice::<Value>).transpose()?;
        let headers = record.raw.headers.iter();
        let headers: Vec<(&str, &[u8])> =
            headers.map(|(name, value)| (&**name, &**value)).collect();
        anyhow::Ok((record.partition, record.raw.key.clone(), value, format!("{headers:?}")))
    };
    let told = records.iter().map(told).collect::<Result<Vec<_>>>()?;
    let partition = partition_of(b"ada", PARTITIONS).0;
    let record = |value: Option<Value>, headers: &[(&str, &[u8])]| {
        (partition, Some(b"ada".to_vec()), value, format!("{headers:?}"))
    };
    let expected = [
        record(Some(json!({"name": "Ada", "score": 10})), &[]),
        record(Some(json!({"score": 5})), &[("add", b"score")]),
        record(None, &[]),
    ];
    ensure!(told == expected, "{told:#?}");

    let worker = pipeline.settings("worker").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    ensure!(pipeline.rows("player").await?.is_empty(), "the last record deletes the row");
    ensure!(pipeline.dead_letters().await?.is_empty(), "no record is bad");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_for_kcat_runs_as_it_stands() -> Result<()> {
    let pipeline = Pipeline::new("kcat", PARTITIONS, COLUMNS).await?;
    let folder = tempfile::tempdir()?;
    let script = example("sh", &pipeline)?;
    let bash = ["-euo", "pipefail", "-c", &script];
    run(folder.path(), "kcat; on Debian: apt-get install kcat", "bash", &bash).await?;
    writes_as_the_page_says(&pipeline).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_for_java_runs_as_it_stands() -> Result<()> {
    let pipeline = Pipeline::new("java", PARTITIONS, COLUMNS).await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("Scores.java"), example("java", &pipeline)?)?;
    // The client that the broker's own tools use.
    let script = "cd /opt/kafka/libs && tar -c kafka-clients-*.jar slf4j-api-*.jar";
    let jars = format!("docker exec {} sh -c '{script}' | tar -x", pipeline.kafka.container());
    run(folder.path(), "docker", "bash", &["-euo", "pipefail", "-c", &jars]).await?;
    let java = ["-cp", "*", "Scores.java"];
    run(folder.path(), "a JDK; on Debian: default-jdk-headless", "java", &java).await?;
    writes_as_the_page_says(&pipeline).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_for_python_runs_as_it_stands() -> Result<()> {
    let pipeline = Pipeline::new("python", PARTITIONS, COLUMNS).await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("scores.py"), example("python", &pipeline)?)?;
    // Debian's packages are for Debian's Python, which need not be the first in PATH.
    let what = "on Debian: apt-get install python3-confluent-kafka";
    let has_client = ["-c", "import confluent_kafka"];
    let first = run(folder.path(), what, "python3", &has_client).await;
    let python = if first.is_ok() { "python3" } else { "/usr/bin/python3" };
    run(folder.path(), what, python, &["scores.py"]).await?;
    writes_as_the_page_says(&pipeline).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_for_go_runs_as_it_stands() -> Result<()> {
    let pipeline = Pipeline::new("golang", PARTITIONS, COLUMNS).await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("main.go"), example("go", &pipeline)?)?;
    let what = "Go; on Debian: apt-get install golang-go";
    // The newest one that Debian 12's Go compiles.
    let client = "github.com/confluentinc/confluent-kafka-go/v2@v2.3.0";
    for arguments in [&["mod", "init", "scores"][..], &["get", client], &["run", "."]] {
        run(folder.path(), what, "go", arguments).await?;
    }
    writes_as_the_page_says(&pipeline).await
}
