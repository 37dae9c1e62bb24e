//! librdkafka's consumer as this project believes it to be: positions, pauses, and what it does that
//! nobody asked it to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use write_behind_consumer::core::batch::RoutePartition;
use write_behind_consumer::core::pipeline::commit::CommitId;
use write_behind_consumer::kafka::group::GroupEvent;
use write_behind_consumer::kafka::reader::{Heard, Reader};
use write_behind_consumer::status::logs::Fetched;
use write_behind_shared::NextOffset;

use crate::kafka::group::{MemberId, OpenCommit};
use crate::kafka::log::LogRecord;
use crate::plan::Fault;
use crate::state::{Handle, State};

/// What each member fetches.
#[derive(Debug, Default)]
pub struct Fetchers(pub BTreeMap<MemberId, BTreeMap<RoutePartition, Fetching>>);

/// The fetching of one partition.
#[derive(Debug, Default)]
pub struct Fetching {
    pub position: i64,
    is_paused: bool,
    /// Offsets that were fetched before a pause and are delivered nevertheless.
    early: VecDeque<i64>,
    /// Whether nothing is delivered any more until it is assigned again.
    pub is_stalled: bool,
}

/// What a poll brings.
enum Polled {
    Nothing,
    Record(RoutePartition, i64, Arc<LogRecord>),
    OutOfRange(RoutePartition, i64),
    Failed,
}

/// A member's client.
pub struct MemberReader {
    pub state: Handle,
    pub member: MemberId,
}

impl MemberReader {
    fn poll_once(&self) -> Polled {
        let mut state = self.state.lock();
        let weight = state.plan.weight(Fault::PollError) / 2;
        if state.fault(weight) {
            state.reach("the client told of an error that passes");
            return Polled::Failed;
        }
        let State { fetchers, topics, choices, .. } = &mut *state;
        let Some(fetching) = fetchers.0.get(&self.member) else { return Polled::Nothing };
        let has_next = |(tp, one): &(&RoutePartition, &Fetching)| {
            let log = topics.log(**tp);
            !one.early.is_empty()
                || !one.is_paused
                    && !one.is_stalled
                    && (one.position < log.low || log.next_from(one.position).is_some())
        };
        let ready: Vec<RoutePartition> =
            fetching.iter().filter(has_next).map(|(tp, _)| *tp).collect();
        if ready.is_empty() {
            return Polled::Nothing;
        }
        // Now and then a poll brings nothing though there is something.
        let Some(tp) = ready.get(choices.below(ready.len() * 4 + 1) / 4).copied() else {
            return Polled::Nothing;
        };
        fetch(&mut state, self.member, tp)
    }
}

fn fetch(state: &mut State, member: MemberId, tp: RoutePartition) -> Polled {
    let weight = |fault| state.plan.weight(fault);
    let weights = [weight(Fault::Skip) * 2, weight(Fault::Repeat) * 2, weight(Fault::Stall) / 3];
    let [skips, repeats, stalls] = weights.map(|weight| state.fault(weight));
    let log = state.topics.log(tp);
    let one = state.fetchers.0.get_mut(&member).and_then(|of| of.get_mut(&tp));
    let Some(one) = one else { return Polled::Nothing };
    if let Some(early) = one.early.pop_front() {
        let record = log.at(early).map(Arc::clone);
        return record.map_or(Polled::Nothing, |record| Polled::Record(tp, early, record));
    }
    if one.position < log.low {
        return Polled::OutOfRange(tp, one.position);
    }
    let Some((mut at, mut record)) = log.next_from(one.position) else { return Polled::Nothing };
    let mut reached = None;
    if skips && let Some((later, other)) = log.next_from(at + 1) {
        (at, record) = (later, other);
        reached = Some("the client passed over a record");
    }
    one.position = at + 1;
    if reached.is_none() && repeats && at > log.low {
        one.position = at;
        reached = Some("the client delivered a record again");
    } else if reached.is_none() && stalls {
        (one.position, one.is_stalled) = (at, true);
        reached = Some("the client stopped delivering a partition");
    }
    let (record, is_stalled) = (Arc::clone(record), one.is_stalled);
    if let Some(what) = reached {
        state.reach(what);
        state.history.tell_of(member, || format!("{what}: {}@{at}", name(tp)));
    }
    if is_stalled { Polled::Nothing } else { Polled::Record(tp, at, record) }
}

/// A partition in a line of a history.
#[must_use]
pub fn name(tp: RoutePartition) -> String {
    format!("r{}p{}", tp.route, tp.partition)
}

impl Reader for MemberReader {
    type Error = String;

