//! Outages: what is wrong now, from the failures and successes of everything that asks Kafka or the
//! database.
//!
//! An outage is one thing, however many attempts of however many reporters fail in it: it begins with
//! the first failure, and ends when every reporter that failed has succeeded. Its beginning and its
//! end are a line in the log each, and so is every five minutes of it.

use std::collections::BTreeMap;
use std::time::Duration;

/// How often the log tells that an outage lasts.
const REMIND_EVERY: Duration = Duration::from_mins(5);

/// Who asks. Each asks one thing at a time, so its last answer is all there is to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reporter {
    /// The preparation, before anything is read.
    Start,
    /// The task that locates partitions.
    Locator,
    /// The poll thread.
    Poll,
    /// The commits to Kafka.
    Commits,
    /// The watch over the partitions.
    Watch,
    /// A worker, by its number.
    Worker(u64),
}

/// What the outage is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Kafka does not answer.
    Kafka,
    /// The database does not answer, or is saturated.
    Database,
    /// A route's records can't be written, though the database answers.
    Route(usize),
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// What the last failure said.
    pub message: String,
    /// When it began.
    pub since: Duration,
    /// Attempts that failed.
    pub attempts: u64,
    /// When the log last told of it.
    told: Duration,
    /// Who failed and has not succeeded since, with the route that it was about.
    reporters: BTreeMap<Reporter, Option<usize>>,
}

/// What a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogLine {
    /// An outage begins.
    Began(Subject, String),
    /// It goes on: what the last failure said, how long it has lasted, and how many attempts failed.
    Lasts(Subject, String, Duration, u64),
    /// It is over: how long it lasted, and how many attempts failed.
    Ended(Subject, Duration, u64),
}

/// A failure that may be over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// What it said.
    pub message: String,
    /// When.
    pub at: Duration,
}

/// Everything that is wrong, and the last failure of each route.
#[derive(Debug, Default)]
pub struct Outages {
    now: BTreeMap<Subject, Outage>,
    last: BTreeMap<usize, LastFailure>,
}

impl Outages {
    /// An attempt failed; `route`: what it was made for.
    pub fn failed(
        &mut self,
        now: Duration,
        reporter: Reporter,
        subject: Subject,
        route: Option<usize>,
        message: &str,
    ) -> Vec<LogLine> {
        // A reporter that fails here has got past what it failed at before.
        let mut lines = self.left_by(now, reporter, Some(subject));
        let outage = self.now.entry(subject).or_insert_with(|| {
            lines.push(LogLine::Began(subject, message.to_owned()));
            let (message, reporters) = (String::new(), BTreeMap::new());
            Outage { message, since: now, attempts: 0, told: now, reporters }
        });
        message.clone_into(&mut outage.message);
        outage.attempts += 1;
        if now >= outage.told + REMIND_EVERY {
            outage.told = now;
            let lasted = now.saturating_sub(outage.since);
            lines.push(LogLine::Lasts(subject, message.to_owned(), lasted, outage.attempts));
        }
        outage.reporters.insert(reporter, route);
        if let Some(route) = route {
            self.last.insert(route, LastFailure { message: message.to_owned(), at: now });
        }
        lines
    }

    /// An attempt succeeded, or will not be made again.
    pub fn answered(&mut self, now: Duration, reporter: Reporter) -> Vec<LogLine> {
        self.left_by(now, reporter, None)
    }

    fn left_by(
        &mut self,
        now: Duration,
        reporter: Reporter,
        keep: Option<Subject>,
    ) -> Vec<LogLine> {
        let mut lines = Vec::new();
        self.now.retain(|subject, outage| {
            if keep == Some(*subject) || outage.reporters.remove(&reporter).is_none() {
                return true;
            }
            let is_over = outage.reporters.is_empty();
            if is_over {
                let lasted = now.saturating_sub(outage.since);
                lines.push(LogLine::Ended(*subject, lasted, outage.attempts));
            }
            !is_over
        });
        lines
    }

    /// The outages of this moment.
    pub fn now(&self) -> impl Iterator<Item = (Subject, &Outage)> {
        self.now.iter().map(|(subject, outage)| (*subject, outage))
    }

    /// The outage that keeps a route from being written.
    pub fn of_route(&self, route: usize) -> Option<&Outage> {
        self.now.get(&Subject::Route(route)).or_else(|| {
            self.now.values().find(|outage| outage.reporters.values().any(|r| *r == Some(route)))
        })
    }

