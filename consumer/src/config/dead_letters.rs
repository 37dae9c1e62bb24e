//! `[dead_letters]`: the topic for copies of dead letters, and how long resolved ones are kept.

use std::time::Duration;

use serde::Deserialize;

use crate::config::error::{ConfigError, refuse};
use crate::config::route::Route;
use crate::config::units::HumanDuration;

/// What happens to dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterSettings {
    /// The topic that copies of them go to; `None`: they are not copied.
    pub topic: Option<String>,
    /// How long resolved ones are kept after they were set aside; `None`: for ever. Open ones are
    /// always kept.
    pub retention: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DeadLettersFile {
    topic: Option<String>,
    retention: Option<HumanDuration>,
}

impl DeadLettersFile {
    pub(super) fn check(self, routes: &[Route]) -> Result<DeadLetterSettings, ConfigError> {
        if let Some(topic) = &self.topic {
            if topic.trim().is_empty() {
                let why = "is empty; name the topic that copies go to, or remove it";
                return Err(refuse("dead_letters.topic", why));
            }
            if routes.iter().any(|route| route.topic == *topic) {
                let why = "names a topic that a route reads: copies would be set aside and copied \
                           again without end; name another one";
                return Err(refuse("dead_letters.topic", why));
            }
        }
        if self.retention == Some(HumanDuration(Duration::ZERO)) {
            let why = "is 0; set it to a time such as \"90d\", or remove it to keep all";
            return Err(refuse("dead_letters.retention", why));
        }
        Ok(DeadLetterSettings { topic: self.topic, retention: self.retention.map(|span| span.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LEAST};

    fn read(more: &str, variables: &[(&str, &str)]) -> Result<DeadLetterSettings, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let config =
            Config::read(&format!("{LEAST}{more}"), &variables.iter().map(owned).collect());
        config.map(|config| config.dead_letters).map_err(|error| error.to_string())
    }

    #[test]
    fn a_topic_and_a_retention_come_from_the_file_or_from_the_environment() {
        let both = DeadLetterSettings {
            topic: Some("scores.dead".to_owned()),
            retention: Some(Duration::from_hours(90 * 24)),
        };
        let section = "[dead_letters]\ntopic = \"scores.dead\"\nretention = \"90d\"\n";
        assert_eq!(read(section, &[]), Ok(both.clone()));
        let variables = [
            ("WRITE_BEHIND_DEAD_LETTERS_TOPIC", "scores.dead"),
            ("WRITE_BEHIND_DEAD_LETTERS_RETENTION", "90d"),
        ];
        assert_eq!(read("", &variables), Ok(both));
        assert_eq!(read("", &[]), Ok(DeadLetterSettings::default()));
    }

    #[test]
    fn nonsense_is_refused_with_the_mend() {
        let refusal = |variable, value| read("", &[(variable, value)]).unwrap_err();
        let topic = "WRITE_BEHIND_DEAD_LETTERS_TOPIC";
        assert!(refusal(topic, " ").starts_with("`dead_letters.topic`: is empty"));
        assert!(refusal(topic, "scores").contains("name another one"));
        let retention = "WRITE_BEHIND_DEAD_LETTERS_RETENTION";
        assert!(refusal(retention, "0d").starts_with("`dead_letters.retention`: is 0"));
        assert!(refusal(retention, "90").contains("a time is written like"));
        assert!(refusal("WRITE_BEHIND_DEAD_LETTERS_TOPICS", "x").contains("topics"));
    }
}
