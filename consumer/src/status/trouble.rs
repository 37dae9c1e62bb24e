//! What stands in the consumer's way: takes failures and successes of whoever asks Kafka or the
//! database, gives what is wrong now, and what is worth a log line.
//!
//! An outage is one thing, however many attempts fail in it and whoever makes them: it begins with
//! the first failure, and ends when none of those who failed is left. Each is a line in the log.

use std::collections::BTreeMap;
use std::time::Duration;

/// Who asks. Each is asking one thing at a time, so its last answer is all there is to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Teller {
    /// The preparation, before anything is read.
    Start,
    /// Who asks where partitions stand.
    Locator,
    /// The poll thread.
    Poll,
    /// Who commits to Kafka.
    Commits,
    /// A worker, by its number.
    Worker(u64),
}

/// What the trouble is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Kafka does not answer.
    Kafka,
    /// The database does not answer, or takes too little.
    Database,
    /// A route's records can't be written, though the database answers.
    Route(usize),
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What the last failure said.
    pub message: String,
    /// When it began.
    pub since: Duration,
    /// Attempts that failed.
    pub attempts: u64,
    /// Who met it and has not succeeded since, with the route that it was about.
    tellers: BTreeMap<Teller, Option<usize>>,
}

/// What a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// An outage begins.
    Began(About, String),
    /// It is over: how long it lasted, and how many attempts failed.
    Ended(About, Duration, u64),
}

/// A failure that may be over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it said.
    pub message: String,
    /// When.
    pub at: Duration,
}

/// Everything that is wrong, and the last failure of each route.
#[derive(Debug, Default)]
pub struct Troubles {
    now: BTreeMap<About, Trouble>,
    last: BTreeMap<usize, Failure>,
}

impl Troubles {
    /// An attempt failed; `route`: what it was made for.
    pub fn failed(
        &mut self,
        now: Duration,
        teller: Teller,
        about: About,
        route: Option<usize>,
        message: &str,
    ) -> Vec<Say> {
        // Whoever fails at this has got past whatever it failed at before.
        let mut say = self.left_by(now, teller, Some(about));
        let trouble = self.now.entry(about).or_insert_with(|| {
            say.push(Say::Began(about, message.to_owned()));
            Trouble { message: String::new(), since: now, attempts: 0, tellers: BTreeMap::new() }
        });
        message.clone_into(&mut trouble.message);
        trouble.attempts += 1;
        trouble.tellers.insert(teller, route);
        if let Some(route) = route {
            self.last.insert(route, Failure { message: message.to_owned(), at: now });
        }
        say
    }

    /// An attempt succeeded, or will not be made again.
    pub fn answered(&mut self, now: Duration, teller: Teller) -> Vec<Say> {
        self.left_by(now, teller, None)
    }

    fn left_by(&mut self, now: Duration, teller: Teller, keep: Option<About>) -> Vec<Say> {
        let mut say = Vec::new();
        self.now.retain(|about, trouble| {
            if keep == Some(*about) || trouble.tellers.remove(&teller).is_none() {
                return true;
            }
            let is_over = trouble.tellers.is_empty();
            if is_over {
                let lasted = now.saturating_sub(trouble.since);
                say.push(Say::Ended(*about, lasted, trouble.attempts));
            }
            !is_over
        });
        say
    }

    /// Everything that is wrong.
    pub fn now(&self) -> impl Iterator<Item = (About, &Trouble)> {
        self.now.iter().map(|(about, trouble)| (*about, trouble))
    }

    /// What keeps a route from being written.
    pub fn of_route(&self, route: usize) -> Option<&Trouble> {
        self.now.get(&About::Route(route)).or_else(|| {
            self.now.values().find(|trouble| trouble.tellers.values().any(|r| *r == Some(route)))
        })
    }

    /// The last failure of a route, over or not.
    pub fn last_of_route(&self, route: usize) -> Option<&Failure> {
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
        let mut troubles = Troubles::default();
        let mut said = Vec::new();
        for second in 0..100 {
            let teller = Teller::Worker(second % 2);
            let route = Some(second as usize % 2);
            said.extend(troubles.failed(at(second), teller, About::Database, route, DOWN));
        }
        assert_eq!(said, [Say::Began(About::Database, DOWN.to_owned())]);
        assert_eq!(troubles.answered(at(100), Teller::Worker(0)), []);
        let ended = troubles.answered(at(101), Teller::Worker(1));
        assert_eq!(ended, [Say::Ended(About::Database, at(101), 100)]);
        assert_eq!(troubles.now().count(), 0);
    }

    #[test]
    fn a_stuck_route_is_not_hidden_by_one_that_is_written() {
        let mut troubles = Troubles::default();
        let (stuck, fine) = (Teller::Worker(0), Teller::Worker(1));
        troubles.failed(at(0), stuck, About::Route(1), Some(1), "no table");
        troubles.answered(at(1), fine);
        assert_eq!(troubles.of_route(1).map(|trouble| &*trouble.message), Some("no table"));
        assert_eq!(troubles.of_route(0), None);
    }

    #[test]
    fn a_database_that_answers_with_a_refusal_is_not_away_any_more() {
        let mut troubles = Troubles::default();
        let worker = Teller::Worker(0);
        troubles.failed(at(0), worker, About::Database, Some(0), DOWN);
        let said = troubles.failed(at(5), worker, About::Route(0), Some(0), "no table");
        let began = Say::Began(About::Route(0), "no table".to_owned());
        assert_eq!(said, [Say::Ended(About::Database, at(5), 1), began]);
    }

    #[test]
    fn the_last_failure_of_a_route_is_remembered_when_it_is_over() {
        let mut troubles = Troubles::default();
        troubles.failed(at(3), Teller::Worker(0), About::Database, Some(0), DOWN);
        troubles.answered(at(4), Teller::Worker(0));
        assert_eq!(troubles.of_route(0), None);
        let last = Failure { message: DOWN.to_owned(), at: at(3) };
        assert_eq!(troubles.last_of_route(0), Some(&last));
    }

    proptest! {
        /// However failures and successes come: lines alternate for each matter, and something is
        /// wrong just where the last line says that it began.
        #[test]
        fn every_beginning_has_one_end(steps in proptest::collection::vec((0_u64..3, 0_usize..5), 0..60)) {
            let abouts = [About::Kafka, About::Database, About::Route(0), About::Route(1)];
            let mut troubles = Troubles::default();
            let mut open = std::collections::BTreeSet::new();
            for (second, (teller, what)) in steps.into_iter().enumerate() {
                let (now, teller) = (at(second as u64), Teller::Worker(teller));
                let said = match abouts.get(what) {
                    Some(about) => troubles.failed(now, teller, *about, None, DOWN),
                    None => troubles.answered(now, teller),
                };
                for say in said {
                    let alternates = match say {
                        Say::Began(about, _) => open.insert(about),
                        Say::Ended(about, ..) => open.remove(&about),
                    };
                    prop_assert!(alternates);
                }
                let wrong: std::collections::BTreeSet<About> =
                    troubles.now().map(|(about, _)| about).collect();
                prop_assert_eq!(&wrong, &open);
            }
        }
    }
}
