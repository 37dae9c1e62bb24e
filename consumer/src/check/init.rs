//! `init`: creates the bookkeeping tables, or brings an earlier consumer's up to date.

use crate::check::report::counted;
use crate::config::Config;
use crate::store::schema::TABLES;
use crate::store::{BookkeepingState, Store as _, StoreError, Timeouts};

/// Why the bookkeeping tables are not as this consumer needs them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// A newer consumer has made them.
    #[error("{0}")]
    Refused(String),
    /// The database says no.
    #[error("{0}")]
    Failed(String),
}

/// Creates what is missing, and says what was done.
///
/// # Errors
/// [`InitError`].
pub async fn init(config: &Config) -> Result<String, InitError> {
    let database = &config.database.target;
    let mut store = database.connect(&Timeouts::STANDARD).await?;
    let tables = counted(TABLES.len(), "bookkeeping table");
    Ok(match store.init().await? {
        BookkeepingState::Ready => format!("the {tables} are there: {database:?}"),
        BookkeepingState::Missing => format!("created {tables}: {database:?}"),
        BookkeepingState::Older | BookkeepingState::Newer(_) => {
            format!("brought the {tables} up to date: {database:?}")
        }
    })
}

impl From<StoreError> for InitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(why) => InitError::Refused(why),
            other => InitError::Failed(other.to_string()),
        }
    }
}
