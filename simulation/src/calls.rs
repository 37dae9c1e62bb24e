//! How calls to Kafka and to the database pass, and how they fail.

use std::time::Duration;

use write_behind_consumer::clock::Clock as _;
use write_behind_consumer::kafka::group::GroupEvent;

use crate::gate::{Ask, Grant, Refusal};
use crate::kafka::group::OpenCommit;
use crate::plan::Fault;
use crate::state::State;
use crate::world::{World, can_pass};

/// How many refusals without a reason there are at most: more, and a record would be at fault.
const UNCERTAIN_MAX: u32 = 2;

impl World {
    /// Lets one of the waiting calls pass, or fail.
    pub fn open_gate(&mut self) {
        let mut state = self.state.lock();
        let open: Vec<usize> = (0..state.gates.waiting.len())
            .filter(|at| can_pass(&state, &state.gates.waiting[*at]))
            .collect();
        let at = open[state.choices.below(open.len())];
        let ask = state.gates.waiting[at].ask;
        let process = state.gates.waiting[at].process;
        let grant = grant(&mut state, ask, &mut self.uncertain);
        match grant {
            None => {
                state.gates.waiting[at].hangs = true;
                state.reach("an answer did not come");
                state.history.tell_of(process, || format!("waits in vain for {ask:?}"));
            }
            Some(grant) => {
                if !matches!(grant, Grant::Go | Grant::GoSlowly) {
                    state.history.tell_of(process, || format!("{ask:?}: {grant:?}"));
                }
                state.gates.open(at, grant);
            }
        }
        if !matches!(grant, Some(Grant::Go | Grant::GoSlowly)) {
            self.faults += 1;
        }
    }

    /// Lets the first waiting call pass.
    pub fn open_first(&mut self) -> bool {
        let mut state = self.state.lock();
        let at =
            (0..state.gates.waiting.len()).find(|at| can_pass(&state, &state.gates.waiting[*at]));
        if let Some(at) = at {
            state.gates.open(at, Grant::Go);
        }
        at.is_some()
    }

    /// The group goes on: it tells members what they are to hear, and answers a commit.
    pub fn group(&mut self) {
        let mut state = self.state.lock();
        let now = self.clock.now();
        state.group.tick(now);
        let due: Vec<usize> = (0..state.group.commits.len())
            .filter(|at| state.group.commits[*at].not_before <= now)
            .collect();
        if due.is_empty() {
            return;
        }
        let at = due[state.choices.below(due.len())];
        let weight = state.plan.weight(Fault::Commit).saturating_mul(4);
        if state.fault(weight) {
            self.faults += 1;
            let how = state.choices.below(3);
            let mut commit = state.group.commits.remove(at);
            match how {
                0 => {
                    state.reach("a commit was refused");
                    answer(&mut state, &commit, Err("not now".to_owned()));
                }
                1 => {
                    state.reach("a commit was taken, and answered as failed");
                    take(&mut state, &commit);
                    answer(&mut state, &commit, Err("no answer".to_owned()));
                }
                _ => {
                    state.reach("a commit was answered late");
                    commit.not_before = now + Duration::from_secs(70);
                    commit.generation = Some(state.group.generation);
                    state.group.commits.push(commit);
                }
            }
            return;
        }
        let commit = state.group.commits.remove(at);
        serve(&mut state, &commit);
    }

    /// The same without faults; returns whether anything happened.
    pub fn settle_group(&mut self) -> bool {
        let mut state = self.state.lock();
        let now = self.clock.now();
        let mut happened = state.group.tick(now);
        let due = state.group.commits.iter().position(|commit| commit.not_before <= now);
        if let Some(at) = due {
            let commit = state.group.commits.remove(at);
            serve(&mut state, &commit);
            happened = true;
        }
        happened
    }
}

/// How a call goes on; `None`: nobody answers it.
fn grant(state: &mut State, ask: Ask, uncertain: &mut u32) -> Option<Grant> {
    let weight = |fault| state.plan.weight(fault);
    let (question, connection) = (weight(Fault::Question) * 2, weight(Fault::Connection));
    // The answer to a COMMIT is the one that matters most.
    let connection = if ask == Ask::Commit { connection * 8 } else { connection * 2 };
    let (refusal, hang) = (weight(Fault::Refusal) * 2, weight(Fault::Hang) / 2);
    match ask {
        Ask::Answer => Some(Grant::Go),
        Ask::Kafka(_) | Ask::Reread => {
            let fails = state.fault(question);
            Some(if fails { Grant::Lost } else { Grant::Go })
        }
        Ask::Connect => {
            let fails = state.fault(connection);
            Some(if fails { Grant::Lost } else { Grant::Go })
        }
        Ask::Statement(_) | Ask::Commit => {
            if state.fault(hang) {
                return None;
            }
            if state.fault(connection) {
                let is_heard = state.choices.below(2) == 0;
                if ask == Ask::Commit && !is_heard {
                    state.reach("a COMMIT was applied and its answer was lost");
                }
                return Some(if is_heard { Grant::Lost } else { Grant::Unheard });
            }
            if ask == Ask::Statement("rows") && state.fault(refusal) {
                let all = [Refusal::Conflict, Refusal::Saturated, Refusal::Uncertain];
                let why = all[state.choices.below(all.len())];
                if why != Refusal::Uncertain || *uncertain < UNCERTAIN_MAX {
                    *uncertain += u32::from(why == Refusal::Uncertain);
                    return Some(Grant::Refused(why));
                }
            }
            let is_slow = state.choices.chance(40);
            Some(if is_slow { Grant::GoSlowly } else { Grant::Go })
        }
    }
}

/// Applies a commit and answers it, if its member may make it.
fn serve(state: &mut State, commit: &OpenCommit) {
    let taken = take(state, commit);
    let answered = if taken { Ok(()) } else { Err("the group has moved on".to_owned()) };
    answer(state, commit, answered);
}

fn take(state: &mut State, commit: &OpenCommit) -> bool {
    let takes = state.group.takes(commit);
    if takes {
        state.group_commits(commit);
    } else {
        state.reach("a commit of a former owner was refused");
    }
    takes
}

fn answer(state: &mut State, commit: &OpenCommit, answer: Result<(), String>) {
    if let Some(member) = state.group.members.get_mut(&commit.member) {
        member.is_committing = false;
        member.events.push_back(GroupEvent::Committed(commit.id, answer));
    }
}
