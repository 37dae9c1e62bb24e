//! The target of a route: its topic, its table, and how records map to columns.

use std::sync::Arc;

use crate::apply::history::RouteHistory;
use crate::config::{Config, OnBadRecord, Route};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::flood::FloodLimits;
use crate::core::table::{Name, Table};
use crate::store::{Store, StoreError};

/// A topic and the table it is written to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The owner of its bookkeeping rows.
    pub scope: BookkeepingKey,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The table's name, as configured.
    pub table: String,
    /// The key's columns; empty: the primary key.
    pub key: Vec<String>,
    /// The columns that a record may name besides the key; `None`: all.
    pub columns: Option<Vec<String>>,
    /// Columns with other names in records, as pairs of that name and the column.
    pub rename: Vec<(String, String)>,
    /// The column that holds a row's version: an older version never overwrites a newer one.
    pub version: Option<String>,
    /// What its workers remember together.
    pub history: Arc<RouteHistory>,
}

impl Target {
    /// The target of `route`.
    pub(crate) fn of(config: &Config, route: &Route, cluster: &str, partitions: i32) -> Self {
        Self {
            scope: BookkeepingKey {
                pipeline: config.name.clone(),
                cluster: cluster.to_owned(),
                topic: route.topic.clone(),
            },
            partitions,
            table: route.table.clone(),
            key: route.key.clone(),
            columns: route.columns.clone(),
            rename: route.rename.clone(),
            version: route.version.clone(),
            history: Arc::new(RouteHistory::new(match route.on_bad_record {
                OnBadRecord::DeadLetter => config.bad_records,
                OnBadRecord::Stop => FloodLimits::NONE,
            })),
        }
    }

    /// The error of a table that is not there. Where the route names none, a person may not know
    /// which name was looked for.
    fn called_like_its_topic(&self, error: StoreError) -> StoreError {
        let topic = &self.scope.topic;
        match error {
            StoreError::Stop(_) if self.table == *topic && Name::parse(topic).is_err() => {
                StoreError::Stop(format!(
                    "the topic's name, {topic}, can't be a table's: set the route's `table`"
                ))
            }
            StoreError::Stop(why)
                if self.table == *topic && why.starts_with("there is no table") =>
            {
                StoreError::Stop(format!(
                    "{why}; without `table` a route's table is called like its topic, and a dot \
                     stands behind a schema"
                ))
            }
            other => other,
        }
    }

    /// Logs what a person should know of the table.
    pub(crate) fn warn(&self, table: &Table) {
        for warning in &table.warnings {
            tracing::warn!(topic = %self.scope.topic, table = %self.table, "{warning}");
        }
    }

    /// Reads the table from the catalogue, with the columns that a record may name.
    ///
    /// # Errors
    /// [`StoreError::Stop`], if the table, its key or a column is not as configured.
    pub async fn describe<S: Store>(&self, store: &mut S) -> Result<Table, StoreError> {
        let described = store.describe(&self.table, &self.key).await;
        let table = described.map_err(|error| self.called_like_its_topic(error))?;
        let name = &self.table;
        let table = match &self.columns {
            None => table,
            Some(columns) => table.only(columns).map_err(|unknown| {
                StoreError::Stop(format!("`columns` names {unknown:?}, which {name} does not have"))
            })?,
        };
        let table = table.renamed(&self.rename).map_err(|why| {
            StoreError::Stop(format!("`rename` does not fit {name}: {why}; correct the route"))
        })?;
        let table = match &self.version {
            None => table,
            Some(version) => table.with_version(version).map_err(|why| {
                StoreError::Stop(format!("`version` does not fit {name}: {why}; correct the route"))
            })?,
        };
        if self.history.is_empty() {
            self.history.learn(&table);
        }
        Ok(table)
    }
}
