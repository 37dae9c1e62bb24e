//! Rest: once faults have ended, all that was written must come to the table, and nothing may wait.

use std::time::Duration;

use write_behind_consumer::clock::Clock as _;

use crate::kafka::reader::name;
use crate::world::{Slot, World};

/// How long all may take to come to rest, in virtual time, once faults have ended.
const REST_WITHIN: Duration = Duration::from_mins(15);
/// How many steps that may take.
const REST_STEPS: u64 = 100_000;

impl World {
    /// Faults end. The processes that are left must bring all to rest.
    pub fn heal(&mut self) {
        {
            let mut state = self.state.lock();
            if state.violation.is_some() {
                return;
            }
            state.is_healed = true;
            state.history.tell("oracle", || "faults end".to_owned());
            for gate in &mut state.gates.waiting {
                gate.hangs = false;
            }
        }
        for slot in &mut self.slots {
            if let Slot::Alive(process) = slot {
                process.is_frozen = false;
                let mut state = self.state.lock();
                state.group.is_stirred = true;
                if let Some(member) = state.group.members.get_mut(&process.id) {
                    member.silent_since = None;
                }
            }
        }
        let end = self.clock.now() + REST_WITHIN;
        for step in 0..REST_STEPS {
            if self.is_over() || self.has_refused {
                return;
            }
            let is_replaced = self.state.lock().oracle.is_any_replaced();
            if step % 16 == 0 && !is_replaced && self.unrest().is_none() {
                return self.check_rest();
            }
            if self.clock.now() > end {
                break;
            }
            self.rest_step();
        }
        let why = self.unrest().unwrap_or_else(|| "it came to rest late".to_owned());
        let mut state = self.state.lock();
        if state.oracle.is_any_replaced() && state.plan.hears_rechecks() {
            state.violated("I12 a log that was replaced is refused", || {
                "nobody refuses it".to_owned()
            });
        }
        drop(state);
        // What the log has lost may be what a person must be asked about.
        if self.state.lock().plan.may_refuse() {
            return;
        }
        self.state.lock().violated("I13 all comes to rest", || why);
    }

    /// One step of a world in which everything happens at once, and time last.
    fn rest_step(&mut self) {
        self.count_step();
        self.start_due();
        if self.run_task(true) || self.open_first() {
            return;
        }
        self.end_abandoned();
        if self.settle_group() {
            return;
        }
        let now = self.clock.now();
        let due: Vec<u64> = self
            .running()
            .iter()
            .filter(|process| process.next_turn <= now)
            .map(|process| process.id)
            .collect();
        if due.is_empty() {
            self.advance_to_next();
        }
        for id in due {
            self.turn_of(id, now + Duration::from_millis(100));
        }
    }

    /// What is not at rest yet.
    fn unrest(&self) -> Option<String> {
        let state = self.state.lock();
        if !state.group.is_settled() {
            return Some("the group is not settled".to_owned());
        }
        for tp in state.topics.tps() {
            let next = state.database.next(tp).unwrap_or_default();
            if let Some((left, _)) = state.topics.log(tp).next_from(next.0) {
                return Some(format!("{} stands at {next}, and has {left}", name(tp)));
            }
            let committed = state.group.committed.get(&tp).copied().unwrap_or_default();
            if committed != next {
                let at = name(tp);
                return Some(format!("{at} stands at {next}, and kafka knows {committed}"));
            }
        }
        None
    }

    fn check_rest(&mut self) {
        let mut state = self.state.lock();
        for tp in state.topics.tps() {
            state.check(tp);
        }
        state.reach("all came to rest");
    }
}
