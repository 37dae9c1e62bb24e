//! A topic's configuration, as far as the producer's promises depend on it.

use std::collections::BTreeMap;

/// The properties of a topic that were told, and how many replicas its partitions have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicConfig {
    pub(crate) properties: BTreeMap<String, String>,
    /// Of the partition with the fewest, if that is known.
    pub(crate) replicas: Option<usize>,
    /// Batches are compressed, and brokers measure them so.
    pub(crate) compressed: bool,
}

/// What a batch takes around its records, in bytes.
const BATCH_FRAME_BYTES: usize = 64;

impl TopicConfig {
    /// How large a batch may be, in bytes.
    pub(crate) fn batch_bytes_max(&self) -> Option<usize> {
        self.number("max.message.bytes")
    }

    /// How large the only record of a batch may be, in bytes. How far a compressed one shrinks is
    /// not known before, so brokers judge those.
    pub(crate) fn record_bytes_max(&self) -> Option<usize> {
        if self.compressed {
            return None;
        }
        self.batch_bytes_max().map(|bytes| bytes.saturating_sub(BATCH_FRAME_BYTES))
    }

    /// What endangers a promise, each as a sentence with the setting and the mend.
    pub(crate) fn dangers(&self) -> Vec<String> {
        let mut dangers = Vec::new();
        let compacted = |policy: &&String| policy.split(',').any(|one| one.trim() == "compact");
        if let Some(policy) = self.properties.get("cleanup.policy").filter(compacted) {
            dangers.push(format!(
                "cleanup.policy is {policy}: a compaction takes away increments, deletes and \
                 columns before they are in the database; set it to delete"
            ));
        }
        let in_sync = self.number("min.insync.replicas").unwrap_or(1);
        match self.replicas {
            Some(replicas) if in_sync > replicas => dangers.push(format!(
                "min.insync.replicas is {in_sync} and there are {replicas} replicas: Kafka will take \
                 no write; set it to at most {replicas}, or give the topic more replicas"
            )),
            Some(1) => dangers.push(
                "there is one replica: a replicated write is lost with its broker; give the topic \
                 three replicas and set min.insync.replicas to 2"
                    .to_owned(),
            ),
            Some(replicas) if in_sync < 2 => dangers.push(format!(
                "there are {replicas} replicas, but min.insync.replicas is {in_sync}: a write counts \
                 as replicated that one broker alone has; set it to 2"
            )),
            _ => {}
        }
        dangers
    }

    fn number(&self, property: &str) -> Option<usize> {
        self.properties.get(property)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Property = (&'static str, &'static str);

    fn config(properties: &[Property], replicas: usize) -> TopicConfig {
        let owned = |(name, value): &Property| ((*name).to_owned(), (*value).to_owned());
        let properties = properties.iter().map(owned).collect();
        TopicConfig { properties, replicas: Some(replicas), compressed: false }
    }

    #[test]
    fn what_endangers_a_promise_is_told_with_its_setting_and_the_mend() {
        let two = ("min.insync.replicas", "2");
        let table: [(&[Property], usize, &[&str]); 7] = [
            (&[two, ("cleanup.policy", "delete")], 3, &[]),
            (
                &[two, ("cleanup.policy", "delete,compact")],
                3,
                &["cleanup.policy is delete,compact"],
            ),
            (&[("min.insync.replicas", "1")], 3, &["min.insync.replicas is 1"]),
            (&[], 3, &["min.insync.replicas is 1"]),
            (&[("min.insync.replicas", "1")], 1, &["one replica"]),
            (&[two], 1, &["Kafka will take no write"]),
            (&[("min.insync.replicas", "3")], 2, &["set it to at most 2"]),
        ];
        for (properties, replicas, expected) in table {
            let dangers = config(properties, replicas).dangers();
            assert_eq!(dangers.len(), expected.len(), "{properties:?}: {dangers:?}");
            for (danger, expected) in dangers.iter().zip(expected) {
                assert!(danger.contains(expected), "{danger}");
            }
        }
        assert_eq!(TopicConfig::default().dangers(), [""; 0], "nothing is known");
    }

    #[test]
    fn the_only_record_of_a_batch_must_leave_room_for_the_batch() {
        let config = config(&[("max.message.bytes", "500000")], 3);
        assert_eq!(config.batch_bytes_max(), Some(500_000));
        assert_eq!(config.record_bytes_max(), Some(499_936));
        let compressed = TopicConfig { compressed: true, ..config };
        assert_eq!(compressed.batch_bytes_max(), Some(500_000));
        assert_eq!(compressed.record_bytes_max(), None, "it may shrink");
        assert_eq!(TopicConfig::default().record_bytes_max(), None);
    }
}
