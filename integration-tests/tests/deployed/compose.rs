//! `docker/compose.yaml` with all of its services but Prometheus and Grafana: what the example service
//! writes is in the table, and a browser sees that it is well.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use integration_tests::binary;
use integration_tests::browser::Browser;
use integration_tests::containers::free_port;
use integration_tests::wait::{PATIENCE, Seen, until};
use tokio::process::Command;
use uuid::Uuid;

use super::image::Image;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docker/compose.yaml");

/// The stack under a name of its own. Dropping it removes it with its volumes.
struct Stack {
    compose: Vec<&'static str>,
    variables: Vec<(&'static str, String)>,
}

impl Stack {
    /// Compose as a plug-in of Docker, or alone.
    async fn new(variables: Vec<(&'static str, String)>) -> Self {
        let plugin = Command::new("docker")
            .args(["compose", "version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let is_there = plugin.await.is_ok_and(|status| status.success());
        let compose = if is_there { vec!["docker", "compose"] } else { vec!["docker-compose"] };
        Self { compose, variables }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(self.compose[0]);
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.args(&self.compose[1..]).args(["--file", FILE, "--profile", "stack"]);
        command.args(arguments).envs(variables);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::from(self.command(arguments)).output().await;
        let output = output.context("docker compose; docker/test provides it")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {complaint}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Nothing of it may be there.
        let _ = self.command(&["down", "--volumes", "--timeout", "1"]).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_stack_starts_with_one_command_and_rows_arrive() -> Result<()> {
    let name = format!("write-behind-test-{}", &Uuid::new_v4().simple().to_string()[..8]);
    let worker = binary::folder().await?.join("write-behind");
    let leaderboard = binary::example("leaderboard").await?;
    let tags = ["consumer", "leaderboard"].map(|what| format!("{name}-{what}"));
    let (consumer, service) = tokio::try_join!(
        Image::build("consumer", &tags[0], &worker),
        Image::build("leaderboard", &tags[1], &leaderboard),
    )?;
    let page = free_port()?.to_string();
    let stack = Stack::new(vec![
        ("COMPOSE_PROJECT_NAME", name),
        ("CONSUMER_IMAGE", consumer.name.clone()),
        ("LEADERBOARD_IMAGE", service.name.clone()),
        ("POSTGRES_PASSWORD", "choose-one".to_owned()),
        ("KAFKA_PORT", free_port()?.to_string()),
        ("POSTGRES_PORT", free_port()?.to_string()),
        ("LEADERBOARD_PORT", free_port()?.to_string()),
        ("CONSUMER_PORT", page.clone()),
    ])
    .await;
    // The others stand in for what no registry may be there for.
    stack.run(&["up", "--detach", "--wait", "--no-build", "leaderboard"]).await?;
    until("rows in the table", PATIENCE, async || {
        let sql = "select coalesce(sum(games), 0) from players";
        let psql = ["exec", "-T", "postgres", "psql", "-U", "postgres", "-tAc", sql];
        let games: u64 = stack.run(&psql).await?.parse()?;
        Ok(Seen::when(games > 100, || format!("{games} games")))
    })
    .await?;
    let browser = Browser::start().await?;
    browser.client.goto(&format!("http://127.0.0.1:{page}")).await?;
    let is_good = r#"return document.getElementById("state").classList.contains("good")"#;
    browser.waits_for("the consumer to be well", is_good).await?;
    Ok(())
}
