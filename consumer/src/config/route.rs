//! A route: a topic, its table, and how its records are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use toml::{Table, Value};
use write_behind_shared::table_name::Name;

use crate::config::error::{ConfigError, refuse};
use crate::core::pipeline::placement::OnWrongPartition;
use crate::core::pipeline::schedule::Priority;

/// Keys whose values are lists.
pub(super) const LISTS: [&str; 2] = ["key", "columns"];

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
    /// What happens to a record in another partition than its key's.
    #[serde(default)]
    pub on_wrong_partition: OnWrongPartition,
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

/// Sets the table of each route of `config` that names none to its topic's name. A text where a
/// list of columns belongs is that list, separated by commas as in a variable.
pub(super) fn complete(config: &mut Table) -> Result<(), ConfigError> {
    if config.get("route").is_some_and(Value::is_table) {
        let why = "is one section; write [[route]] with two brackets, for there may be several";
        return Err(refuse("route", why));
    }
    let routes = config.get_mut("route").and_then(Value::as_array_mut);
    for route in routes.into_iter().flatten().filter_map(Value::as_table_mut) {
        // A topic of another type is refused under its own name, not under the table's.
        if let Some(Value::String(topic)) = route.get("topic").cloned() {
            route.entry("table").or_insert(Value::String(topic));
        }
        for list in LISTS {
            if let Some(Value::String(text)) = route.get(list) {
                let items = list_of(text);
                route.insert(list.to_owned(), items);
            }
        }
    }
    Ok(())
}

/// The list that a text with commas is.
pub(super) fn list_of(text: &str) -> Value {
    Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())
}

/// Why a name is certainly a mistake.
pub(super) fn unfit_name(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() {
        return Some("is empty; it is a name");
    }
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    (name.starts_with(is_blank) || name.ends_with(is_blank))
        .then_some("begins or ends with a blank; remove it")
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
        let names = [("topic", &route.topic), ("table", &route.table)].into_iter();
        let names = names.chain(route.key.iter().map(|column| ("key", column)));
        for (setting, name) in names {
            if let Some(why) = unfit_name(name) {
                return refused(setting, why);
            }
        }
        if let Err(why) = Name::parse(&route.table) {
            let why = why.to_string();
            // The default, so nobody has written it as a table's name.
            let of_topic = "is not given, and the topic's name is no table's; set `table`";
            return refused("table", if route.table == route.topic { of_topic } else { &why });
        }
        if routes[..place].iter().any(|other| other.table == route.table) {
            let why = "names a table that another route writes already; two logs have no order \
                       between them, so a table has one route";
            return refused("table", why);
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
