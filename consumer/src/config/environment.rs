//! The environment's part in the configuration: `${NAME}` inside texts, and a variable for each key.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::config::error::ConfigError;

/// The process's environment variables.
pub type Variables = BTreeMap<String, String>;

const PREFIX: &str = "WRITE_BEHIND_";
/// Keys whose values are numbers.
const NUMBERS: [&str; 3] = ["connections", "rows_per_second", "max_rows"];
/// Keys whose values are lists.
const LISTS: [&str; 2] = ["key", "columns"];
/// Keys whose values are pairs of names, written like `playerId=player_id`.
const PAIRS: [&str; 1] = ["rename"];

/// Replaces every `${NAME}` in the texts of `table`.
pub fn substitute(table: &mut Table, variables: &Variables) -> Result<(), ConfigError> {
    for (name, value) in table.iter_mut() {
        substitute_in(name, value, variables)?;
    }
    Ok(())
}

fn substitute_in(path: &str, value: &mut Value, with: &Variables) -> Result<(), ConfigError> {
    match value {
        Value::String(text) => *text = substituted(path, text, with)?,
        Value::Table(table) => {
            for (name, value) in table.iter_mut() {
                substitute_in(&format!("{path}.{name}"), value, with)?;
            }
        }
        Value::Array(values) => {
            for (place, value) in values.iter_mut().enumerate() {
                substitute_in(&format!("{path}[{place}]"), value, with)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn substituted(path: &str, text: &str, with: &Variables) -> Result<String, ConfigError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        let Some((variable, after)) = from.split_once('}') else { break };
        let value = with.get(variable).ok_or_else(|| ConfigError::NoVariable {
            setting: path.to_owned(),
            variable: variable.to_owned(),
        })?;
        out.push_str(before);
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Sets the keys that have a variable of their own.
///
/// Variables outside of the configuration's sections are let alone: orchestrators set some that
/// begin with a service's name.
pub fn override_by(table: &mut Table, variables: &Variables) -> Result<(), ConfigError> {
    for (variable, value) in variables {
        let Some(path) = variable.strip_prefix(PREFIX) else { continue };
        let path = path.to_ascii_lowercase();
        if path == "name" {
            table.insert(path, Value::String(value.clone()));
            continue;
        }
        let key_of = |section| path.strip_prefix(section)?.strip_prefix('_').map(|k| (section, k));
        let named = key_of("dead_letters").or_else(|| path.split_once('_'));
        let Some((section, key)) = named else { continue };
        match section {
            "kafka" => {
                section_of(table, section).map(|section| {
                    section.insert(key.replace('_', "."), Value::String(value.clone()))
                });
            }
            "database" | "batch" | "memory" | "watchdog" | "http" | "dead_letters" => {
                let value = typed(variable, key, value)?;
                section_of(table, section).map(|section| section.insert(key.to_owned(), value));
            }
            "route" => override_route(table, variable, key, value)?,
            _ => {}
        }
    }
    Ok(())
}

fn override_route(
    table: &mut Table,
    variable: &str,
    path: &str,
    value: &str,
) -> Result<(), ConfigError> {
    let refuse =
        |why: &str| ConfigError::Setting { setting: variable.to_owned(), why: why.to_owned() };
    let numbered = path.split_once('_').and_then(|(n, key)| Some((n.parse::<usize>().ok()?, key)));
    let (place, key) = numbered.ok_or_else(|| {
        refuse("does not name a route's key; write it like WRITE_BEHIND_ROUTE_0_TOPIC")
    })?;
    let value = typed(variable, key, value)?;
    let routes = table.entry("route").or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(routes) = routes else { return Ok(()) };
    if place > routes.len() {
        return Err(refuse("skips a route; number them from 0 without gaps"));
    }
    if place == routes.len() {
        routes.push(Value::Table(Table::new()));
    }
    if let Value::Table(route) = &mut routes[place] {
        route.insert(key.to_owned(), value);
    }
    Ok(())
}

/// The section, made if it is missing; `None` if something else stands there, which the reading of
/// the whole refuses.
fn section_of<'t>(table: &'t mut Table, name: &str) -> Option<&'t mut Table> {
    table.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
}

fn typed(variable: &str, key: &str, value: &str) -> Result<Value, ConfigError> {
    if NUMBERS.contains(&key) {
        let why = || format!("is {value:?}, which is not a number");
        let number = value.trim().parse::<i64>();
        return number
            .map(Value::Integer)
            .map_err(|_| ConfigError::Setting { setting: variable.to_owned(), why: why() });
    }
    if LISTS.contains(&key) {
        let items = value.split(',').map(|item| Value::String(item.trim().to_owned()));
        return Ok(Value::Array(items.collect()));
    }
    if PAIRS.contains(&key) {
        let pair = |item: &str| {
            let (name, other) = item.split_once('=')?;
            Some((name.trim().to_owned(), Value::String(other.trim().to_owned())))
        };
        let pairs: Option<Table> = value.split(',').map(pair).collect();
        let why = || format!("is {value:?}; write it like \"playerId=player_id,teamId=team_id\"");
        return pairs
            .map(Value::Table)
            .ok_or_else(|| ConfigError::Setting { setting: variable.to_owned(), why: why() });
    }
    Ok(Value::String(value.to_owned()))
}
