//! The order in which routes write, so that they share the database by priority and none starves.
//!
//! This is stride scheduling by rows: each route has a pass that its rows advance, more slowly for
//! a higher priority, and the lowest pass goes first. A route that had nothing to write catches up
//! with the others' passes, so that idle time earns no credit.

use serde::{Deserialize, Serialize};

/// A route's share of a limited database while other routes want it too.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Four rows for each row of a normal route. Under a ceiling of rows per second, it does not
    /// wait for the debt of lower routes.
    High,
    /// Four rows for each row of a low route.
    #[default]
    Normal,
    /// The rest, and never less than one row in every few.
    Low,
}

impl Priority {
    /// How far a row advances the pass.
    fn stride(self) -> u64 {
        match self {
            Priority::High => 1,
            Priority::Normal => 4,
            Priority::Low => 16,
        }
    }
}

/// Who takes turns: a route, or its partitions that hold an urgent record.
///
/// Those have a turn of their own with the weight of a high route: they pass others, and whatever
/// they write, everybody else keeps a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TurnOwner {
    /// The route's index in the configuration.
    pub route: usize,
    /// Whether it is for the partitions with urgent records alone.
    pub is_urgent: bool,
}

/// The turns of all routes, by their index in the configuration.
#[derive(Debug)]
pub struct Schedule {
    turns: Vec<Turn>,
    /// The turns of their partitions with urgent records.
    urgent: Vec<Turn>,
    /// The pass of the route that went last: no waiting route is behind it.
    clock: u64,
}

#[derive(Debug)]
struct Turn {
    priority: Priority,
    pass: u64,
}

impl Schedule {
    /// A schedule in which no route has written yet.
    pub fn new(priorities: impl IntoIterator<Item = Priority>) -> Self {
        let turn = |priority| Turn { priority, pass: 0 };
        let turns: Vec<Turn> = priorities.into_iter().map(turn).collect();
        let urgent = turns.iter().map(|_| turn(Priority::High)).collect();
        Self { turns, urgent, clock: 0 }
    }

    /// Whose batch goes first of those that wait; at equal passes, that of higher priority.
    pub fn first(&self, waiting: impl Iterator<Item = TurnOwner>) -> Option<TurnOwner> {
        waiting.min_by_key(|owner| {
            let turn = self.turn(*owner);
            (turn.pass.max(self.clock), turn.priority, !owner.is_urgent, *owner)
        })
    }

    /// The priority of its turn.
    pub fn priority(&self, owner: TurnOwner) -> Priority {
        self.turn(owner).priority
    }

    /// A batch of `rows` rows has left in this turn.
    pub fn went(&mut self, owner: TurnOwner, rows: usize) {
        let turns = if owner.is_urgent { &mut self.urgent } else { &mut self.turns };
        let turn = &mut turns[owner.route];
        self.clock = turn.pass.max(self.clock);
        turn.pass = self.clock + rows.max(1) as u64 * turn.priority.stride();
    }

