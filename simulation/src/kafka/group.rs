//! The group: who owns which partition, and what was committed.
//!
//! A member hears one decision at a time, and the next only once it has answered. A dead member keeps
//! its partitions until its session is over. A member that the group has given up hears of it later,
//! and its commits fail meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use write_behind_consumer::core::batch::RoutePartition;
use write_behind_consumer::core::pipeline::commit::CommitId;
use write_behind_consumer::kafka::group::GroupEvent;
use write_behind_shared::NextOffset;

/// How long the group waits for a member that does not answer.
pub const SESSION: Duration = Duration::from_secs(10);

pub type MemberId = u64;

/// A decision that a member has not answered yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unanswered {
    #[default]
    Nothing,
    Assigned,
    /// The member must give these back.
    Back(BTreeSet<RoutePartition>),
}

/// A member.
#[derive(Debug, Default)]
pub struct MemberState {
    pub events: VecDeque<GroupEvent<Vec<RoutePartition>>>,
    pub unanswered: Unanswered,
    /// What it holds by its own knowledge.
    pub owned: BTreeSet<RoutePartition>,
    /// Since when its process no longer answers.
    pub silent_since: Option<Duration>,
    /// Whether the group has given it up, which it does not know yet.
    pub given_up: bool,
    pub is_committing: bool,
}

/// A commit that the group has not answered yet.
#[derive(Clone, Debug)]
pub struct OpenCommit {
    pub member: MemberId,
    pub id: CommitId,
    pub offsets: Vec<(RoutePartition, NextOffset)>,
    /// Not answered before.
    pub not_before: Duration,
    /// Of one that comes late: what the group had decided last when it was made.
    pub generation: Option<u64>,
}

/// The group.
#[derive(Debug, Default)]
pub struct GroupModel {
    pub members: BTreeMap<MemberId, MemberState>,
    /// Who holds a partition, by the group's knowledge.
    pub owners: BTreeMap<RoutePartition, MemberId>,
    targets: BTreeMap<RoutePartition, MemberId>,
    /// Set once everybody has given back everything, in the eager protocol.
    next_targets: Option<BTreeMap<RoutePartition, MemberId>>,
    pub committed: BTreeMap<RoutePartition, NextOffset>,
    pub commits: Vec<OpenCommit>,
    pub is_eager: bool,
    /// How often it has decided.
    pub generation: u64,
    /// Whether it may have something to tell since it last had nothing.
    pub is_stirred: bool,
    tps: Vec<RoutePartition>,
}

impl GroupModel {
    #[must_use]
    pub fn new(tps: Vec<RoutePartition>, is_eager: bool) -> Self {
        Self { is_eager, tps, ..Self::default() }
    }

    pub fn join(&mut self, member: MemberId, rotation: usize) {
        self.members.insert(member, MemberState::default());
        self.rebalance(rotation);
    }

    /// A member says goodbye.
    pub fn leave(&mut self, member: MemberId, rotation: usize) {
        self.members.remove(&member);
        self.free(member);
        self.rebalance(rotation);
    }

    /// The group gives a member up that may live.
    pub fn give_up(&mut self, member: MemberId, rotation: usize) {
        let Some(state) = self.members.get_mut(&member) else { return };
        state.given_up = true;
        self.free(member);
        self.rebalance(rotation);
    }

    fn free(&mut self, member: MemberId) {
        self.owners.retain(|_, owner| *owner != member);
    }