    fn poll(&mut self, _: Duration, mut hear: impl FnMut(Heard<'_>)) -> bool {
        match self.poll_once() {
            Polled::Nothing => return false,
            Polled::Record(tp, at, record) => {
                self.state.lock().history.tell_of(self.member, || {
                    format!("reads {}@{at} {}", name(tp), record.meaning.name)
                });
                record.lend(tp.partition, at, |record| hear(Heard::Record(tp.route, record)));
            }
            Polled::OutOfRange(tp, at) => {
                hear(Heard::OutOfRange(format!("{} has no offset {at}", name(tp))));
            }
            Polled::Failed => hear(Heard::Failed("a broker went away".to_owned())),
        }
        true
    }

    fn next_event(&mut self) -> Option<GroupEvent<Vec<RoutePartition>>> {
        let mut state = self.state.lock();
        let event = state.group.members.get_mut(&self.member)?.events.pop_front()?;
        state.group.is_stirred = true;
        if let GroupEvent::Assigned(tps) = &event {
            let step = state.history.step;
            state.oracle.assigned(self.member, tps, step);
        }
        state.history.tell_of(self.member, || match &event {
            GroupEvent::Assigned(tps) => format!("is assigned {}", names(tps)),
            GroupEvent::Revoked(tps) => format!("is to give back {}", names(tps)),
            GroupEvent::Lost(tps) => format!("has lost {}", names(tps)),
            GroupEvent::Committed(id, answer) => format!("commit {id}: {answer:?}"),
        });
        Some(event)
    }

    fn fetched(&mut self) -> Vec<(RoutePartition, Fetched)> {
        Vec::new()
    }

    fn fatal(&self) -> Option<String> {
        None
    }

    fn acknowledge(&self) -> Result<(), String> {
        self.state.lock().group.acknowledged(self.member);
        Ok(())
    }

    fn start(
        &mut self,
        tps: &[(RoutePartition, NextOffset)],
        _: impl Fn(RoutePartition) -> Option<NextOffset>,
    ) -> Result<(), String> {
        let mut state = self.state.lock();
        for (tp, next) in tps {
            state.started(self.member, *tp, *next);
            let fetching = Fetching { position: next.0, ..Fetching::default() };
            state.fetchers.0.entry(self.member).or_default().insert(*tp, fetching);
            state.history.tell_of(self.member, || format!("reads {} from {next} on", name(*tp)));
        }
        Ok(())
    }

    fn pause(&mut self, tps: &[RoutePartition]) -> Result<(), String> {
        let mut state = self.state.lock();
        for tp in tps {
            let weight = state.plan.weight(Fault::Prefetch);
            let leaks = state.fault(weight.saturating_mul(4));
            let State { fetchers, topics, .. } = &mut *state;
            let of = fetchers.0.entry(self.member).or_default();
            let Some(one) = of.get_mut(tp) else { continue };
            one.is_paused = true;
            if leaks && let Some((at, _)) = topics.log(*tp).next_from(one.position) {
                one.early.push_back(at);
                one.position = at + 1;
                state.reach("a record was delivered after a pause");
            }
            state.reach("a partition was paused");
        }
        Ok(())
    }

    fn resume(&mut self, tps: &[RoutePartition]) -> Result<(), String> {
        let mut state = self.state.lock();
        let of = state.fetchers.0.entry(self.member).or_default();
        for tp in tps {
            if let Some(one) = of.get_mut(tp) {
                one.is_paused = false;
            }
        }
        Ok(())
    }

    fn release(&mut self, tps: &[RoutePartition]) -> Result<(), String> {
        let mut state = self.state.lock();
        let of = state.fetchers.0.entry(self.member).or_default();
        of.retain(|tp, _| !tps.contains(tp));
        state.group.released(self.member, tps);
        state.history.tell_of(self.member, || format!("gives back {}", names(tps)));
        Ok(())
    }

    fn commit(
        &mut self,
        id: CommitId,
        offsets: &[(RoutePartition, NextOffset)],
        _: &BTreeSet<RoutePartition>,
    ) -> bool {
        let mut state = self.state.lock();
        let Some(member) = state.group.members.get_mut(&self.member) else { return false };
        if std::mem::replace(&mut member.is_committing, true) {
            state.reach("a commit was not made because the one before has no answer");
            return false;
        }
        let (member, offsets) = (self.member, offsets.to_vec());
        state.history.tell_of(member, || {
            let said = offsets.iter().map(|(tp, next)| format!("{}={next}", name(*tp)));
            format!("commits {} to kafka as {id}", said.collect::<Vec<_>>().join(" "))
        });
        state.group.commits.push(OpenCommit {
            member,
            id,
            offsets,
            not_before: Duration::ZERO,
            generation: None,
        });
        true
    }
}

fn names(tps: &[RoutePartition]) -> String {
    tps.iter().map(|tp| name(*tp)).collect::<Vec<_>>().join(" ")
}
