//! What the world does to processes, to Kafka and to the database: how calls pass, time goes on, and
//! things break.

use std::time::Duration;

use write_behind_consumer::clock::Clock as _;

use crate::database::session::ABANDONED_WITHIN;
use crate::kafka::log::PartitionLog;
use crate::kafka::reader::name;
use crate::plan::{FAULTS, Fault};
use crate::world::{Slot, World};
use crate::writers::Writers;

/// How long after its last record a log may be replaced so that this is noticed for certain.
const RECHECKED: Duration = Duration::from_secs(6);

/// The faults that strike by themselves, and not at a call.
const STRIKES: [Fault; 9] = [
    Fault::Crash,
    Fault::Freeze,
    Fault::Drain,
    Fault::Rebalance,
    Fault::GiveUp,
    Fault::Sessions,
    Fault::Restore,
    Fault::Retention,
    Fault::Recreate,
];

impl World {
    /// The server notices that a client is gone. What it had asked for may still be done.
    pub fn end_abandoned(&mut self) {
        let mut state = self.state.lock();
        let gone = state.database.sessions.iter().filter(|(_, one)| one.is_abandoned);
        let gone: Vec<u64> = gone.map(|(id, _)| *id).collect();
        if gone.is_empty() {
            return;
        }
        let weight = state.plan.weight(Fault::Abandoned);
        if state.fault(weight.saturating_mul(6)) {
            state.reach("an abandoned transaction kept its locks");
            return;
        }
        let at = if state.is_healed { 0 } else { state.choices.below(gone.len()) };
        let id = gone[at];
        let asks_commit = state.database.sessions.get(&id).is_some_and(|one| one.asks_commit);
        if asks_commit && !state.is_healed && state.choices.below(2) == 1 {
            state.reach("a transaction was committed after its client was gone");
            state.commit(id);
        }
        state.database.end(id);
    }

    /// Time goes on: to the next moment at which something is due, or further.
    pub fn leap(&mut self) {
        let is_calm = self.state.lock().plan.weights == [0; FAULTS];
        let weights: &[u32] = if is_calm { &[20, 2] } else { &[20, 4, 2, 1, 1] };
        let at = self.state.lock().choices.weighted(weights);
        if at == 0 {
            return self.advance_to_next();
        }
        let by = [0, 100, 1_000, 6_000, 31_000][at];
        self.advance_to(self.clock.now() + Duration::from_millis(by));
    }

    pub fn advance_to_next(&mut self) {
        let now = self.clock.now();
        let mut moments: Vec<Duration> = self.clock.next_timer().into_iter().collect();
        moments.extend(self.state.lock().group.next_deadline());
        for slot in &self.slots {
            moments.push(match slot {
                Slot::Alive(process) => process.next_turn,
                Slot::Empty(until) => *until,
            });
        }
        let next = moments.into_iter().filter(|moment| *moment > now).min();
        self.advance_to(next.unwrap_or(now + Duration::from_millis(50)));
    }