    fn turn(&self, owner: TurnOwner) -> &Turn {
        let turns = if owner.is_urgent { &self.urgent } else { &self.turns };
        &turns[owner.route]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    fn a_priority() -> impl Strategy<Value = Priority> {
        prop::sample::select(&ALL[..])
    }

    /// Each route's priority and the largest number of rows in its batches.
    fn routes() -> impl Strategy<Value = Vec<(Priority, usize)>> {
        prop::collection::vec((a_priority(), 1_usize..2_000), 2..6)
    }

    /// A route's ordinary turn.
    fn of(route: usize) -> TurnOwner {
        TurnOwner { route, is_urgent: false }
    }

    fn first(schedule: &Schedule, waiting: impl Iterator<Item = usize>) -> Option<usize> {
        schedule.first(waiting.map(of)).map(|owner| owner.route)
    }

    fn schedule(routes: &[(Priority, usize)]) -> Schedule {
        Schedule::new(routes.iter().map(|(priority, _)| *priority))
    }

    proptest! {
        #[test]
        fn of_a_saturated_database_each_route_gets_its_weight_s_share_to_within_a_batch(
            routes in routes(),
            sizes in prop::collection::vec(0.0..1.0_f64, 200..400),
        ) {
            let mut schedule = schedule(&routes);
            let mut rows = vec![0_u64; routes.len()];
            for size in sizes {
                let route = first(&schedule, 0..routes.len()).unwrap();
                let batch = 1 + (routes[route].1 as f64 * size) as usize;
                schedule.went(of(route), batch);
                rows[route] += batch as u64;
            }
            for (one, (priority, most)) in routes.iter().enumerate() {
                for (other, (others, others_most)) in routes.iter().enumerate() {
                    // Rows weighted by stride are even, apart from the last batch of either.
                    let (a, b) = (rows[one] * priority.stride(), rows[other] * others.stride());
                    let apart = (*most as u64 + 1) * priority.stride()
                        + (*others_most as u64 + 1) * others.stride();
                    prop_assert!(a.abs_diff(b) <= apart, "{one} has {a}, {other} has {b}");
                }
            }
        }

        #[test]
        fn whoever_waits_gets_a_turn_after_a_bounded_number_of_rows_of_others_whatever_they_do(
            routes in routes(),
            comings in prop::collection::vec((any::<u8>(), 0.0..1.0_f64), 300),
        ) {
            let mut schedule = schedule(&routes);
            // Route 0 always waits; the others come and go.
            let (patient, _) = routes[0];
            let bound: u64 = routes
                .iter()
                .map(|(priority, most)| {
                    let own = (routes[0].1 as u64 + 1) * patient.stride() / priority.stride();
                    own + 2 * (*most as u64 + 1)
                })
                .sum();
            let mut since = 0;
            for (present, size) in comings {
                let waiting = (0..routes.len()).filter(|r| *r == 0 || present >> r & 1 == 1);
                let route = first(&schedule, waiting).unwrap();
                let batch = 1 + (routes[route].1 as f64 * size) as usize;
                schedule.went(of(route), batch);
                since = if route == 0 { 0 } else { since + batch as u64 };
                prop_assert!(since <= bound, "{since} rows of others, {bound} at most");
            }
        }

        #[test]
        fn a_high_route_that_asks_for_less_than_its_share_goes_before_all_others(
            low in 1_usize..2_000, batches in prop::collection::vec(0.0..1.0_f64, 100),
        ) {
            let mut schedule = Schedule::new([Priority::Low, Priority::High]);
            for size in batches {
                // One batch of each in turn, the high one no larger than its share allows.
                let high = ((low * 16) as f64 * size) as usize;
                prop_assert_eq!(first(&schedule, [0, 1].into_iter()), Some(1));
                schedule.went(of(1), high);
                prop_assert_eq!(first(&schedule, std::iter::once(0)), Some(0));
                schedule.went(of(0), low);
            }
        }
    }

    #[test]
    fn urgent_partitions_go_first_and_leave_everybody_a_share() {
        let mut schedule = Schedule::new([Priority::Normal, Priority::Low]);
        let urgent = TurnOwner { route: 1, is_urgent: true };
        let mut rows = [0, 0, 0];
        for turn in 0..2_100 {
            let owner = schedule.first([of(0), of(1), urgent].into_iter()).unwrap();
            assert!(turn > 0 || owner == urgent, "the first of those that wait");
            schedule.went(owner, 1);
            rows[if owner.is_urgent { 2 } else { owner.route }] += 1;
        }
        assert_eq!(rows, [400, 100, 1_600], "as a normal, a low and a high route share");
    }

    #[test]
    fn nobody_goes_when_nobody_waits() {
        assert_eq!(schedule(&[(Priority::High, 1)]).first(std::iter::empty()), None);
    }

    #[test]
    fn a_route_that_was_idle_has_saved_nothing_up() {
        let mut schedule = Schedule::new([Priority::Normal, Priority::Normal]);
        for _ in 0..100 {
            schedule.went(of(0), 10);
        }
        schedule.went(of(1), 10);
        assert_eq!(first(&schedule, [0, 1].into_iter()), Some(0), "they take turns from here on");
    }
}
