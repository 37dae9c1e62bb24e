//! The store's contract, for SQLite.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod contract;

use std::any::Any;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tempfile::TempDir;
use write_behind_consumer::store::Database;

/// A file in a directory of its own.
struct Sqlite {
    directory: TempDir,
}

impl Sqlite {
    async fn connection(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.directory.path().join("test.db"));
        options.create_if_missing(true).connect().await.unwrap()
    }
}

impl contract::Lab for Sqlite {
    const BYTES: &'static str = "blob";

    async fn new() -> Self {
        let lab = Self { directory: tempfile::tempdir().unwrap() };
        lab.connection().await;
        lab
    }

    fn database(&self) -> Database {
        let file = self.directory.path().join("test.db");
        Database::parse(&format!("sqlite://{}", file.display())).unwrap()
    }

    async fn sql(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut self.connection().await).await.unwrap();
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let sql = sqlx::query(AssertSqlSafe(sql.to_owned()));
        let rows = sql.fetch_all(&mut self.connection().await).await.unwrap();
        rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
    }

    async fn hold(&self, sql: &str) -> Box<dyn Any + Send> {
        let mut connection = self.connection().await;
        let sql = AssertSqlSafe(format!("BEGIN IMMEDIATE; {sql}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        Box::new(connection)
    }
}

contract!(Sqlite);
