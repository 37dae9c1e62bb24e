//! The database's part of the preflight: the connection, the tables, their owners, the user's rights.

use crate::apply::Target;
use crate::apply::claim::judged;
use crate::check::report::{CheckReport, Grade, counted};
use crate::config::Config;
use crate::core::claim::ClaimVerdict;
use crate::core::table::Table;
use crate::store::schema::TABLES;
use crate::store::{AnyStore, BookkeepingState, Store as _, StoreError, Timeouts};

/// Connections beside the workers': the locator's, and the one that looks after the dead letters.
const CONNECTIONS_MORE: usize = 2;

pub(super) async fn connect(config: &Config, report: &mut CheckReport) -> Option<AnyStore> {
    let database = &config.database.target;
    let mut store = match database.connect(&Timeouts::STANDARD).await {
        Ok(store) => store,
        Err(error) => {
            report.add(Grade::Failed, "database", error.to_string());
            return None;
        }
    };
    match database.pooling(&mut store, &Timeouts::STANDARD).await {
        Ok(None) => report.add(Grade::Ok, "database", format!("{database:?}")),
        Ok(Some(why)) => report.add(Grade::Refused, "database", why),
        Err(error) => report.add(Grade::Warning, "database", error.to_string()),
    }
    if database.is_of_several()
        && let Some(found) = too_many(&database.taking_writes(&Timeouts::STANDARD).await)
    {
        report.add(Grade::Warning, "database servers", found);
    }
    match store.free_connections().await {
        Ok(free) => {
            if let Some(found) = too_few(config.database.connections, free) {
                report.add(Grade::Warning, "database connections", found);
            }
        }
        Err(error) => report.add(Grade::Warning, "database connections", error.to_string()),
    }
    Some(store)
}

/// What to say when these servers of one URL take writes: MySQL's replicas do unless they are told not
/// to, and what is written to one is missing in the others.
fn too_many(taking_writes: &[String]) -> Option<String> {
    (taking_writes.len() > 1).then(|| {
        format!(
            "{} all take writes: set read_only = ON on those that are replicas, else records may be \
             written to one of them alone",
            taking_writes.join(", ")
        )
    })
}

/// What to say when a consumer with this many workers would find too few connections. `free`: beside
/// ours, which will be free again; `None`: there is no limit.
fn too_few(workers: usize, free: Option<i64>) -> Option<String> {
    let (needed, free) = ((workers + CONNECTIONS_MORE) as i64, free? + 1);
    (free < needed).then(|| {
        format!(
            "{needed} connections are needed, but only {free} are free now: raise the limit of the \
             server, the database or the role, or lower `database.connections`"
        )
    })
}

/// How the bookkeeping tables stand.
pub(super) async fn bookkeeping(
    store: &mut AnyStore,
    report: &mut CheckReport,
) -> Option<BookkeepingState> {
    const WHAT: &str = "bookkeeping";
    let state = match store.bookkeeping().await {
        Ok(state) => state,
        Err(error) => {
            report.add(Grade::Failed, WHAT, error.to_string());
            return None;
        }
    };
    let tables = counted(TABLES.len(), "table");
    match &state {
        BookkeepingState::Ready => report.add(Grade::Ok, WHAT, tables),
        BookkeepingState::Missing => report.add(
            Grade::Ok,
            WHAT,
            format!("not there yet: `init` creates {tables}, and so does `run` without --no-init"),
        ),
        BookkeepingState::Older => report.add(
            Grade::Warning,
            WHAT,
            "of an earlier version: `init` brings it up to date, and so does `run` without --no-init",
        ),
        BookkeepingState::Newer(_) => {
            if let Err(error) = state.not_newer() {
                report.add(Grade::Refused, WHAT, error.to_string());
            }
            return None;
        }
    }
    Some(state)
}

/// Whether records can be written to the table as the route wants. `is_ready`: the bookkeeping can
/// tell whose it is.
pub(super) async fn table(
    store: &mut AnyStore,
    target: &Target,
    is_ready: bool,
    report: &mut CheckReport,
) -> Option<Table> {
    let what = format!("table {}", target.table);
    let table = match target.describe(store).await {
        Ok(table) => table,
        Err(error) => {
            report.add(Grade::Failed, what, error.to_string());
            return None;
        }
    };
    let key: Vec<&str> = table.key.iter().map(|column| &*column.name).collect();
    let found = format!("{}, key {}", counted(table.columns.len(), "column"), key.join(", "));
    report.add(Grade::Ok, &*what, found);
    for warning in &table.warnings {
        report.add(Grade::Warning, &*what, &**warning);
    }
    // Without the cluster it is not known whose the route's claim would be.
    if is_ready && !target.scope.cluster.is_empty() {
        match judged(store, target, &table).await {
            Ok(ClaimVerdict::Ours) => report.add(Grade::Ok, what, "is this pipeline's"),
            Ok(ClaimVerdict::NoteEmptied(emptied)) => {
                report.add(Grade::Warning, what, emptied.warning());
            }
            Ok(_) => report.add(Grade::Ok, what, "is no other pipeline's"),
            Err(StoreError::Refused(why)) => report.add(Grade::Refused, what, why),
            Err(error) => report.add(Grade::Failed, what, error.to_string()),
        }
    }
    Some(table)
}

/// Whether two routes write one table, before either has claimed it.
pub(super) fn one_table_each(tables: &[(String, Table)], report: &mut CheckReport) {
    for (place, (topic, table)) in tables.iter().enumerate() {
        let same = tables[..place].iter().find(|(_, other)| other.sql_name == table.sql_name);
        if let Some((other, _)) = same {
            let found = format!(
                "the routes of topics {other} and {topic} write it both: two logs have no order \
                 between them, so give each a table of its own"
            );
            report.add(Grade::Refused, format!("table {}", table.sql_name), found);
        }
    }
}

/// Whether the user has all rights that `run` needs.
pub(super) async fn rights(
    store: &mut AnyStore,
    tables: &[(String, Table)],
    report: &mut CheckReport,
) {
    const WHAT: &str = "rights";
    let tables: Vec<&Table> = tables.iter().map(|(_, table)| table).collect();
    match store.missing_grants(&tables).await {
        Ok(None) => {}
        Ok(Some(grants)) => {
            report.add(Grade::Failed, WHAT, format!("some are missing; run as an owner: {grants}"));
        }
        Err(error) => report.add(Grade::Warning, WHAT, format!("unknown: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_take_writes_are_told_with_the_setting_that_ends_it() {
        let servers = ["mysql://a:3306/d", "mysql://b:3306/d"].map(str::to_owned);
        assert_eq!(too_many(&servers[..1]), None);
        let found = too_many(&servers).unwrap();
        assert!(found.starts_with("mysql://a:3306/d, mysql://b:3306/d all take writes"), "{found}");
    }

    #[test]
    fn the_workers_the_locator_and_the_dead_letters_each_need_a_connection() {
        assert_eq!(too_few(4, None), None, "there is no limit");
        assert_eq!(too_few(4, Some(5)), None, "five, and the one that asks");
        let found = too_few(4, Some(4)).unwrap();
        assert!(found.starts_with("6 connections are needed, but only 5 are free"), "{found}");
    }
}
