//! Why a configuration is refused: always with the setting's name and the mend, and never with a value
//! that may be a secret.

use write_behind_shared::kafka::SettingsError;

/// Why a configuration is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read, is not TOML, or lacks a section.
    #[error("the configuration can't be read: {0}")]
    Unreadable(String),
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
}

impl ConfigError {
    /// The text is no TOML. The error's own form would quote a line, with its password.
    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = String::from_utf8_lossy(&text.as_bytes()[..start]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = error.message();
        Self::Unreadable(format!("line {line}, column {column}: {message}"))
    }

    /// A key does not exist, or its value is of another type, as serde's `message` says.
    pub(super) fn unfit(setting: String, message: &str) -> Self {
        let mut why = message.to_owned();
        if let Some((_, expected)) = message.rsplit_once("`, expected ")
            && message.starts_with("unknown variant `")
        {
            why = format!("unknown value, expected {expected}");
        } else if let Some((problem, found)) = message.split_once(": ")
            && let Some((found, expected)) = found.rsplit_once(", expected ")
        {
            // The value comes after its type, in quotes.
            let found = found.split(['"', '`']).next().unwrap_or_default().trim_end();
            why = format!("{problem}: {found}, expected {expected}");
        }
        if setting == "." { Self::Unreadable(why) } else { Self::Setting { setting, why } }
    }
}

/// Refuses `setting`; `why` says what is wrong and how to mend it.
pub(crate) fn refuse(setting: impl Into<String>, why: impl Into<String>) -> ConfigError {
    ConfigError::Setting { setting: setting.into(), why: why.into() }
}
