//! The configuration, from a TOML file and the environment. A refusal names the setting and the
//! fix.
//!
//! `${NAME}` in any text is replaced by the environment variable `NAME`. Every key has a variable
//! of its own, which wins over the file: `WRITE_BEHIND_` and the key's path in capitals with
//! underscores, as in `WRITE_BEHIND_DATABASE_URL`, `WRITE_BEHIND_BATCH_MAX_ROWS`,
//! `WRITE_BEHIND_ROUTE_0_TOPIC`, and `WRITE_BEHIND_KAFKA_BOOTSTRAP_SERVERS` for the librdkafka
//! property `bootstrap.servers`. Lists are separated by commas there.
//!
//! Secrets live in [`crate::store::Database`] and [`write_behind_shared::kafka::KafkaSettings`],
//! which never show them. No error quotes a value that may be one.

pub mod error;
pub mod environment;
pub mod secrets;
pub mod units;
mod place;
mod unfit;
mod settings;
mod file;
pub mod route;
mod bad_records;
mod dead_letters;
mod traces;
pub mod http;
pub mod transport;

use std::collections::BTreeMap;

use crate::config::environment::Variables;
use crate::config::file::File;

pub use crate::config::dead_letters::DeadLetterSettings;
pub use crate::config::error::ConfigError;
pub use crate::config::route::{OnBadRecord, Route};
pub use crate::config::settings::{BatchSettings, Config, DatabaseSettings};
pub use crate::config::traces::TraceSettings;
pub use crate::core::memory;
pub use crate::core::pipeline::placement::OnWrongPartition;
pub use crate::store::Database;
pub use crate::store::url::UrlError;

/// The least that a configuration must say, for tests.
#[cfg(test)]
pub(crate) const LEAST: &str = r#"
name = "scores"
kafka = { "bootstrap.servers" = "localhost:9092" }
database = { url = "sqlite://scores.db" }
[[route]]
topic = "scores"
"#;

impl Config {
    /// Reads the configuration `text`; `variables` are the process's environment.
    pub fn read(text: &str, variables: &Variables) -> Result<Self, ConfigError> {
        Self::read_from(None, text, variables)
    }

    /// The same of the text of `file`: a refusal names the file, and the line that it is about.
    pub fn read_file(file: &str, text: &str, variables: &Variables) -> Result<Self, ConfigError> {
        Self::read_from(Some(file), text, variables)
    }

    fn read_from(
        file: Option<&str>,
        text: &str,
        variables: &Variables,
    ) -> Result<Self, ConfigError> {
        let mut overrides = BTreeMap::new();
        Self::read_both(text, variables, &mut overrides).map_err(|error| match file {
            // What a variable says is in no line of the file.
            Some(file)
                if error.setting().is_none_or(|setting| !overrides.contains_key(&setting)) =>
            {
                error.in_file(file, text)
            }
            _ => error,
        })
    }

    /// `overrides`: which variable gave which setting.
    fn read_both(
        text: &str,
        variables: &Variables,
        overrides: &mut BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let mut table: toml::Table =
            text.parse().map_err(|error| ConfigError::syntax(text, &error))?;
        environment::substitute(&mut table, variables)?;
        environment::override_by(&mut table, variables, overrides)?;
        if table.is_empty() {
            return Err(ConfigError::Nothing);
        }
        route::complete(&mut table)?;
        let file: File =
            serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
                let path = error.path().to_string();
                let setting = overrides.get(&path).cloned().unwrap_or(path);
                unfit::unfit(&setting, error.inner().message())
            })?;
        file.check()
    }
}

#[cfg(test)]
#[path = "tests/config.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/refusals.rs"]
mod refusals;
