//! Rate limit of the log line about records set aside: the first at once, then at most one line a
//! minute per route. Pure: the caller has the clock.

use std::time::Duration;

/// The least time between two lines about one route.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Records of a route that were set aside, and not told of before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewLetters {
    /// How many.
    pub(super) records: u64,
    /// The place of the first, and why it is bad, without its values.
    pub(super) first: String,
}

/// What was told of one route, and what was not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct SetAsideLog {
    told: Option<Duration>,
    untold: Option<NewLetters>,
}

impl SetAsideLog {
    /// Notes records that were set aside; [`due`](Self::due) says when to tell of them.
    pub(super) fn note(&mut self, records: u64, first: String) {
        let untold = self.untold.get_or_insert(NewLetters { records: 0, first });
        untold.records += records;
    }

    /// What to tell `now`.
    pub(super) fn due(&mut self, now: Duration) -> Option<NewLetters> {
        if self.told.is_some_and(|told| now < told + TELL_EVERY) {
            return None;
        }
        let due = self.untold.take()?;
        self.told = Some(now);
        Some(due)
    }

    /// What was not told yet, when no more will come.
    pub(super) fn rest(&mut self) -> Option<NewLetters> {
        self.untold.take()
    }
}

impl NewLetters {
    /// The line for the log.
    pub(super) fn line(&self, topic: &str) -> String {
        let Self { records, first } = self;
        let were = if *records == 1 { "record of topic" } else { "records of topic" };
        let was = if *records == 1 { "was set aside" } else { "were set aside, the first" };
        format!(
            "{records} {were} {topic} {was} at {first}; write-behind dead-letters list --topic {topic}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_once_a_minute_all_together() {
        let mut log = SetAsideLog::default();
        let mut told = Vec::new();
        // Second by second: how many are set aside then.
        for (second, records) in
            [(0, 0), (5, 1), (6, 2), (7, 0), (64, 3), (65, 0), (66, 4), (200, 0)]
        {
            if records > 0 {
                log.note(records, format!("3:{second}: bad"));
            }
            let due = log.due(Duration::from_secs(second));
            told.extend(due.map(|due| (second, due.records, due.first)));
        }
        let expected = [(5, 1, "3:5: bad"), (65, 5, "3:6: bad"), (200, 4, "3:66: bad")];
        assert_eq!(told, expected.map(|(second, count, first)| (second, count, first.to_owned())));
    }

    #[test]
    fn what_was_not_told_is_told_at_the_end() {
        let mut log = SetAsideLog::default();
        log.note(1, "3:0: bad".to_owned());
        assert!(log.due(Duration::ZERO).is_some());
        assert_eq!(log.rest(), None);
        log.note(2, "3:9: bad".to_owned());
        assert_eq!(log.due(Duration::from_secs(1)), None);
        assert_eq!(log.rest().map(|rest| rest.records), Some(2));
    }

    #[test]
    fn the_line_names_the_place_and_the_command_that_shows_them() {
        let line =
            |records| NewLetters { records, first: "3:0: too long".to_owned() }.line("scores");
        let command = "; write-behind dead-letters list --topic scores";
        assert_eq!(
            line(1),
            format!("1 record of topic scores was set aside at 3:0: too long{command}")
        );
        assert_eq!(
            line(3),
            format!(
                "3 records of topic scores were set aside, the first at 3:0: too long{command}"
            )
        );
    }
}
