//! Why a configuration is refused: always with the setting's name and the mend.

use write_behind_shared::kafka::SettingsError;

/// Why a configuration is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, or a key that does not exist, or a value of the wrong type.
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
    /// A setting that is wrong, and how to mend it.
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

/// Refuses `setting`; `why` says what is wrong and how to mend it.
pub(crate) fn refuse(setting: impl Into<String>, why: impl Into<String>) -> ConfigError {
    ConfigError::Setting { setting: setting.into(), why: why.into() }
}
