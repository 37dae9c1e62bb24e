//! The state of the bookkeeping tables: there, missing, an earlier consumer's or a later one's.

use crate::store::line::{Line, select};
use crate::store::statement::{Statement, Statements, ValueKind};
use crate::store::{BookkeepingState, StoreError};

/// The version of the tables that this consumer makes.
pub(super) const VERSION: i64 = 2;
/// The table that holds the version. Tables without it are of version 1.
const VERSION_TABLE: &str = "write_behind_schema";
/// All of them.
pub const TABLES: [&str; 7] = [
    "write_behind_offsets",
    "write_behind_writers",
    "write_behind_dead_letters",
    "write_behind_last_records",
    "write_behind_tables",
    "write_behind_dead_letter_copies",
    VERSION_TABLE,
];

impl BookkeepingState {
    /// Why this consumer can't use them, if it can't.
    ///
    /// # Errors
    /// [`StoreError::Stop`] where `init` would help, [`StoreError::Refused`] where a newer consumer
    /// must be used.
    pub fn usable(&self) -> Result<(), StoreError> {
        match self {
            BookkeepingState::Ready => Ok(()),
            BookkeepingState::Missing => Err(StoreError::Stop(
                "the bookkeeping tables are not there: run `write-behind init` first".to_owned(),
            )),
            BookkeepingState::Older => Err(StoreError::Stop(
                "the bookkeeping tables are an earlier version's: run `write-behind init`, which \
                 brings them up to date"
                    .to_owned(),
            )),
            BookkeepingState::Newer(_) => self.not_newer(),
        }
    }

    /// Refuses a later consumer's tables: what they hold would be misunderstood.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub fn not_newer(&self) -> Result<(), StoreError> {
        match self {
            BookkeepingState::Newer(version) => Err(StoreError::Refused(format!(
                "the bookkeeping tables are of version {version}, and this write-behind knows \
                 versions up to {VERSION}: a newer one has written here. Use that one"
            ))),
            _ => Ok(()),
        }
    }

    fn of(names: &[String], version: Option<i64>) -> Self {
        let has = |table: &str| names.iter().any(|name| name == table);
        match version {
            Some(version) if version > VERSION => BookkeepingState::Newer(version),
            Some(VERSION) if TABLES.iter().all(|table| has(table)) => BookkeepingState::Ready,
            _ if TABLES.iter().any(|table| has(table)) => BookkeepingState::Older,
            _ => BookkeepingState::Missing,
        }
    }
}

/// How the tables stand.
pub(super) async fn state<S: Statements>(store: &mut S) -> Result<BookkeepingState, StoreError> {
    let dialect = store.dialect();
    let names = Statement::new(dialect, &[ValueKind::Text]).add(dialect.bookkeeping, []);
    let names = select(store, names, "the catalogue", Line::text).await?;
    let mut version = None;
    if names.iter().any(|name| name == VERSION_TABLE) {
        let highest = "SELECT coalesce(max(version), 1) FROM write_behind_schema";
        let statement = Statement::new(dialect, &[ValueKind::Integer]).add(highest, []);
        version = select(store, statement, VERSION_TABLE, Line::integer).await?.pop();
    }
    Ok(BookkeepingState::of(&names, version))
}

/// Whether a name is that of a bookkeeping table, in databases that ignore the case, too.
pub(super) fn is_bookkeeping(name: &str) -> bool {
    TABLES.iter().any(|table| table.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_judged_by_their_version_and_by_which_are_there() {
        let all = || TABLES.map(str::to_owned).to_vec();
        let state = |names: &[String], version| BookkeepingState::of(names, version);
        assert_eq!(state(&[], None), BookkeepingState::Missing);
        assert_eq!(state(&["write_behind_notes".to_owned()], None), BookkeepingState::Missing);
        assert_eq!(state(&all(), Some(2)), BookkeepingState::Ready);
        assert_eq!(state(&all()[..3], None), BookkeepingState::Older, "the first version had none");
        assert_eq!(state(&all()[1..], Some(2)), BookkeepingState::Older, "one was dropped");
        assert_eq!(state(&all(), Some(1)), BookkeepingState::Older, "cut off before its version");
        assert_eq!(state(&all(), Some(3)), BookkeepingState::Newer(3));
        let told = BookkeepingState::Newer(3).usable();
        assert!(matches!(told, Err(StoreError::Refused(why)) if why.contains("version 3")));
    }
}