    /// Decides again who is to own what. Who has a partition mostly keeps it.
    pub fn rebalance(&mut self, rotation: usize) {
        let alive: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, state)| !state.given_up)
            .map(|(member, _)| *member)
            .collect();
        self.is_stirred = true;
        self.generation += 1;
        let mut targets = BTreeMap::new();
        if !alive.is_empty() {
            for (at, tp) in self.tps.iter().enumerate() {
                targets.insert(*tp, alive[(at + rotation) % alive.len()]);
            }
        }
        if self.is_eager {
            self.targets.clear();
            self.next_targets = Some(targets);
        } else {
            self.targets = targets;
        }
    }

    /// When a session is over next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let silent = self.members.values().filter(|state| !state.given_up);
        let sessions = silent.filter_map(|state| Some(state.silent_since? + SESSION));
        sessions.chain(self.commits.iter().map(|commit| commit.not_before)).min()
    }

    /// Gives up who has been silent for too long, and tells members what they are to hear next.
    /// Returns whether anything happened.
    pub fn tick(&mut self, now: Duration) -> bool {
        let is_over = |state: &MemberState| {
            !state.given_up && state.silent_since.is_some_and(|since| now >= since + SESSION)
        };
        let over: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, state)| is_over(state))
            .map(|(member, _)| *member)
            .collect();
        let mut happened = !over.is_empty();
        for member in over {
            self.give_up(member, 0);
        }
        if self.owners.is_empty()
            && let Some(targets) = self.next_targets.take()
        {
            self.targets = targets;
            happened = true;
        }
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        for member in members {
            happened |= self.tell(member);
        }
        self.is_stirred = happened;
        happened
    }

    /// Whether a tick or an answer to a commit may do something.
    #[must_use]
    pub fn has_work(&self, now: Duration) -> bool {
        self.is_stirred || self.next_deadline().is_some_and(|deadline| deadline <= now)
    }

    fn tell(&mut self, member: MemberId) -> bool {
        let Some(state) = self.members.get_mut(&member) else { return false };
        if state.silent_since.is_some()
            || state.unanswered != Unanswered::Nothing
            || !state.events.is_empty()
        {
            return false;
        }
        if state.given_up {
            if state.owned.is_empty() {
                // It has heard of it, and joins again.
                state.given_up = false;
                self.rebalance(0);
            } else {
                state.events.push_back(GroupEvent::Lost(state.owned.iter().copied().collect()));
                state.unanswered = Unanswered::Back(state.owned.clone());
            }
            return true;
        }
        let is_target = |tp: &RoutePartition| self.targets.get(tp) == Some(&member);
        let back: BTreeSet<RoutePartition> =
            state.owned.iter().copied().filter(|tp| !is_target(tp)).collect();
        if !back.is_empty() {
            state.events.push_back(GroupEvent::Revoked(back.iter().copied().collect()));
            state.unanswered = Unanswered::Back(back);
            return true;
        }
        let free = |tp: &RoutePartition| !self.owners.contains_key(tp);
        let new: Vec<RoutePartition> =
            self.tps.iter().copied().filter(|tp| is_target(tp) && free(tp)).collect();
        if new.is_empty() {
            return false;
        }
        self.owners.extend(new.iter().map(|tp| (*tp, member)));
        state.owned.extend(&new);
        state.events.push_back(GroupEvent::Assigned(new));
        state.unanswered = Unanswered::Assigned;
        true
    }

    /// A member accepts its assignment.
    pub fn acknowledged(&mut self, member: MemberId) {
        self.is_stirred = true;
        if let Some(state) = self.members.get_mut(&member)
            && state.unanswered == Unanswered::Assigned
        {
            state.unanswered = Unanswered::Nothing;
        }
    }

    /// A member gives partitions back.
    pub fn released(&mut self, member: MemberId, tps: &[RoutePartition]) {
        self.is_stirred = true;
        let Some(state) = self.members.get_mut(&member) else { return };
        for tp in tps {
            state.owned.remove(tp);
            if let Unanswered::Back(back) = &mut state.unanswered {
                back.remove(tp);
            }
            if self.owners.get(tp) == Some(&member) {
                self.owners.remove(tp);
            }
        }
        if matches!(&state.unanswered, Unanswered::Back(back) if back.is_empty()) {
            state.unanswered = Unanswered::Nothing;
        }
    }

    /// Whether the group takes this commit.
    #[must_use]
    pub fn takes(&self, commit: &OpenCommit) -> bool {
        let is_member = self.members.get(&commit.member).is_some_and(|state| !state.given_up);
        let is_owner = |tp| self.owners.get(tp) == Some(&commit.member);
        let is_of_now = commit.generation.is_none_or(|of| of == self.generation);
        is_member && is_of_now && commit.offsets.iter().all(|(tp, _)| is_owner(tp))
    }

    /// Whether every living member has what it is to have.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.next_targets.is_none()
            && self.tps.iter().all(|tp| self.owners.get(tp) == self.targets.get(tp))
            && self.tps.iter().all(|tp| self.owners.contains_key(tp))
    }
}