    /// The last failure of a route, over or not.
    pub fn last_of_route(&self, route: usize) -> Option<&LastFailure> {
        self.last.get(&route)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOWN: &str = "connection refused";

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_that_several_meet_is_told_once_and_its_end_once() {
        let mut outages = Outages::default();
        let mut said = Vec::new();
        for second in 0..100 {
            let reporter = Reporter::Worker(second % 2);
            let route = Some(second as usize % 2);
            said.extend(outages.failed(at(second), reporter, Subject::Database, route, DOWN));
        }
        assert_eq!(said, [LogLine::Began(Subject::Database, DOWN.to_owned())]);
        assert_eq!(outages.answered(at(100), Reporter::Worker(0)), []);
        let ended = outages.answered(at(101), Reporter::Worker(1));
        assert_eq!(ended, [LogLine::Ended(Subject::Database, at(101), 100)]);
        assert_eq!(outages.now().count(), 0);
    }

    #[test]
    fn an_outage_that_lasts_is_told_every_five_minutes() {
        let mut outages = Outages::default();
        let mut said = Vec::new();
        for second in (0..=1_200).step_by(10) {
            let reporter = Reporter::Worker(second % 20);
            said.extend(outages.failed(at(second), reporter, Subject::Database, None, DOWN));
        }
        let lasts = |seconds| {
            let attempts = seconds / 10 + 1;
            LogLine::Lasts(Subject::Database, DOWN.to_owned(), at(seconds), attempts)
        };
        let began = LogLine::Began(Subject::Database, DOWN.to_owned());
        assert_eq!(said, [began, lasts(300), lasts(600), lasts(900), lasts(1_200)]);
    }

    #[test]
    fn a_stuck_route_is_not_hidden_by_one_that_is_written() {
        let mut outages = Outages::default();
        let (stuck, fine) = (Reporter::Worker(0), Reporter::Worker(1));
        outages.failed(at(0), stuck, Subject::Route(1), Some(1), "no table");
        outages.answered(at(1), fine);
        assert_eq!(outages.of_route(1).map(|outage| &*outage.message), Some("no table"));
        assert_eq!(outages.of_route(0), None);
    }

    #[test]
    fn a_database_that_answers_with_a_refusal_is_not_away_any_more() {
        let mut outages = Outages::default();
        let worker = Reporter::Worker(0);
        outages.failed(at(0), worker, Subject::Database, Some(0), DOWN);
        let said = outages.failed(at(5), worker, Subject::Route(0), Some(0), "no table");
        let began = LogLine::Began(Subject::Route(0), "no table".to_owned());
        assert_eq!(said, [LogLine::Ended(Subject::Database, at(5), 1), began]);
    }

    #[test]
    fn the_last_failure_of_a_route_is_remembered_when_it_is_over() {
        let mut outages = Outages::default();
        outages.failed(at(3), Reporter::Worker(0), Subject::Database, Some(0), DOWN);
        outages.answered(at(4), Reporter::Worker(0));
        assert_eq!(outages.of_route(0), None);
        let last = LastFailure { message: DOWN.to_owned(), at: at(3) };
        assert_eq!(outages.last_of_route(0), Some(&last));
    }

    proptest! {
        /// However failures and successes come: lines alternate for each matter, and something is
        /// wrong just where the last line says that it began.
        #[test]
        fn every_beginning_has_one_end(steps in proptest::collection::vec((0_u64..3, 0_usize..5), 0..60)) {
            let abouts = [Subject::Kafka, Subject::Database, Subject::Route(0), Subject::Route(1)];
            let mut outages = Outages::default();
            let mut open = std::collections::BTreeSet::new();
            for (second, (reporter, what)) in steps.into_iter().enumerate() {
                let (now, reporter) = (at(second as u64), Reporter::Worker(reporter));
                let said = match abouts.get(what) {
                    Some(subject) => outages.failed(now, reporter, *subject, None, DOWN),
                    None => outages.answered(now, reporter),
                };
                for lines in said {
                    let alternates = match lines {
                        LogLine::Began(subject, _) => open.insert(subject),
                        LogLine::Lasts(subject, ..) => open.contains(&subject),
                        LogLine::Ended(subject, ..) => open.remove(&subject),
                    };
                    prop_assert!(alternates);
                }
                let wrong: std::collections::BTreeSet<Subject> =
                    outages.now().map(|(subject, _)| subject).collect();
                prop_assert_eq!(&wrong, &open);
            }
        }
    }
}
