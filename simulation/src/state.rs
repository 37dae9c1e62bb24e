//! All that the models share, behind one lock that is never held while code under test runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use write_behind_consumer::clock::Clock as _;

use crate::choices::Choices;
use crate::clock::VirtualClock;
use crate::database::DatabaseModel;
use crate::gate::Gates;
use crate::history::History;
use crate::kafka::group::GroupModel;
use crate::kafka::log::Topics;
use crate::kafka::reader::Fetchers;
use crate::oracle::{Oracle, Violation};
use crate::plan::Plan;

/// The state of the models.
#[derive(Debug)]
pub struct State {
    pub plan: Plan,
    pub choices: Choices,
    pub gates: Gates,
    pub topics: Topics,
    pub group: GroupModel,
    pub fetchers: Fetchers,
    pub database: DatabaseModel,
    pub oracle: Oracle,
    pub history: History,
    pub violation: Option<Violation>,
    /// Whether faults have ended, so that everything must come to rest.
    pub is_healed: bool,
    /// How often each rare thing happened.
    pub reached: BTreeMap<&'static str, u64>,
}

/// The state, and the clock beside it.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Mutex<State>>, VirtualClock);

impl Handle {
    #[must_use]
    pub fn new(state: State, clock: VirtualClock) -> Self {
        Self(Arc::new(Mutex::new(state)), clock)
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn clock(&self) -> VirtualClock {
        self.1.clone()
    }

    #[must_use]
    pub fn now(&self) -> Duration {
        self.1.now()
    }
}

impl State {
    /// Counts that something rare happened.
    pub fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    /// Whether a fault happens now that the plan gives this weight. Never once all is healed.
    pub fn fault(&mut self, of_256: u8) -> bool {
        !self.is_healed && self.choices.chance(of_256)
    }

    /// Something does not hold. Only the first time counts.
    pub fn violated(&mut self, invariant: &'static str, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let what = what();
            self.history.tell("oracle", || format!("{invariant}: {what}"));
            self.violation = Some(Violation { invariant, what });
        }
    }
}
