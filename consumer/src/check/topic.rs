//! The findings on a topic's configuration.

use std::time::Duration;

use crate::check::report::Grade;
use crate::kafka::settings::{Configuration, compaction};

/// Below this retention, a weekend without the database may lose records.
const RETENTION_SHORT: Duration = Duration::from_hours(72);

/// What a person should know of the topic. `replicas`: of the partition with the fewest.
pub(super) fn judge(
    configuration: &Configuration,
    replicas: Option<usize>,
) -> Vec<(Grade, String)> {
    let number = |name: &str| configuration.get(name)?.parse::<i64>().ok();
    let mut found = Vec::new();
    match compaction(configuration) {
        Some(why) => found.push((Grade::Refused, why)),
        None => found.push((Grade::Ok, "it is not compacted".to_owned())),
    }
    if configuration.get("unclean.leader.election.enable").is_some_and(|value| value == "true") {
        let why = "unclean.leader.election.enable is true: a broker that lags behind may become \
                   the leader, and confirmed records are lost. Set it to false";
        found.push((Grade::Warning, why.to_owned()));
    }
    let in_sync = number("min.insync.replicas");
    match (replicas, in_sync) {
        (Some(1), _) => {
            let why = "there is one replica: what is not in the database yet is lost with its \
                       broker. Three replicas and min.insync.replicas = 2 survive one";
            found.push((Grade::Warning, why.to_owned()));
        }
        (Some(replicas), Some(in_sync)) if in_sync < 2 => {
            let why = format!(
                "there are {replicas} replicas, but min.insync.replicas is {in_sync}: a write may \
                 be confirmed that one broker alone has. Set it to 2"
            );
            found.push((Grade::Warning, why));
        }
        _ => {}
    }
    let short = RETENTION_SHORT.as_millis() as i64;
    if let Some(retention) = number("retention.ms").filter(|ms| (0..short).contains(ms)) {
        let why = format!(
            "retention.ms is {retention}, {} hours: what is not in the database by then is lost. \
             Let it be longer than the longest outage and lag together",
            retention / 3_600_000
        );
        found.push((Grade::Warning, why));
    }
    if let Some(retention) = number("retention.bytes").filter(|bytes| *bytes >= 0) {
        let why = format!(
            "retention.bytes is {retention}: records are removed by size, however young they are \
             and whether or not they are in the database. Set it to -1"
        );
        found.push((Grade::Warning, why));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: [(&str, &str); 5] = [
        ("cleanup.policy", "delete"),
        ("unclean.leader.election.enable", "false"),
        ("min.insync.replicas", "2"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "-1"),
    ];

    fn judged(other: Option<(&str, &str)>, replicas: usize) -> Vec<(Grade, String)> {
        let configuration = SOUND.into_iter().chain(other);
        let owned = configuration.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let judged = judge(&owned.collect(), Some(replicas));
        judged.into_iter().filter(|(grade, _)| *grade != Grade::Ok).collect()
    }

    #[test]
    fn a_sound_topic_has_nothing_to_tell() {
        assert_eq!(judged(None, 3), []);
        assert_eq!(judged(Some(("retention.ms", "-1")), 3), []);
    }

    #[test]
    fn each_unsound_setting_is_told_by_its_name() {
        let table = [
            ("cleanup.policy", "compact", Grade::Refused),
            ("cleanup.policy", "compact,delete", Grade::Refused),
            ("cleanup.policy", "delete, compact", Grade::Refused),
            ("unclean.leader.election.enable", "true", Grade::Warning),
            ("min.insync.replicas", "1", Grade::Warning),
            ("retention.ms", "3600000", Grade::Warning),
            ("retention.bytes", "1073741824", Grade::Warning),
        ];
        for (name, value, grade) in table {
            let judged = judged(Some((name, value)), 3);
            let [(found, why)] = &judged[..] else { panic!("{name}={value}: {judged:?}") };
            assert_eq!(*found, grade, "{name}={value}");
            assert!(why.contains(name), "{why}");
        }
    }

    #[test]
    fn one_replica_is_told_whatever_the_topic_asks_for() {
        let judged = judged(None, 1);
        assert!(matches!(&judged[..], [(Grade::Warning, why)] if why.contains("one replica")));
    }
}
