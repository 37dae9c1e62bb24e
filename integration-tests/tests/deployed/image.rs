//! The consumer's image, made by `docker/build` of the binary under test: without rights, on a file
//! system that it can't write to, and drained by `docker stop`.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use integration_tests::binary;
use integration_tests::containers::free_port;
use integration_tests::log::Raw;
use integration_tests::postgres::Postgres;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use tokio::process::Command;

/// An image by its name. Dropping it removes it, and a container of the same name.
pub(super) struct Image {
    pub(super) name: String,
}

impl Drop for Image {
    fn drop(&mut self) {
        for arguments in [["rm", "--force", &self.name], ["rmi", "--force", &self.name]] {
            // Either may not be there.
            let mut docker = std::process::Command::new("docker");
            let _ = docker.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// What a command prints on both outputs.
async fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program.as_ref()).args(arguments).output().await?;
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{arguments:?}: {}: {printed}", output.status);
    Ok(printed)
}

impl Image {
    /// Builds that of `what` from a program that was built on this machine.
    pub(super) async fn build(what: &str, name: &str, binary: &Path) -> Result<Self> {
        let image = Self { name: name.to_owned() };
        let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docker/build"));
        let binary = binary.to_str().context("the binary's path")?;
        run(script, &["--binary", binary, "--tag", name, what]).await?;
        Ok(image)
    }

    /// Starts it as an operator would who trusts nobody.
    async fn start(&self, variables: &[(&str, String)]) -> Result<()> {
        let variables: Vec<String> =
            variables.iter().map(|(name, value)| format!("--env={name}={value}")).collect();
        let mut arguments = vec![
            "run",
            "--detach",
            "--name",
            &self.name,
            "--network",
            "host",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--health-interval",
            "1s",
            "--label",
            "org.testcontainers.managed-by=testcontainers",
        ];
        arguments.extend(variables.iter().map(String::as_str));
        arguments.push(&self.name);
        run("docker", &arguments).await.map(drop)
    }

    async fn inspect(&self, what: &str) -> Result<String> {
        run("docker", &["inspect", "--format", &format!("{{{{{what}}}}}"), &self.name]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_runs_without_rights_writes_rows_and_drains_when_it_is_stopped() -> Result<()> {
    let pipeline =
        Pipeline::new("image", 2, "id text primary key, n bigint not null default 0").await?;
    let binary = binary::folder().await?.join("write-behind");
    let consumer = Image::build("consumer", &pipeline.name.replace('_', "-"), &binary).await?;
    consumer
        .start(&[
            ("WRITE_BEHIND_NAME", pipeline.name.clone()),
            ("WRITE_BEHIND_KAFKA_BOOTSTRAP_SERVERS", pipeline.kafka.bootstrap()),
            ("WRITE_BEHIND_DATABASE_URL", Postgres::url_by_way_of(pipeline.postgres.port())),
            ("WRITE_BEHIND_ROUTE_0_TOPIC", pipeline.name.clone()),
            ("WRITE_BEHIND_HTTP_LISTEN", format!("127.0.0.1:{}", free_port()?)),
            // By itself no batch is old enough to be written while this test lasts.
            ("WRITE_BEHIND_BATCH_MAX_AGE", "10m".to_owned()),
        ])
        .await?;
    until("the health check of the image", PATIENCE, async || {
        let health = consumer.inspect(".State.Health.Status").await?;
        let log = run("docker", &["logs", &consumer.name]).await?;
        Ok(Seen::when(health == "healthy", || format!("{health}\n{log}")))
    })
    .await?;
    let user =
        run("docker", &["exec", &consumer.name, "sh", "-c", "id -u; touch /x 2>&1 || :"]).await?;
    ensure!(user.starts_with("65532") && user.contains("Read-only file system"), "{user}");

    let records: Vec<Raw> =
        (0..100).map(|n| Raw::put(&format!("key-{}", n % 10), r#"{"n":1}"#).adding("n")).collect();
    pipeline.append(&records).await?;
    until("the records to be read", PATIENCE, async || {
        let status = run(
            "docker",
            &[
                "exec",
                &consumer.name,
                "sh",
                "-c",
                "write-behind status --json --url http://$WRITE_BEHIND_HTTP_LISTEN",
            ],
        )
        .await?;
        let report: serde_json::Value = serde_json::from_str(&status)?;
        let partitions = report["routes"][0]["partitions"].as_array().into_iter().flatten();
        let read: i64 = partitions.filter_map(|one| one["read_offset"].as_i64()).sum();
        Ok(Seen::when(read == 100, || status.clone()))
    })
    .await?;
    run("docker", &["stop", "-t", "40", &consumer.name]).await?;
    let log = run("docker", &["logs", &consumer.name]).await?;
    ensure!(consumer.inspect(".State.ExitCode").await? == "0", "{log}");
    ensure!(log.contains("draining: ") && log.contains("clean=true"), "{log}");
    ensure!(pipeline.number("sum(n)").await? == 100, "what was held is written");
    Ok(())
}
