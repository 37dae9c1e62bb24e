//! What serde says of a key or a value, in the words of the file.
//!
//! Never with the value: it may be a password in the wrong place.

use crate::config::error::{ConfigError, refuse};
use crate::core::nearest::nearest;

/// A key that does not exist or is missing, or a value of another type. `setting`: the path to it.
pub(super) fn unfit(setting: &str, message: &str) -> ConfigError {
    if let Some(rest) = message.strip_prefix("missing field `") {
        let name = rest.trim_end_matches('`');
        let path = if setting == "." { name.to_owned() } else { format!("{setting}.{name}") };
        return refuse(path, format!("is missing; {}", how_to_give(name)));
    }
    refuse(setting, why(setting, message))
}

fn why(setting: &str, message: &str) -> String {
    if message.starts_with("unknown field `") {
        return unknown_field(setting, message);
    }
    if message.starts_with("unknown variant `") {
        let (_, expected) = message.rsplit_once("`, expected ").unwrap_or_default();
        return format!("has an unknown value, expected {expected}");
    }
    let invalid = message.strip_prefix("invalid type: ");
    let invalid = invalid.or_else(|| message.strip_prefix("invalid value: "));
    match invalid.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => format!("must be {}, not {}", wanted(expected), kind(found)),
        // What our own types say; it begins with what was written, if that can be shown.
        None => message.to_owned(),
    }
}

/// `setting` ends in the unknown name, or is the variable that gave it.
fn unknown_field(setting: &str, message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let name = quoted.next().unwrap_or_default();
    let there_are: Vec<&str> = quoted.collect();
    let meant = nearest(name, there_are.iter().copied());
    let hint = match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there are {}", there_are.join(", ")),
    };
    // A variable's name is upper case; the message names its key.
    let named = if setting.ends_with(name) { String::new() } else { format!(" `{name}`") };
    format!("is no setting{named}; {hint}")
}

/// The found type, without the value that serde has put behind it.
fn kind(found: &str) -> &'static str {
    match found.split([' ', '`', '"']).next() {
        Some("integer") => "this number",
        Some("floating") => "a number with a fraction or an exponent",
        Some("boolean") => "true or false",
        Some("string") => "a text in quotes",
        Some("map") => "a section",
        Some("sequence") => "a list",
        _ => "this",
    }
}

fn wanted(expected: &str) -> String {
    match expected {
        "a string" => "a text in quotes".to_owned(),
        "usize" | "u64" | "u32" | "u16" => "a whole number from 1 on, without quotes".to_owned(),
        "f64" => "a number such as 0.5, without quotes".to_owned(),
        "a sequence" => "a list such as [\"id\"]".to_owned(),
        "a map" => "a section".to_owned(),
        other if other.starts_with("struct ") => "a section of its own".to_owned(),
        other => other.to_owned(),
    }
}

fn how_to_give(name: &str) -> &'static str {
    match name {
        "name" => "it names the pipeline and its consumer group: name = \"scores\"",
        "kafka" => "add [kafka] with \"bootstrap.servers\" = \"host:9092\"",
        "database" => "add [database] with url = \"postgres://user:password@host:5432/database\"",
        "url" => "write it like \"postgres://user:password@host:5432/database\"",
        "topic" => "it names the topic to read",
        _ => "add it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serde_says_is_told_in_the_words_of_the_file_and_without_the_value() {
        for (setting, message, told) in [
            (
                "route[0].tabel",
                "unknown field `tabel`, expected one of `topic`, `table`, `key`",
                "`route[0].tabel`: is no setting; did you mean `table`?",
            ),
            (
                "WRITE_BEHIND_ROUTE_0_TABEL",
                "unknown field `tabel`, expected `topic` or `table`",
                "`WRITE_BEHIND_ROUTE_0_TABEL`: is no setting `tabel`; did you mean `table`?",
            ),
            (
                "nam",
                "unknown field `nam`, expected `memory`",
                "`nam`: is no setting; there are memory",
            ),
            (
                "route[1]",
                "missing field `topic`",
                "`route[1].topic`: is missing; it names the topic to read",
            ),
            (
                ".",
                "missing field `kafka`",
                "`kafka`: is missing; add [kafka] with \"bootstrap.servers\" = \"host:9092\"",
            ),
            (
                "batch.max_rows",
                "invalid value: integer `-1`, expected usize",
                "`batch.max_rows`: must be a whole number from 1 on, without quotes, not this number",
            ),
            (
                "batch.max_rows",
                "invalid type: string \"hush, expected\", expected usize",
                "`batch.max_rows`: must be a whole number from 1 on, without quotes, not a text in \
                 quotes",
            ),
            (
                "batch.max_rows",
                "invalid type: floating point `1e4`, expected usize",
                "`batch.max_rows`: must be a whole number from 1 on, without quotes, not a number with \
                 a fraction or an exponent",
            ),
            (
                "database",
                "invalid type: string \"app:hush\", expected struct DatabaseFile",
                "`database`: must be a section of its own, not a text in quotes",
            ),
            (
                "route[0].on_bad_record",
                "unknown variant `hush`, expected `dead-letter` or `stop`",
                "`route[0].on_bad_record`: has an unknown value, expected `dead-letter` or `stop`",
            ),
            (
                "batch.max_age",
                "\"1 second\" is no time",
                "`batch.max_age`: \"1 second\" is no time",
            ),
        ] {
            assert_eq!(unfit(setting, message).to_string(), told);
        }
    }
}
