//! `PgBouncer` between the consumer and Postgres: every line of docs/poolers.md.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use integration_tests::containers::free_port;
use integration_tests::postgres::Postgres;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::Settings;
use tempfile::TempDir;

use crate::safety::{COLUMNS, increments, is_exact};

const PAGE: &str = include_str!("../../docs/poolers.md");

/// A pooler that runs. It is ended when it is dropped.
struct PgBouncer {
    child: Child,
    folder: TempDir,
    server: u16,
    port: u16,
}

impl PgBouncer {
    /// Starts one before the server at this port.
    fn start(server: u16, settings: &str) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        // It does not run as root, and reads its files as whom it becomes.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        configure(folder.path(), server, port, settings)?;
        let mut command = Command::new("pgbouncer");
        if Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0) {
            command.args(["-u", "nobody"]);
        }
        command.arg(folder.path().join("pgbouncer.ini")).stdin(Stdio::null());
        let started = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = started.context("pgbouncer; on Debian: apt-get install pgbouncer")?;
        Ok(Self { child, folder, server, port })
    }

    /// Has it take other settings.
    fn set(&self, settings: &str) -> Result<()> {
        configure(self.folder.path(), self.server, self.port, settings)?;
        let script = format!("kill -HUP {}", self.child.id());
        ensure!(Command::new("sh").args(["-c", &script]).status()?.success(), "{script}");
        Ok(())
    }

    /// What a worker of the pipeline is told whose way to the database leads through here.
    async fn settings(&self, pipeline: &Pipeline) -> Result<Settings> {
        until("the pooler to listen", PATIENCE, async || {
            let there = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await;
            Ok(there.map_or_else(|error| Seen::NotYet(error.to_string()), |_| Seen::Done(())))
        })
        .await?;
        let mut settings = pipeline.settings("worker");
        settings.database = Postgres::url_by_way_of(self.port);
        Ok(settings)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(folder: &Path, server: u16, port: u16, settings: &str) -> Result<()> {
    let users = folder.join("users.txt");
    std::fs::write(&users, "\"postgres\" \"write-behind\"\n")?;
    let text = format!(
        "[databases]\npostgres = host=127.0.0.1 port={server} dbname=postgres\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
         auth_file = {}\n{settings}\n",
        users.display()
    );
    Ok(std::fs::write(folder.join("pgbouncer.ini"), text)?)
}

async fn pipeline(about: &str) -> Result<Pipeline> {
    let pipeline = Pipeline::new(about, 2, COLUMNS).await?;
    pipeline.append(&increments(20)).await?;
    Ok(pipeline)
}

async fn is_written(pipeline: &Pipeline, settings: &Settings) -> Result<()> {
    let worker = settings.start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    is_exact(pipeline).await?;
    ensure!(worker.terminate().await?.success(), "it ends well");
    Ok(())
}

#[test]
fn every_line_of_the_page_is_tried_below() {
    let lines = PAGE.lines().filter(|line| line.starts_with("| ")).skip(1);
    let begins: Vec<&str> = lines.filter_map(|line| line.split([' ', '(']).nth(1)).collect();
    assert_eq!(begins, ["pools", "pools", "has"], "a line more needs a test more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_by_session_is_written_through_and_told_which_parameter_to_ignore() -> Result<()> {
    let pipeline = pipeline("by_session").await?;
    let mode = "pool_mode = session";
    let pooler = PgBouncer::start(pipeline.postgres.port(), mode)?;
    let settings = pooler.settings(&pipeline).await?;
    let (status, said) = settings.check().await?;
    ensure!(status.success(), "{said}");
    is_written(&pipeline, &settings).await?;

    let mut with_options = settings.clone();
    with_options.database = format!("{}?options=-c%20work_mem%3D8MB", settings.database);
    let (status, said) = with_options.check().await?;
    ensure!(!status.success() && said.contains("ignore_startup_parameters"), "{said}");
    pooler.set(&format!("{mode}\nignore_startup_parameters = options"))?;
    until("the parameter to be ignored", PATIENCE, async || {
        let (status, said) = with_options.check().await?;
        Ok(Seen::when(status.success(), || said.clone()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_by_transaction_or_by_statement_is_refused_by_check_and_run() -> Result<()> {
    let pipeline = pipeline("by_transaction").await?;
    for mode in ["transaction", "statement"] {
        let pooler = PgBouncer::start(pipeline.postgres.port(), &format!("pool_mode = {mode}"))?;
        let settings = pooler.settings(&pipeline).await?;
        for command in ["check", "run"] {
            let (status, said) = settings.command(&[command]).await?;
            let told = said.contains("pool by session");
            ensure!(status.code() == Some(3) && told, "{command}, {mode}: {status} {said}");
        }
    }
    ensure!(pipeline.applied().await?.is_empty(), "nothing was written");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_with_too_few_connections_is_waited_for() -> Result<()> {
    let pipeline = pipeline("few").await?;
    let mode = "pool_mode = session";
    let pooler =
        PgBouncer::start(pipeline.postgres.port(), &format!("{mode}\ndefault_pool_size = 1"))?;
    let worker = pooler.settings(&pipeline).await?.start().await?;
    until("the database to be what is waited for", PATIENCE, async || {
        worker.still_runs()?;
        let told = worker.log();
        Ok(Seen::when(told.contains("an outage begins") && told.contains("the database"), || {
            told.clone()
        }))
    })
    .await?;
    pooler.set(&format!("{mode}\ndefault_pool_size = 20"))?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    is_exact(&pipeline).await
}
