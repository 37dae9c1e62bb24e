//! Whether a pooler in between gives each transaction another session of the server.
//!
//! Settings and prepared statements are of a session: behind such a pooler they get lost, and those of
//! other clients come up. A pooler that gives each client a session of its own is none for us.

use sqlx::Row as _;

use crate::store::StoreError;
use crate::store::classify::Failure;
use crate::store::postgres::PostgresStore;

/// The code with which `PgBouncer` refuses a transaction where it pools by statement.
const NO_TRANSACTIONS: &str = "(08P01)";

impl PostgresStore {
    /// Whether `self` and `other` are given sessions transaction by transaction.
    ///
    /// While `other` is in a transaction, `self` must still have the session it had before, and
    /// `other` another one: a pooler by transaction has handed `other` the one that was just free, or
    /// must now find another one for `self`.
    pub(in crate::store) async fn shares_sessions(
        &mut self,
        other: &mut Self,
    ) -> Result<bool, StoreError> {
        let before = self.session().await?;
        match other.run("BEGIN").await.map_err(Failure::of_no_row) {
            // A server refuses no transaction in these words: a pooler by statement does.
            Err(StoreError::Unavailable(why)) if why.contains(NO_TRANSACTIONS) => return Ok(true),
            begun => begun?,
        }
        let of_other = other.session().await?;
        let after = self.session().await?;
        other.run("ROLLBACK").await.map_err(Failure::of_no_row)?;
        Ok(before != after || before == of_other)
    }

    /// The server's process behind this connection. A prepared statement could fail here.
    async fn session(&mut self) -> Result<i32, StoreError> {
        let asked = sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(&mut self.raw);
        let row = self.answers.wait_for(asked).await.map_err(Failure::of_no_row)?;
        Ok(row.try_get(0)?)
    }
}
