//! The database's part of the preflight: the connection, the tables, whose they are, what the user may
//! do there.

use crate::apply::Target;
use crate::apply::claim::not_its_table;
use crate::check::report::{CheckReport, Grade, counted};
use crate::config::Config;
use crate::core::table::Table;
use crate::store::{AnyStore, Store as _, StoreError, Timeouts};

/// Beside the workers': one to find out where partitions stand.
const CONNECTIONS_MORE: usize = 1;

pub(super) async fn connect(config: &Config, report: &mut CheckReport) -> Option<AnyStore> {
    let database = &config.database.target;
    let mut store = match database.connect(&Timeouts::STANDARD).await {
        Ok(store) => store,
        Err(error) => {
            report.add(Grade::Failed, "database", error.to_string());
            return None;
        }
    };
    report.add(Grade::Ok, "database", format!("{database:?}"));
    let needed = (config.database.connections + CONNECTIONS_MORE) as i64;
    match store.free_connections().await {
        // This one will be free again.
        Ok(Some(free)) if free + 1 < needed => {
            let found = format!(
                "{needed} connections are needed, but only {} are free now: raise the limit of the \
                 server, the database or the role, or lower `database.connections`",
                free + 1
            );
            report.add(Grade::Warning, "database connections", found);
        }
        Ok(_) => {}
        Err(error) => report.add(Grade::Warning, "database connections", error.to_string()),
    }
    Some(store)
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
