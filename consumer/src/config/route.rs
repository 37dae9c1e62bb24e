//! A route: a topic, its table, and how its records are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::config::error::{ConfigError, refuse};
use crate::core::pipeline::schedule::Priority;

/// A topic and its table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The topic.
    pub topic: String,
    /// The table.
    pub table: String,
    /// The key columns; empty: the primary key.
    #[serde(default)]
    pub key: Vec<String>,
    /// The columns that a record may name beside the key; `None`: all.
    pub columns: Option<Vec<String>>,
    /// Columns that records call by other names: that name, and the column.
    #[serde(default, deserialize_with = "pairs")]
    pub rename: Vec<(String, String)>,
    /// The column that holds a row's version: an older one never overwrites a newer one.
    pub version: Option<String>,
    /// What happens to a record that cannot be applied.
    #[serde(default)]
    pub on_bad_record: OnBadRecord,
    /// Its share of the database while other routes want it too.
    #[serde(default)]
    pub priority: Priority,
    /// How many of its rows are written per second at most.
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
    /// Nothing is set aside: the route stops until the record can be applied.
    Stop,
}

fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
}

/// Gives each route of `config` that names no table the table that is called like its topic.
pub(super) fn name_tables(config: &mut Table) {
    let routes = config.get_mut("route").and_then(Value::as_array_mut);
    for route in routes.into_iter().flatten().filter_map(Value::as_table_mut) {
        // A topic of another type is refused under its own name, not under the table's.
        if let Some(Value::String(topic)) = route.get("topic").cloned() {
            route.entry("table").or_insert(Value::String(topic));
        }
    }
}

/// Checks that the routes are valid together.
pub(super) fn check_routes(routes: &[Route]) -> Result<(), ConfigError> {
    if routes.is_empty() {
        return Err(refuse("route", "is missing; add a [[route]] with the topic to read"));
    }
    for (place, route) in routes.iter().enumerate() {
        let refused = |name, why: &str| Err(refuse(format!("route[{place}].{name}"), why));
        if routes[..place].iter().any(|other| other.topic == route.topic) {
            let why = "names a topic that another route reads already; a topic has one route";
            return refused("topic", why);
        }
        if route.topic.trim().is_empty() {
            return refused("topic", "is empty; set it to the topic's name");
        }
        if route.version.as_ref().is_some_and(|version| version.trim().is_empty()) {
            return refused("version", "is empty; remove it or name a column");
        }
        if let (Some(version), Some(columns)) = (&route.version, &route.columns)
            && !columns.contains(version)
        {
            return refused("version", "names a column that `columns` leaves out; add it there");
        }
        if route.rows_per_second == Some(0) {
            let why = "is 0, so nothing of it would ever be written; remove it or raise it";
            return refused("rows_per_second", why);
        }
        if route.columns.as_ref().is_some_and(Vec::is_empty) {
            let why = "is empty, so no record could be applied; remove it or name columns";
            return refused("columns", why);
        }
    }
    Ok(())
}
