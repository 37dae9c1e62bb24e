//! What a route says: takes each `[[route]]` of the file, gives a topic, its table and how its records
//! are taken, or says which setting is not valid.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::error::{ConfigError, refuse};
use crate::core::pipeline::schedule::Priority;

/// A topic and its table.
#[derive(Clone, Debug)]
pub struct Route {
    /// The topic.
    pub topic: String,
    /// The table.
    pub table: String,
    /// The key columns; empty: the primary key.
    pub key: Vec<String>,
    /// The columns a record may name beside the key; `None`: all.
    pub columns: Option<Vec<String>>,
    /// Columns that records call by other names: that name, and the column.
    pub rename: Vec<(String, String)>,
    /// The column that holds a row's version: an older one never overwrites a newer one.
    pub version: Option<String>,
    /// What happens to a record that cannot be applied.
    pub on_bad_record: OnBadRecord,
    /// Its share of the database, while other routes want it too.
    pub priority: Priority,
    /// At most so many of its rows are written per second.
    pub rows_per_second: Option<u32>,
}

impl Route {
    /// What records call the column that holds a row's version.
    #[must_use]
    pub fn version_in_records(&self) -> Option<&str> {
        let version = self.version.as_deref()?;
        let renamed = self.rename.iter().find(|(_, column)| column == version);
        Some(renamed.map_or(version, |(member, _)| member))
    }
}

/// What happens to a record that cannot be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBadRecord {
    /// It is set aside in the dead-letter table, and the ones after it are applied.
    #[default]
    DeadLetter,
    /// The consumer stops before it.
    Stop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteFile {
    topic: String,
    table: Option<String>,
    #[serde(default)]
    key: Vec<String>,
    columns: Option<Vec<String>>,
    #[serde(default)]
    rename: BTreeMap<String, String>,
    #[serde(default)]
    priority: Priority,
    rows_per_second: Option<u32>,
    version: Option<String>,
    #[serde(default)]
    on_bad_record: OnBadRecord,
}

/// The routes, if they are valid together.
pub(super) fn check_routes(files: Vec<RouteFile>) -> Result<Vec<Route>, ConfigError> {
    if files.is_empty() {
        return Err(refuse("route", "is missing; add a [[route]] with the topic to read"));
    }
    let mut routes: Vec<Route> = Vec::with_capacity(files.len());
    for (place, file) in files.into_iter().enumerate() {
        let setting = |name| format!("route[{place}].{name}");
        if routes.iter().any(|route| route.topic == file.topic) {
            let why = "names a topic that another route reads already; a topic has one route";
            return Err(refuse(setting("topic"), why));
        }
        if file.topic.trim().is_empty() {
            return Err(refuse(setting("topic"), "is empty; set it to the topic's name"));
        }
        if file.version.as_ref().is_some_and(|version| version.trim().is_empty()) {
            return Err(refuse(setting("version"), "is empty; remove it or name a column"));
        }
        if let (Some(version), Some(columns)) = (&file.version, &file.columns)
            && !columns.contains(version)
        {
            let why = "names a column that `columns` leaves out; add it there";
            return Err(refuse(setting("version"), why));
        }
        if file.rows_per_second == Some(0) {
            let why = "is 0, so nothing of it would ever be written; remove it or raise it";
            return Err(refuse(setting("rows_per_second"), why));
        }
        if file.columns.as_ref().is_some_and(Vec::is_empty) {
            let why = "is empty, so no record could be applied; remove it or name columns";
            return Err(refuse(setting("columns"), why));
        }
        routes.push(Route {
            table: file.table.unwrap_or_else(|| file.topic.clone()),
            topic: file.topic,
            key: file.key,
            columns: file.columns,
            rename: file.rename.into_iter().collect(),
            version: file.version,
            on_bad_record: file.on_bad_record,
            priority: file.priority,
            rows_per_second: file.rows_per_second,
        });
    }
    Ok(routes)
}
