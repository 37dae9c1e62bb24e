//! A real MariaDB in a container, and databases of their own on it.

use anyhow::{Context, Result};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::{ContainerRequest, GenericImage, ImageExt};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::containers::{self, Container, in_background};
use crate::wait::PATIENCE;

const PASSWORD: &str = "write-behind";

/// The server. Its container is removed when it is dropped.
#[derive(Debug)]
pub struct Mariadb {
    _container: Container,
    port: u16,
}

/// The server that all tests of this binary share.
pub async fn shared() -> Result<&'static Mariadb> {
    static MARIADB: OnceCell<Mariadb> = OnceCell::const_new();
    MARIADB.get_or_try_init(async || in_background(Mariadb::start).await).await
}

impl Mariadb {
    /// Starts an empty server and waits until it answers.
    pub async fn start() -> Result<Self> {
        let (container, [port]) = containers::start(|[port]| request(port)).await?;
        Ok(Self { _container: container, port })
    }

    /// Creates a database, in which texts are equal when their letters are, and gives its URL.
    pub async fn new_database(&self) -> Result<String> {
        let server = format!("mysql://root:{PASSWORD}@127.0.0.1:{}", self.port);
        let name = format!("test_{}", Uuid::new_v4().simple());
        let create = format!("CREATE DATABASE {name} COLLATE utf8mb4_nopad_bin");
        let mut connection = MySqlConnection::connect(&server).await.context("MariaDB")?;
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await?;
        Ok(format!("{server}/{name}"))
    }
}

fn request(port: u16) -> ContainerRequest<GenericImage> {
    GenericImage::new("mariadb", "10.11")
        // The entry point's temporary first server says that its port is 0.
        .with_wait_for(WaitFor::message_on_stderr("port: 3306"))
        .with_startup_timeout(PATIENCE)
        .with_mapped_port(port, 3306.tcp())
        .with_env_var("MARIADB_ROOT_PASSWORD", PASSWORD)
        // What a crash of the database process alone can't lose need not be on the disk.
        .with_cmd([
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
            "--innodb-flush-method=nosync",
            "--max-connections=300",
        ])
}
