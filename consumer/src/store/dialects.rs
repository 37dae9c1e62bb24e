//! How each database spells the statements on the bookkeeping tables, and performs them through its own
//! driver.

use crate::store::classify::Failure;
use crate::store::mysql::{self, MysqlStore};
use crate::store::performed::{bound, values_of};
use crate::store::postgres::{self, PostgresStore};
use crate::store::sqlite::{self, SqliteStore};
use crate::store::statement::{Dialect, Statement, Statements, Value};

const POSTGRES: Dialect = Dialect {
    numbered: true,
    unless_there: " ON CONFLICT DO NOTHING",
    failed_at: "CAST(floor(extract(epoch FROM failed_at)) AS bigint)",
    find: "strpos",
    headers: "headers::text",
};

const SQLITE: Dialect = Dialect {
    numbered: true,
    unless_there: " ON CONFLICT DO NOTHING",
    failed_at: "CAST(strftime('%s', failed_at) AS INTEGER)",
    find: "instr",
    headers: "headers",
};

const MYSQL: Dialect = Dialect {
    numbered: false,
    unless_there: " ON DUPLICATE KEY UPDATE pipeline = pipeline",
    failed_at: "CAST(floor(unix_timestamp(failed_at)) AS signed)",
    find: "instr",
    headers: "CAST(headers AS char)",
};

/// The drivers' types differ, and what is done with them does not.
macro_rules! performs {
    ($store:ty, $dialect:expr, $failed:path) => {
        impl Statements for $store {
            fn dialect(&self) -> Dialect {
                $dialect
            }

            async fn perform(&mut self, statement: Statement) -> Result<u64, Failure> {
                self.execute(bound(statement)).await
            }

            async fn select(&mut self, statement: Statement) -> Result<Vec<Vec<Value>>, Failure> {
                let columns = statement.columns;
                let rows = self.fetch(bound(statement)).await?;
                values_of(&rows, columns).map_err($failed)
            }
        }
    };
}

performs!(PostgresStore, POSTGRES, postgres::failed);
performs!(SqliteStore, SQLITE, sqlite::failed);
performs!(MysqlStore, MYSQL, mysql::failed);
