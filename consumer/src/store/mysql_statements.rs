//! How MySQL performs the statements on the bookkeeping tables.

use super::classify::Failure;
use super::mysql::{MysqlStore, failed};
use super::performed::{bound, values_of};
use super::statement::{Dialect, Statement, Statements, Value};

const DIALECT: Dialect = Dialect {
    numbered: false,
    unless_there: " ON DUPLICATE KEY UPDATE pipeline = pipeline",
    failed_at: "CAST(floor(unix_timestamp(failed_at)) AS signed)",
    find: "instr",
    headers: "CAST(headers AS char)",
};

impl Statements for MysqlStore {
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
