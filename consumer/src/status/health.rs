//! The consumer's health: whether the process should be replaced, and why it does not do its work.
//!
//! The two are kept apart because a restart mends one and not the other. A process that is stuck is
//! mended by it. If the database is away, a restarted consumer waits for it just the same, and the
//! group has rebalanced twice.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A poll thread that is silent for longer is stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// The phases of a consumer's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It waits for Kafka and the database.
    Starting,
    /// It reads and writes.
    Running,
    /// It was asked to end, and writes what it holds.
    Draining,
    /// It has ended.
    Stopped,
}

/// What is known.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The phase of its life.
    pub phase: Phase,
    /// How long the poll thread has been silent; `None`: it has not started yet.
    pub silent: Option<Duration>,
    /// Whether it is a member of its group and has an assignment.
    pub in_group: bool,
    /// What to say of a wait for the group, once it has lasted for a while.
    pub waits_for_group: Option<String>,
    /// The partitions that stand still before the ends of their logs.
    pub standing: Vec<String>,
    /// The assigned partitions that it does not read, each with the reason if it is known.
    pub not_read: Vec<(String, Option<String>)>,
    /// What keeps it from reading or writing.
    pub outages: Vec<String>,
}

/// Why the process should be replaced, if it should.
pub fn sickness(facts: &Facts) -> Option<&'static str> {
    if facts.phase == Phase::Stopped {
        return Some("the consumer has stopped");
    }
    let is_stuck = facts.silent.is_some_and(|silent| silent > STUCK_AFTER);
    is_stuck.then_some("the poll thread is stuck")
}

/// Why it does not do its work; empty if it does.
pub fn unreadiness(facts: &Facts) -> Vec<String> {
    let mut why: Vec<String> = sickness(facts).into_iter().map(str::to_owned).collect();
    if facts.phase == Phase::Draining {
        why.push("the consumer is draining".to_owned());
    }
    why.extend(facts.outages.iter().cloned());
    if !facts.in_group {
        let not_yet = || "the consumer is not in its group".to_owned();
        why.push(facts.waits_for_group.clone().unwrap_or_else(not_yet));
    } else if let Some((first, reason)) = facts.not_read.first() {
        let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        let count = facts.not_read.len();
        why.push(format!("{count} partitions are not located yet, the first is {first}{reason}"));
    }
    if let Some(first) = facts.standing.first() {
        let others = facts.standing.len() - 1;
        why.push(if others == 0 { first.clone() } else { format!("{first}; and {others} more") });
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            phase: Phase::Running,
            silent: Some(Duration::ZERO),
            in_group: true,
            waits_for_group: None,
            standing: Vec::new(),
            not_read: Vec::new(),
            outages: Vec::new(),
        }
    }

    #[test]
    fn a_consumer_that_reads_and_writes_is_well_and_ready() {
        assert_eq!((sickness(&well()), unreadiness(&well())), (None, Vec::new()));
    }

    #[test]
    fn a_consumer_that_waits_to_start_is_well_and_not_ready() {
        let facts = Facts { phase: Phase::Starting, silent: None, in_group: false, ..well() };
        assert_eq!(sickness(&facts), None);
        assert!(unreadiness(&facts)[0].contains("not in its group"));
    }

    #[test]
    fn a_consumer_whose_database_is_away_is_well_and_not_ready() {
        let away = "the database is away".to_owned();
        let facts = Facts { outages: vec![away.clone()], ..well() };
        assert_eq!((sickness(&facts), unreadiness(&facts)), (None, vec![away]));
    }

    #[test]
    fn a_consumer_that_the_group_put_out_or_that_drains_is_well_and_not_ready() {
        for facts in
            [Facts { in_group: false, ..well() }, Facts { phase: Phase::Draining, ..well() }]
        {
            assert_eq!((sickness(&facts), unreadiness(&facts).len()), (None, 1), "{facts:?}");
        }
    }

    #[test]
    fn a_partition_that_is_not_located_is_named_with_the_reason() {
        let not_read = vec![("scores 3".to_owned(), Some("no leader".to_owned()))];
        let why = unreadiness(&Facts { not_read, ..well() });
        assert!(why[0].contains("scores 3: no leader"), "{why:?}");
    }

    #[test]
    fn a_partition_that_stands_still_makes_it_not_ready() {
        let standing = vec!["scores 3 has stood still".to_owned(), "scores 4 too".to_owned()];
        let facts = Facts { standing, ..well() };
        assert_eq!(unreadiness(&facts), ["scores 3 has stood still; and 1 more"]);
    }

    #[test]
    fn a_wait_for_the_group_is_explained_once_it_is_known() {
        let waits = Some("waiting for the group".to_owned());
        let facts = Facts { in_group: false, waits_for_group: waits, ..well() };
        assert_eq!(unreadiness(&facts), ["waiting for the group"]);
    }

    #[test]
    fn a_consumer_that_has_stopped_is_not_well() {
        let facts = Facts { phase: Phase::Stopped, ..well() };
        assert_eq!(sickness(&facts), Some("the consumer has stopped"));
    }

    #[test]
    fn a_poll_thread_that_is_silent_for_too_long_is_stuck() {
        let facts = Facts { silent: Some(STUCK_AFTER * 2), ..well() };
        assert_eq!(sickness(&facts), Some("the poll thread is stuck"));
        assert!(!unreadiness(&facts).is_empty());
    }
}
