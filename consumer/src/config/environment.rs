//! The environment's part of the configuration: `${NAME}` inside texts, and a variable for each key.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::config::error::{ConfigError, refuse};
use crate::config::route::{LISTS, list_of};

/// The process's environment variables.
pub type Variables = BTreeMap<String, String>;

const PREFIX: &str = "WRITE_BEHIND_";
/// Variables of the command line.
const OF_THE_COMMAND: [&str; 5] = ["config", "log", "log_format", "adopt_offsets", "no_init"];
/// Sections whose keys have variables; `kafka` and `route` apart.
const SECTIONS: [&str; 8] =
    ["database", "batch", "memory", "watchdog", "http", "traces", "dead_letters", "bad_records"];
/// Keys whose values are integers.
const NUMBERS: [&str; 5] =
    ["connections", "rows_per_second", "max_rows", "max_per_second", "max_records"];

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
        let Some((variable, after)) = from.split_once('}') else {
            let why = "has a ${ without its }; write ${NAME}, or give the whole setting by its own \
                       variable, where ${ means nothing";
            return Err(refuse(path, why));
        };
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

/// Sets the keys that have a variable of their own, and notes which variable set which path.
pub fn override_by(
    table: &mut Table,
    variables: &Variables,
    overrides: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (variable, value) in variables {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let name = name.to_ascii_lowercase();
        if OF_THE_COMMAND.contains(&&*name) || is_service_link(&name, value) {
            continue;
        }
        let key_of = |section: &str| name.strip_prefix(section)?.strip_prefix('_');
        let path = if name == "name" {
            table.insert(name.clone(), Value::String(value.clone()));
            name
        } else if let Some(property) = key_of("kafka") {
            let property = property.replace('_', ".");
            let path = format!("kafka.{property}");
            set(table, "kafka", property, Value::String(value.clone()));
            path
        } else if let Some(key) = key_of("route") {
            override_route(table, variable, key, value)?
        } else if let Some((section, key)) =
            SECTIONS.iter().find_map(|section| Some((section, key_of(section)?)))
        {
            set(table, section, key.to_owned(), typed(variable, key, value)?);
            format!("{section}.{key}")
        } else {
            let why = "is no setting; write it like WRITE_BEHIND_BATCH_MAX_ROWS, or unset it";
            return Err(refuse(variable, why));
        };
        overrides.insert(path, variable.clone());
    }
    Ok(())
}

/// Whether Kubernetes sets a variable like this one for a Service, say one called `write-behind-kafka`.
/// A port alone is a link only with an address, or somebody's own `…_HTTP_PORT=8080` would be passed
/// over in silence.
fn is_service_link(name: &str, value: &str) -> bool {
    let of_a_port = |(_, rest): (&str, &str)| rest.starts_with(|c: char| c.is_ascii_digit());
    name.ends_with("service_host")
        || name.contains("service_port")
        || (name == "port" || name.ends_with("_port")) && value.contains("://")
        || name.rsplit_once("port_").is_some_and(of_a_port)
}

/// Sets a route's key, and gives its path.
fn override_route(
    table: &mut Table,
    variable: &str,
    path: &str,
    value: &str,
) -> Result<String, ConfigError> {
    let numbered = path.split_once('_').and_then(|(n, key)| Some((n.parse::<usize>().ok()?, key)));
    let (place, key) = numbered.ok_or_else(|| {
        let why = "does not name a route's key; write it like WRITE_BEHIND_ROUTE_0_TOPIC";
        refuse(variable, why)
    })?;
    let value = typed(variable, key, value)?;
    let routes = table.entry("route").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(routes) = routes {
        if place > routes.len() {
            let why = "skips a route; number them from 0 without gaps";
            return Err(refuse(variable, why));
        }
        if place == routes.len() {
            routes.push(Value::Table(Table::new()));
        }
        if let Value::Table(route) = &mut routes[place] {
            route.insert(key.to_owned(), value);
        }
    }
    Ok(format!("route[{place}].{key}"))
}

/// Sets a section's key. If the section is no table, reading the whole refuses it.
fn set(table: &mut Table, section: &str, key: String, value: Value) {
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(key, value);
    }
}

/// The value of a variable, of the type that its key has.
fn typed(variable: &str, key: &str, value: &str) -> Result<Value, ConfigError> {
    let refused = |why: &str| refuse(variable, why);
    if key == "max_ratio" {
        let ratio = value.trim().parse().map(Value::Float);
        return ratio.map_err(|_| refused("is not a number such as 0.5"));
    }
    if key == "actions" {
        let switch = value.trim().parse().map(Value::Boolean);
        return switch.map_err(|_| refused("is neither true nor false"));
    }
    if NUMBERS.contains(&key) {
        let number = value.trim().parse().map(Value::Integer);
        return number.map_err(|_| refused("is not a number"));
    }
    if LISTS.contains(&key) || key == "members" {
        return Ok(list_of(value));
    }
    if key == "rename" {
        let pair = |item: &str| {
            let (name, other) = item.split_once('=')?;
            Some((name.trim().to_owned(), Value::String(other.trim().to_owned())))
        };
        let pairs: Option<Table> = value.split(',').map(pair).collect();
        let mend = "is no list of pairs; write it like \"playerId=player_id,teamId=team_id\"";
        return pairs.map(Value::Table).ok_or_else(|| refused(mend));
    }
    Ok(Value::String(value.to_owned()))
}
