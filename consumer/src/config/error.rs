//! Why a configuration is refused. A message names the setting and the fix, and never a value that
//! may be secret.

use write_behind_shared::kafka::SettingsError;

use crate::config::place;

/// Why a configuration is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nothing was given at all.
    #[error(
        "no configuration: give --config FILE or WRITE_BEHIND_CONFIG, or all settings as WRITE_BEHIND_… \
         variables; `write-behind example > scores.toml` writes a file to begin with"
    )]
    Nothing,
    /// It can't be read.
    #[error("the configuration can't be read: {0}")]
    Unreadable(String),
    /// It is not TOML.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// The line, from 1 on.
        line: usize,
        /// The column, from 1 on.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A variable that `${…}` names is not set.
    #[error("`{setting}` names the environment variable `{variable}`, which is not set")]
    NoVariable {
        /// Where it is named.
        setting: String,
        /// The variable.
        variable: String,
    },
    /// A setting that is wrong or does not exist, and how to mend it.
    #[error("`{setting}`: {why}")]
    Setting {
        /// The setting.
        setting: String,
        /// What is wrong, and the mend.
        why: String,
    },
    /// A Kafka property that is wrong.
    #[error(transparent)]
    Kafka(#[from] SettingsError),
    /// Any of these, in a file.
    #[error("{place}: {error}")]
    InFile {
        /// The file, and the line if there is one.
        place: String,
        /// What is wrong there.
        error: Box<ConfigError>,
    },
}

impl ConfigError {
    /// The text is no TOML. The error's own form would quote a line, with its password.
    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        if let Some(other) = other_format(text) {
            return Self::Unreadable(format!("it looks like {other}; write it in TOML"));
        }
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = String::from_utf8_lossy(&text.as_bytes()[..start]);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let line = place::line_at(text, start);
        Self::Syntax { line, column, message: error.message().to_owned() }
    }

    /// The setting that it is about.
    pub(super) fn setting(&self) -> Option<String> {
        match self {
            Self::NoVariable { setting, .. } | Self::Setting { setting, .. } => {
                Some(setting.clone())
            }
            Self::Kafka(SettingsError::Reserved { property, .. }) => {
                Some(format!("kafka.{property}"))
            }
            Self::Kafka(SettingsError::NoBootstrapServers) => Some("kafka".to_owned()),
            Self::InFile { error, .. } => error.setting(),
            Self::Nothing | Self::Unreadable(_) | Self::Syntax { .. } => None,
        }
    }

    /// The same, with the file that says `text` and the line.
    #[must_use]
    pub fn in_file(self, file: &str, text: &str) -> Self {
        if let Self::Syntax { line, column, message } = self {
            let place = format!("{file}:{line}:{column}");
            return Self::InFile { place, error: Box::new(Self::Unreadable(message)) };
        }
        let setting = self.setting();
        // A variable stands in no file.
        if setting.as_ref().is_some_and(|setting| setting.starts_with("WRITE_BEHIND_")) {
            return self;
        }
        let line = setting.and_then(|setting| place::line_of(text, &setting));
        let place = line.map_or(file.to_owned(), |line| format!("{file}:{line}"));
        Self::InFile { place, error: Box::new(self) }
    }
}

/// What a text that is no TOML looks like.
fn other_format(text: &str) -> Option<&'static str> {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    if first.starts_with('{') {
        return Some("JSON");
    }
    let (key, rest) = first.split_once(':').unwrap_or((first, "x"));
    let is_word = key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let is_yaml = first == "---" || is_word && (rest.is_empty() || rest.starts_with(' '));
    is_yaml.then_some("YAML")
}

/// Refuses `setting`; `why` says what is wrong and how to mend it.
pub(crate) fn refuse(setting: impl Into<String>, why: impl Into<String>) -> ConfigError {
    ConfigError::Setting { setting: setting.into(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_format_is_recognised() {
        for (text, format) in [
            ("# a comment\n\nname: scores\nkafka:\n", Some("YAML")),
            ("---\nname: x", Some("YAML")),
            ("kafka:\n  bootstrap.servers: x", Some("YAML")),
            ("{\"name\": \"scores\"}", Some("JSON")),
            ("name = \"scores", None),
            ("name", None),
            ("url = postgres://x", None),
            ("", None),
        ] {
            assert_eq!(other_format(text), format, "{text:?}");
        }
    }
}
