//! How SQLite performs the statements on the bookkeeping tables.

use super::classify::Failure;
use super::performed::{bound, values_of};
use super::sqlite::{SqliteStore, failed};
use super::statement::{Dialect, Statement, Statements, Value};

const DIALECT: Dialect = Dialect {
    numbered: true,
    unless_there: " ON CONFLICT DO NOTHING",
    failed_at: "CAST(strftime('%s', failed_at) AS INTEGER)",
    find: "instr",
    headers: "headers",
};

impl Statements for SqliteStore {
    fn dialect(&self) -> Dialect {
        DIALECT
    }

    async fn perform(&mut self, statement: Statement) -> Result<u64, Failure> {
        self.execute(bound(statement)).await
    }

    async fn select(&mut self, statement: Statement) -> Result<Vec<Vec<Value>>, Failure> {
        let columns = statement.columns;
        let rows = self.fetch(bound(statement)).await?;
        values_of(&rows, columns).map_err(failed)
    }
}
