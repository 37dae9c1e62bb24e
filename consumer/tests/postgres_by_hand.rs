//! scratch
mod contract;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::any::Any;
use write_behind_consumer::store::Database;
struct Postgres {
    url: String,
}
impl contract::Lab for Postgres {
    const BYTES: &'static str = "bytea";
    async fn new() -> Self {
        let server = std::env::var("PG").unwrap();
        let name = format!("lab_{}", uuid::Uuid::new_v4().simple());
        let mut c = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut c)
            .await
            .unwrap();
        Self { url: format!("{server}/{name}") }
    }
    fn database(&self) -> Database {
        Database::parse(&self.url).unwrap()
    }
    async fn sql(&self, sql: &str) {
        let mut c = PgConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut c).await.unwrap();
    }
    async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let mut c = PgConnection::connect(&self.url).await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut c).await.unwrap();
        rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
    }
    async fn hold(&self, sql: &str) -> Box<dyn Any + Send> {
        let mut c = PgConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {sql}"))).execute(&mut c).await.unwrap();
        Box::new(c)
    }
}
contract!(Postgres);
