//! What librdkafka's statistics say of the partitions that a client reads: where their logs end,
//! and how far the client has passed records on. They cost no request: each fetch response carries
//! them.

use std::collections::HashMap;

use serde::Deserialize;
use write_behind_shared::NextOffset;

use crate::status::logs::Fetched;

/// How often the client tells, in milliseconds.
pub(super) const EVERY_MS: &str = "1000";

/// Partitions by topic and number.
pub(super) type FetchedLogs = Vec<((String, i32), Fetched)>;

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: HashMap<String, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    #[serde(rename = "partition")]
    number: i32,
    app_offset: i64,
    hi_offset: i64,
    ls_offset: i64,
}

/// The partitions of which something was fetched. What can't be read says nothing.
pub(super) fn logs(json: &[u8]) -> FetchedLogs {
    let Ok(statistics) = serde_json::from_slice::<Statistics>(json) else {
        return FetchedLogs::new();
    };
    let mut logs = FetchedLogs::new();
    for (topic, of_topic) in statistics.topics {
        for partition in of_topic.partitions.into_values() {
            // Negative numbers say that nothing is known yet.
            if partition.hi_offset >= 0 {
                let (end, stable) = (partition.hi_offset, partition.ls_offset);
                let fetched = Fetched {
                    end: NextOffset(end),
                    stable: NextOffset(if stable >= 0 { stable } else { end }),
                    position: (partition.app_offset >= 0)
                        .then_some(NextOffset(partition.app_offset)),
                };
                logs.push(((topic.clone(), partition.number), fetched));
            }
        }
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_fetched_partitions_are_read_and_unknown_ones_left_out() {
        let json =
            br#"{ "name": "rdkafka#consumer-1", "topics": { "t": { "topic": "t", "partitions": {
            "0": { "partition": 0, "app_offset": 7, "hi_offset": 12, "ls_offset": 9 },
            "1": { "partition": 1, "app_offset": -1001, "hi_offset": 5, "ls_offset": -1001 },
            "2": { "partition": 2, "app_offset": -1001, "hi_offset": -1001, "ls_offset": -1001 },
            "-1": { "partition": -1, "app_offset": -1001, "hi_offset": -1001, "ls_offset": -1001 }
        } } } }"#;
        let mut found = logs(json);
        found.sort_by_key(|((_, partition), _)| *partition);
        let (end, stable, position) = (NextOffset(12), NextOffset(9), Some(NextOffset(7)));
        let first = Fetched { end, stable, position };
        let second = Fetched { end: NextOffset(5), stable: NextOffset(5), position: None };
        assert_eq!(found, [(("t".to_owned(), 0), first), (("t".to_owned(), 1), second)]);
        assert_eq!(logs(b"{}"), []);
        assert_eq!(logs(b"no json"), []);
    }
}