    fn advance_to(&mut self, then: Duration) {
        self.clock.advance_to(then);
        let mut state = self.state.lock();
        let is_long = |since: Duration| then >= since + ABANDONED_WITHIN;
        let frozen: Vec<u64> = state
            .group
            .members
            .iter()
            .filter(|(_, member)| member.silent_since.is_some_and(is_long))
            .map(|(id, _)| *id)
            .collect();
        // The server does not wait for ever for the next statement of a transaction.
        let idle: Vec<u64> = state
            .database
            .sessions
            .iter()
            .filter(|(_, one)| one.open.is_some() && frozen.contains(&one.process))
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            state.reach("the server ended an idle transaction");
            state.database.end(id);
        }
    }

    /// Something breaks.
    pub fn fault(&mut self) {
        let weights: Vec<u32> = {
            let state = self.state.lock();
            STRIKES.iter().map(|fault| u32::from(state.plan.weight(*fault))).collect()
        };
        if weights.iter().all(|weight| *weight == 0) {
            return;
        }
        let at = self.state.lock().choices.weighted(&weights);
        self.faults += 1;
        match STRIKES[at] {
            Fault::Crash => self.crash(),
            Fault::Freeze => self.freeze_or_thaw(),
            Fault::Drain => self.drain(),
            Fault::Rebalance => {
                let mut state = self.state.lock();
                let rotation = state.choices.below(4);
                state.history.tell("group", || "decides again".to_owned());
                state.group.rebalance(rotation);
            }
            Fault::GiveUp => self.give_up(),
            Fault::Sessions => {
                let mut state = self.state.lock();
                state.reach("every connection ended");
                state.history.tell("database", || "ends every connection".to_owned());
                state.database.end_all();
            }
            Fault::Restore => self.restore(),
            Fault::Recreate => self.recreate(),
            _ => self.retain(),
        }
    }

    fn chosen_process(&mut self) -> Option<u64> {
        let ids: Vec<u64> = self.running_mut().iter().map(|process| process.id).collect();
        let at = self.state.lock().choices.below(ids.len());
        ids.get(at).copied()
    }

    fn crash(&mut self) {
        let Some(id) = self.chosen_process() else { return };
        self.crashes += 1;
        let now = self.clock.now();
        {
            let mut state = self.state.lock();
            state.history.tell_of(id, || "dies".to_owned());
            let is_open =
                |one: &&crate::database::ServerSession| one.process == id && one.open.is_some();
            if state.database.sessions.values().any(|one| is_open(&one)) {
                state.reach("a process died inside a transaction");
            }
            if let Some(member) = state.group.members.get_mut(&id) {
                member.silent_since = Some(now);
            }
        }
        let wait = self.state.lock().choices.below(4) as u64 * 5;
        self.remove(id, now + Duration::from_secs(wait));
    }

    fn freeze_or_thaw(&mut self) {
        let now = self.clock.now();
        let frozen = self.slots.iter_mut().find_map(|slot| match slot {
            Slot::Alive(process) if process.is_frozen => Some(process),
            _ => None,
        });
        if let Some(process) = frozen {
            process.is_frozen = false;
            let mut state = self.state.lock();
            state.history.tell_of(process.id, || "goes on".to_owned());
            state.group.is_stirred = true;
            if let Some(member) = state.group.members.get_mut(&process.id) {
                member.silent_since = None;
                if member.given_up {
                    state.reach("a process went on after the group had given it up");
                }
            }
            return;
        }
        let Some(id) = self.chosen_process() else { return };
        let process = self.running_mut().into_iter().find(|process| process.id == id);
        if let Some(process) = process {
            process.is_frozen = true;
        }
        let mut state = self.state.lock();
        state.history.tell_of(id, || "stands still".to_owned());
        if let Some(member) = state.group.members.get_mut(&id) {
            member.silent_since = Some(now);
        }
    }

    fn drain(&mut self) {
        let Some(id) = self.chosen_process() else { return };
        let process = self.running_mut().into_iter().find(|process| process.id == id);
        if process.is_some_and(|process| !process.is_draining && process.drain()) {
            self.state.lock().history.tell_of(id, || "is asked to end".to_owned());
        }
    }

    fn give_up(&mut self) {
        let Some(id) = self.chosen_process() else { return };
        let mut state = self.state.lock();
        if state.group.members.get(&id).is_some_and(|member| !member.given_up) {
            state.reach("the group gave up a member that lives");
            state.history.tell("group", || format!("gives up process {id}"));
            state.group.give_up(id, 0);
        }
    }

    fn restore(&mut self) {
        let mut state = self.state.lock();
        let earlier = state.database.earlier();
        // Restored to before it has held a record of the old log, it could not know the new one.
        if earlier == 0 || state.oracle.is_any_replaced() {
            return;
        }
        let back = 1 + state.choices.below(earlier);
        let before = state.database.committed.offsets.clone();
        state.reach("the database went back");
        state.history.tell("database", || format!("goes back by {back} transactions"));
        state.database.restore(back);
        state.restored(&before);
    }

    /// Another log takes the place of one that was read, under its name.
    fn recreate(&mut self) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let known = state.database.committed.last_records.keys().copied();
        // A recheck has looked at the log since: before the first one, nothing is noticed.
        let known: Vec<_> =
            known.filter(|tp| state.oracle.stands_for(*tp, now) > RECHECKED).collect();
        if known.is_empty() || state.oracle.is_any_replaced() {
            return;
        }
        let tp = known[state.choices.below(known.len())];
        let most = state.topics.log(tp).high() as usize + 4;
        let records = state.choices.below(most);
        *state.topics.log_mut(tp) = PartitionLog::default();
        for _ in 0..records {
            Writers::write_other(&mut state, tp);
        }
        state.oracle.replaced(tp);
        state.reach("a log was replaced by another one");
        state.history.tell("log", || format!("{} is another log now", name(tp)));
    }

    fn retain(&mut self) {
        let mut state = self.state.lock();
        let tps = state.topics.tps();
        let tp = tps[state.choices.below(tps.len())];
        let room = state.topics.log(tp).high() - state.topics.log(tp).low;
        let by = state.choices.below(room as usize + 1) as i64;
        state.topics.log_mut(tp).low += by;
        let low = state.topics.log(tp).low;
        state.reach("the log lost its first records");
        state.history.tell("log", || format!("{} begins at {low} now", name(tp)));
    }
}
