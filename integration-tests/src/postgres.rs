//! A real Postgres in a container, which can be frozen, killed and started again.

use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::postgres::{PgPool, PgPoolOptions};

use testcontainers::core::{CmdWaitFor, ExecCommand, IntoContainerPort, WaitFor};
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use crate::containers::{self, Container};
use crate::wait::{PATIENCE, Seen, until};

const PASSWORD: &str = "write-behind";

/// The database. Its container is removed when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    container: Container,
    port: u16,
}

impl Postgres {
    /// Starts an empty database and waits until it answers.
    pub async fn start() -> Result<Self> {
        Self::started_by(request).await
    }

    /// The same with `PostGIS`, on an older server.
    pub async fn start_with_postgis() -> Result<Self> {
        Self::started_by(|port| request_of("postgis/postgis", "15-3.3", port)).await
    }

    /// The same of another container.
    pub(crate) async fn started_by(
        request: impl Fn(u16) -> ContainerRequest<GenericImage>,
    ) -> Result<Self> {
        let (container, [port]) = containers::start(|[port]| request(port)).await?;
        let postgres = Self { container, port };
        postgres.answers().await?;
        Ok(postgres)
    }

    /// The container's id.
    pub fn container(&self) -> &str {
        self.container.id()
    }

    /// The CPU time that it has taken so far.
    pub async fn cpu(&self) -> Result<Duration> {
        containers::cpu(&self.container).await
    }

    /// The port on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of the database, by way of `port`: its own, or that of a proxy.
    pub fn url_by_way_of(port: u16) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres")
    }

    /// The address of a database that several servers may have: the one that takes writes.
    pub fn url_of_several(ports: &[u16]) -> String {
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("postgres://postgres:{PASSWORD}@{}/postgres", hosts.join(","))
    }

    /// The tests' own connections, straight to the database.
    pub async fn connect(&self) -> Result<PgPool> {
        PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(PATIENCE)
            .connect(&Self::url_by_way_of(self.port))
            .await
            .context("Postgres")
    }

    /// Freezes every process of the database: it takes connections and answers nothing.
    pub async fn freeze(&self) -> Result<()> {
        containers::pause(&self.container).await
    }

    /// Lets it go on where it was.
    pub async fn thaw(&self) -> Result<()> {
        containers::unpause(&self.container).await
    }

    /// Makes it a standby: it answers, and takes no writes.
    pub async fn become_standby(&self) -> Result<()> {
        let signal = ExecCommand::new(["sh", "-c", "touch \"$PGDATA/standby.signal\""]);
        let signal = signal.with_cmd_ready_condition(CmdWaitFor::exit_code(0));
        self.container.exec(signal).await?;
        self.kill().await?;
        self.restart().await
    }

    /// Kills the database, as a crash of its machine would.
    pub async fn kill(&self) -> Result<()> {
        containers::kill(&self.container).await
    }

    /// Starts it again with its data, and waits until it answers.
    pub async fn restart(&self) -> Result<()> {
        containers::restart(&self.container).await?;
        self.answers().await
    }

    async fn answers(&self) -> Result<()> {
        let url = Self::url_by_way_of(self.port);
        until("the database to answer", PATIENCE, async || {
            let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(3));
            let asked = async { sqlx::query("select 1").execute(&pool.connect(&url).await?).await };
            Ok(match asked.await {
                Ok(_) => Seen::Done(()),
                Err(error) => Seen::NotYet(error.to_string()),
            })
        })
        .await
        .context("Postgres")
    }
}

/// What a database here is made of.
pub(crate) fn request(port: u16) -> ContainerRequest<GenericImage> {
    request_of("postgres", "17", port)
}

fn request_of(image: &str, tag: &str, port: u16) -> ContainerRequest<GenericImage> {
    GenericImage::new(image, tag)
        // The entry point's temporary first server says so on stdout, the one that stays on stderr.
        .with_wait_for(WaitFor::message_on_stderr("database system is ready to accept connections"))
        .with_startup_timeout(PATIENCE)
        .with_mapped_port(port, 5432.tcp())
        .with_env_var("POSTGRES_PASSWORD", PASSWORD)
        // What a crash of the database process alone can't lose need not be on the disk.
        .with_cmd(["-c", "fsync=off", "-c", "max_connections=200"])
}
