//! The database's part of the preflight: the connection, the tables, their owners, the user's rights.

use crate::apply::Target;
use crate::apply::claim::not_its_table;
use crate::check::report::{CheckReport, Grade, counted};
use crate::config::Config;
use crate::core::table::Table;
use crate::store::{AnyStore, Store as _, StoreError, Timeouts};

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

/// Whether records can be written to the table as the route wants.
pub(super) async fn table(store: &mut AnyStore, target: &Target, report: &mut CheckReport) {
    let what = format!("table {}", target.table);
    let table = match target.describe(store).await {
        Ok(table) => table,
        Err(error) => return report.add(Grade::Failed, what, error.to_string()),
    };
    let key: Vec<&str> = table.key.iter().map(|column| &*column.name).collect();
    let found = format!("{}, key {}", counted(table.columns.len(), "column"), key.join(", "));
    report.add(Grade::Ok, &*what, found);
    rights(store, &table, &what, report).await;
    match store.owner(&table).await {
        Ok(Some(owner)) if target.scope.cluster.is_empty() => {
            report.add(Grade::Ok, what, format!("is written by the pipeline {:?}", owner.pipeline));
        }
        Ok(Some(owner)) => match not_its_table(target, &owner) {
            Some(why) => report.add(Grade::Refused, what, why),
            None => report.add(Grade::Ok, what, "is this pipeline's"),
        },
        Ok(None) => report.add(Grade::Ok, what, "is no other pipeline's"),
        Err(StoreError::Stop(error)) => report.add_missing_bookkeeping(&error),
        Err(error) => report.add(Grade::Failed, what, error.to_string()),
    }
}

async fn rights(store: &mut AnyStore, table: &Table, what: &str, report: &mut CheckReport) {
    match store.missing_rights(table).await {
        Ok(missing) => {
            for missing in missing {
                let found = format!(
                    "the user may not {right} there: GRANT {right} ON {table}",
                    right = missing.right,
                    table = missing.table
                );
                report.add(Grade::Failed, format!("table {}", missing.table), found);
            }
        }
        Err(error) => report.add(Grade::Warning, what, format!("its rights are unknown: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_the_locator_and_the_dead_letters_each_need_a_connection() {
        assert_eq!(too_few(4, None), None, "there is no limit");
        assert_eq!(too_few(4, Some(5)), None, "five, and the one that asks");
        let found = too_few(4, Some(4)).unwrap();
        assert!(found.starts_with("6 connections are needed, but only 5 are free"), "{found}");
    }
}
