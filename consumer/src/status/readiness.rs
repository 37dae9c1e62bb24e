//! Whether a running consumer does its work, from what its threads have recorded of Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::action::PartitionProgress;
use crate::status::health::{self, Facts};
use crate::status::logs::{Fetched, Standstill};
use crate::status::outage::{Outage, Reporter, Subject};
use crate::status::{Status, StatusState};

/// How long the consumer waits for its group before a person is told why: longer than a broker waits for
/// further members of a new group (`group.initial.rebalance.delay.ms`, by default three seconds).
const TOLD_AFTER: Duration = Duration::from_secs(5);

impl Status {
    /// Why the process should be replaced, if it should.
    pub fn sickness(&self) -> Option<&'static str> {
        health::sickness(&self.facts(&self.lock()))
    }

    /// Why it does not do its work, if it does not.
    pub fn unreadiness(&self) -> Option<String> {
        let why = health::unreadiness(&self.facts(&self.lock()));
        (!why.is_empty()).then(|| why.join("\n"))
    }

    /// Lets the metrics say whether it does its work.
    pub(crate) fn note_readiness(&self) {
        self.metrics.ready(self.unreadiness().is_none());
    }

    pub(super) fn facts(&self, state: &StatusState) -> Facts {
        let not_read = |partition: &PartitionProgress| {
            let name =
                || format!("{} {}", self.routes[partition.tp.route].topic, partition.tp.partition);
            let why = state.not_located.get(&partition.tp).cloned();
            let waits = state.progress.waiting.contains_key(&partition.tp);
            (!partition.reading && !waits).then(|| (name(), why))
        };
        let outage = |(subject, outage): (Subject, &Outage)| {
            let (name, message) = (self.name(subject), &outage.message);
            if message.starts_with(&name) { message.clone() } else { format!("{name}: {message}") }
        };
        let stopped = state.progress.stopped.iter();
        let stopped =
            stopped.map(|(route, why)| format!("{}: {why}", self.name(Subject::Route(*route))));
        let now = self.started.elapsed();
        let standing = |partition: &PartitionProgress| self.standing(state, now, partition);
        let waits = state.waits_for_group.map(|(since, _)| now.saturating_sub(since));
        Facts {
            phase: state.phase,
            silent: state.beat.map(|beat| now.saturating_sub(beat)),
            in_group: state.in_group,
            waits_for_group: waits
                .filter(|waits| *waits >= TOLD_AFTER)
                .map(|_| self.waiting_for_group()),
            standing: state.progress.partitions.iter().filter_map(standing).collect(),
            not_read: state.progress.partitions.iter().filter_map(not_read).collect(),
            outages: state
                .outages
                .now()
                .map(outage)
                .chain(stopped)
                .chain(self.waiting(state))
                .collect(),
        }
    }

    /// The group has given this consumer an assignment, which may be empty.
    pub(crate) fn joined(&self) {
        let mut state = self.lock();
        (state.in_group, state.waits_for_group) = (true, None);
    }

    /// The group has given this consumer's partitions to others; it will join again.
    pub(crate) fn left(&self) {
        let mut state = self.lock();
        (state.in_group, state.waits_for_group) = (false, Some((self.started.elapsed(), false)));
    }

    /// Tells once why the group lets nobody in.
    pub(super) fn tell_wait(&self, state: &mut StatusState, now: Duration) {
        if let Some((since, told @ false)) = &mut state.waits_for_group
            && now.saturating_sub(*since) >= TOLD_AFTER
        {
            *told = true;
            tracing::info!("{}", self.waiting_for_group());
        }
    }

    /// The poll thread met an error that its client gets over by itself, or not.
    pub(crate) fn poll_failed(&self, error: &impl ToString) {
        let mut state = self.lock();
        let read = state.progress.partitions.iter().filter(|partition| partition.reading);
        let read = read.map(|partition| (partition.tp, state.logs.read_to(partition))).collect();
        state.poll_failed_at = Some(read);
        drop(state);
        self.failed(Reporter::Poll, Subject::Kafka, error);
    }

    /// Where logs end, as their leaders say. That a leader answers this does not mean that it lets
    /// the poll thread read: what that one met is over when no partition is left that has not moved
    /// since and is not at its end.
    pub(crate) fn logs_end(&self, ends: &BTreeMap<RoutePartition, NextOffset>) {
        let mut state = self.lock();
        state.logs.asked(ends.iter().map(|(tp, end)| (*tp, *end)));
        let over = state.poll_failed_at.as_ref().is_some_and(|failed_at| {
            let goes_on = |partition: &PartitionProgress| {
                let read_to = state.logs.read_to(partition);
                !partition.reading
                    || partition.paused
                    || failed_at.get(&partition.tp).is_none_or(|before| read_to > *before)
                    || ends.get(&partition.tp).is_some_and(|end| read_to >= *end)
            };
            !ends.is_empty() && state.progress.partitions.iter().all(goes_on)
        });
        if over {
            state.poll_failed_at = None;
        }
        drop(state);
        if over {
            self.answered(Reporter::Poll);
        }
    }

    /// What the poll thread's client learnt of the logs with its last fetches.
    pub(crate) fn fetched(&self, logs: Vec<(RoutePartition, Fetched)>) {
        self.lock().logs.fetched(logs);
    }

    /// What to say of a partition that stands still before its end.
    fn standing(
        &self,
        state: &StatusState,
        now: Duration,
        partition: &PartitionProgress,
    ) -> Option<String> {
        let standing = state.logs.standing(now, partition)?;
        let (topic, number) = (&self.routes[partition.tp.route].topic, partition.tp.partition);
        let Standstill { at, left, lasting, in_transaction } = standing;
        // Another producer may take its time for a transaction.
        if in_transaction && lasting < self.patience {
            return None;
        }
        let why = if in_transaction {
            "another producer's transaction is open"
        } else {
            "they do not arrive; may this user read the topic?"
        };
        let lasting = lasting.as_secs();
        Some(format!(
            "{topic} {number} has stood still at offset {at} for {lasting} s, {left} before the end of \
             its log: {why}"
        ))
    }

    /// What to say while the group lets nobody in.
    fn waiting_for_group(&self) -> String {
        format!(
            "waiting for the group {}: a member that did not leave, as after a kill, holds its \
             partitions until its session ends (at most {} s)",
            self.pipeline,
            self.session.as_secs()
        )
    }
}
