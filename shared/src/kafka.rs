//! The settings of a Kafka client: any librdkafka property except those that guarantees rest on.

use std::collections::BTreeMap;

/// librdkafka properties by name, none of them reserved.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings(BTreeMap<String, String>);

/// A property that must not be set, and why.
pub type Reserved = (&'static str, &'static str);

/// The properties that the producer's guarantees rest on.
pub const RESERVED_BY_PRODUCER: &[Reserved] = &[
    ("acks", "a replicated write is on all in-sync replicas, so it is always `all`"),
    ("request.required.acks", "a replicated write is on all in-sync replicas"),
    ("enable.idempotence", "without it a retry reorders or doubles records, so it is always on"),
    ("partitioner", "the partition is murmur2 of the key, computed before the send"),
    ("partitioner_cb", "the partition is murmur2 of the key, computed before the send"),
    ("transactional.id", "exactly-once comes from the write-id, not from Kafka transactions"),
    (
        "enable.gapless.guarantee",
        "without it a write that fails is overtaken by those behind it, so it is always on",
    ),
    ("allow.auto.create.topics", "a misspelt topic must be an error, not a new topic"),
    ("delivery.report.only.error", "a write counts as replicated by its delivery report"),
    ("retries", "a write is never given up while the handle lives"),
    ("message.send.max.retries", "a write is never given up while the handle lives"),
    (
        "message.timeout.ms",
        "a write is never given up while the handle lives; bound your waiting instead",
    ),
    (
        "delivery.timeout.ms",
        "a write is never given up while the handle lives; bound your waiting instead",
    ),
];

/// The properties that the consumer's guarantees rest on.
pub const RESERVED_BY_CONSUMER: &[Reserved] = &[
    ("group.id", "the group is the pipeline's `name`"),
    (
        "enable.auto.commit",
        "offsets are committed after the database transaction, never by a timer",
    ),
    ("enable.auto.offset.store", "offsets are committed after the database transaction"),
    ("auto.offset.reset", "a missing offset is an error, so that nothing is skipped silently"),
    ("isolation.level", "aborted records must not be applied, so it is `read_committed`"),
    ("check.crcs", "a damaged record must not be applied, so it is always on"),
    ("allow.auto.create.topics", "a misspelt topic must be an error, not a new topic"),
    ("enable.partition.eof", "the consumer does not look for ends of partitions"),
];

/// Why settings are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A property that a guarantee rests on.
    #[error("the Kafka property `{property}` can't be set: {why}; remove it")]
    Reserved {
        /// The property's name.
        property: String,
        /// Why it must not be set.
        why: &'static str,
    },
    /// They name no broker to connect to.
    #[error("the Kafka property `bootstrap.servers` is missing; set it to host:port of a broker")]
    NoBootstrapServers,
}

impl KafkaSettings {
    /// Settings of these `properties`.
    ///
    /// # Errors
    /// One of them is `reserved`, or `bootstrap.servers` is missing.
    pub fn new<N: Into<String>, V: Into<String>>(
        properties: impl IntoIterator<Item = (N, V)>,
        reserved: &[Reserved],
    ) -> Result<Self, SettingsError> {
        let properties: BTreeMap<String, String> =
            properties.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        for (property, why) in reserved {
            if properties.contains_key(*property) {
                return Err(SettingsError::Reserved { property: (*property).to_owned(), why });
            }
        }
        let servers =
            properties.get("bootstrap.servers").or(properties.get("metadata.broker.list"));
        if servers.is_none_or(|servers| servers.trim().is_empty()) {
            return Err(SettingsError::NoBootstrapServers);
        }
        Ok(Self(properties))
    }

    /// The properties, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// All properties of a client: `defaults`, overridden by these settings, overridden by what is
    /// `fixed`. A client's configuration collects them.
    pub fn with<'a>(
        &'a self,
        defaults: &'a [(&'a str, &'a str)],
        fixed: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (String, String)> + 'a {
        let all = defaults.iter().copied().chain(self.iter()).chain(fixed.iter().copied());
        all.map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// The value of `property`, if it was set.
    #[must_use]
    pub fn get(&self, property: &str) -> Option<&str> {
        self.0.get(property).map(String::as_str)
    }
}

impl std::fmt::Debug for KafkaSettings {
    /// Names only: a value may be a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_property_is_refused_with_its_reason() {
        let settings = [("bootstrap.servers", "localhost:9092"), ("acks", "1")];
        let error = KafkaSettings::new(settings, RESERVED_BY_PRODUCER).unwrap_err();
        assert!(error.to_string().starts_with("the Kafka property `acks` can't be set: "));
        let error = KafkaSettings::new(
            [("bootstrap.servers", "x:1"), ("auto.offset.reset", "latest")],
            RESERVED_BY_CONSUMER,
        );
        assert!(matches!(error, Err(SettingsError::Reserved { .. })));
    }

    #[test]
    fn a_producer_retries_for_as_long_as_it_lives() {
        for property in ["retries", "message.send.max.retries", "message.timeout.ms"] {
            let settings = [("bootstrap.servers", "x:1"), (property, "3")];
            let refused = KafkaSettings::new(settings, RESERVED_BY_PRODUCER);
            assert!(matches!(refused, Err(SettingsError::Reserved { .. })), "{property}");
        }
    }

    #[test]
    fn settings_without_a_broker_are_refused() {
        let none: [(&str, &str); 0] = [];
        assert_eq!(KafkaSettings::new(none, &[]), Err(SettingsError::NoBootstrapServers));
        let blank = [("bootstrap.servers", " ")];
        assert_eq!(KafkaSettings::new(blank, &[]), Err(SettingsError::NoBootstrapServers));
    }

    #[test]
    fn settings_override_defaults_and_nothing_overrides_what_is_fixed() {
        let given = [("bootstrap.servers", "b:1"), ("linger.ms", "9"), ("acks", "1")];
        let settings = KafkaSettings::new(given, &[]).unwrap();
        let defaults = [("linger.ms", "5"), ("batch.size", "1")];
        let all: BTreeMap<_, _> = settings.with(&defaults, &[("acks", "all")]).collect();
        let value = |name| all.get(name).map(String::as_str);
        assert_eq!(value("linger.ms"), Some("9"));
        assert_eq!(value("batch.size"), Some("1"));
        assert_eq!(value("acks"), Some("all"));
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn values_are_never_shown() {
        let settings =
            KafkaSettings::new([("bootstrap.servers", "b:1"), ("sasl.password", "hush")], &[]);
        let shown = format!("{:?}", settings.unwrap());
        assert_eq!(shown, r#"["bootstrap.servers", "sasl.password"]"#);
    }
}
