//! The sink group's committed offsets, which say what is in the database.
//!
//! They are asked for on a thread of its own, and only while something is pending; now and then the
//! thread also asks whether the topic still has the partitions it had.
//!
//! Silence is never taken for progress: no answer, no committed offset, or one past the end of the
//! log leave everything pending.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Thread, current, park_timeout};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::pace::{Asked, Pace};
use crate::error::{BuildError, Halt};
use crate::event::Event;
use crate::kafka::dead_letters::Letters;
use crate::kafka::offsets::{NoAnswer, Offsets};
use crate::metrics::Metrics;
use crate::partitions::Partitions;
use crate::partitions::partition::Stage;

/// What is remembered from one poll to the next.
pub(crate) struct CommitPoller<O> {
    offsets: O,
    partitions: Arc<Partitions>,
    metrics: Arc<Metrics>,
    /// The ends of partitions, as far as they were asked for.
    ends: HashMap<Partition, NextOffset>,
    /// What the group had committed when it was last asked.
    committed: HashMap<Partition, NextOffset>,
    /// The partitions whose committed offset is past the end of their log.
    past_the_end: HashSet<Partition>,
    /// The partitions whose end nobody says, and when that is asked again.
    silent: HashMap<Partition, Instant>,
    letters: Option<Letters>,
    /// None: the group has committed something.
    never_committed: Option<NeverCommitted>,
    healthy: bool,
    partitions_checked: Instant,
}

/// A group that has committed no offset of the topic.
#[derive(Debug)]
struct NeverCommitted {
    group: Arc<str>,
    /// Since when writes wait for it.
    since: Option<Instant>,
    told: bool,
}

/// Stops the poller's thread when it is dropped.
#[derive(Debug)]
pub(crate) struct CommitPollerGuard {
    stopped: Arc<AtomicBool>,
    thread: Thread,
}

impl Drop for CommitPollerGuard {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// How often the partition count is compared with that of the start.
const PARTITIONS_INTERVAL: Duration = Duration::from_secs(30);
/// How long a partition is left alone that did not say where it ends. Each question blocks for as
/// long as its leader may take, and the rows of all other partitions wait meanwhile.
const SILENT_INTERVAL: Duration = Duration::from_secs(10);

/// Polls every `interval` at least, until the guard is dropped.
/// How long writes wait before it is told that the group has never committed.
const FIRST_COMMIT_WITHIN: Duration = Duration::from_secs(5);

/// Polls every `interval`, until the guard is dropped.
pub(crate) fn poll_on_a_thread(
    mut poller: CommitPoller<impl Offsets + 'static>,
    interval: Duration,
) -> Result<CommitPollerGuard, BuildError> {
    let stopped = Arc::new(AtomicBool::new(false));
    let stops = Arc::clone(&stopped);
    let thread = Builder::new().name("write-behind-persisted".to_owned()).spawn(move || {
        let mut pace = Pace::new(interval);
        let partitions = Arc::clone(&poller.partitions);
        partitions.wake.set_thread(current());
        let polls = || {
            while !stops.load(Ordering::Acquire) {
                match poller.poll(Instant::now()) {
                    Asked::Nothing => poller.sleep(&mut pace),
                    asked => park_timeout(pace.after(asked)),
                }
            }
        };
        if catch_unwind(AssertUnwindSafe(polls)).is_err() {
            partitions.panicked();
        }
    })?;
    Ok(CommitPollerGuard { stopped, thread: thread.thread().clone() })
}

impl<O: Offsets> CommitPoller<O> {
    pub(crate) fn new(
        offsets: O,
        partitions: Arc<Partitions>,
        metrics: Arc<Metrics>,
        letters: Option<Letters>,
        now: Instant,
    ) -> Self {
        Self {
            offsets,
            partitions,
            metrics,
            ends: HashMap::new(),
            committed: HashMap::new(),
            past_the_end: HashSet::new(),
            silent: HashMap::new(),
            letters,
            never_committed: None,
            healthy: true,
            partitions_checked: now,
        }
    }

    /// Waits while nothing is pending, and a little longer once something is: it is not in the
    /// database at once.
    fn sleep(&self, pace: &mut Pace) {
        let wake = &self.partitions.wake;
        wake.falls_asleep();
        // Looked again: Kafka may have taken a write since the last look, and told nobody.
        if self.behind().is_empty() {
            park_timeout(pace.after(Asked::Nothing));
        }
        if wake.goes_on() {
            park_timeout(pace.after_the_first_write());
        }
    }

    /// This group had committed nothing when the handle was built; or it had.
    pub(crate) fn expect_first_commit(mut self, group: Option<&str>) -> Self {
        let Some(group) = group else { return self };
        warn!(
            sink_group = group,
            "the sink group has never committed an offset of the topic: no consumer with that name \
             has written anything"
        );
        let group = group.into();
        self.never_committed = Some(NeverCommitted { group, since: None, told: false });
        self
    }

    /// Asks what the group has committed, and now and then whether the topic is as it was.
    pub(crate) fn poll(&mut self, now: Instant) -> Asked {
        let asked = self.ask(now);
        if asked.is_ok() != self.healthy {
            self.healthy = asked.is_ok();
            match &asked {
                Ok(_) => info!("the sink group's offsets can be asked for again"),
                Err(error) => warn!(%error, "the sink group's offsets cannot be asked for"),
            }
        }
        if asked.is_err() {
            self.metrics.watch_error();
        }
        if now.saturating_duration_since(self.partitions_checked) >= PARTITIONS_INTERVAL {
            self.partitions_checked = now;
            self.check_partitions();
        }
        asked.unwrap_or(Asked::StandsStill)
    }

    /// The partitions with something pending.
    fn behind(&self) -> Vec<Partition> {
        self.partitions
            .iter()
            .filter(|(_, pending)| pending.lock().core.wants_commits())
            .map(|(partition, _)| partition)
            .collect()
    }

    /// Asks for the partitions with something pending.
    fn ask(&mut self, now: Instant) -> Result<Asked, NoAnswer> {
        let behind = self.behind();
        if behind.is_empty() {
            return Ok(Asked::Nothing);
        }
        self.place_unknown_offsets(&behind, now);
        if matches!(self.partitions.halt.get(), Some(Halt::LogReplaced { .. })) {
            // What the group has committed is of the log before, or of this one.
            return Ok(Asked::StandsStill);
        }
        let committed = self.offsets.committed(&behind)?;
        self.look_for_first_commit(!committed.is_empty(), now);
        let mut advanced = Vec::new();
        for (partition, committed) in committed {
            if self.is_within_the_log(partition, committed, now) {
                advanced.push((partition, committed));
            }
        }
        // Before they count as persisted, so that nobody is told so of a dead letter.
        if let Some(letters) = &mut self.letters
            && !letters.tell(&advanced, &self.partitions)
        {
            self.metrics.watch_error();
            return Ok(Asked::StandsStill);
        }
        let mut moved = false;
        for (partition, committed) in advanced {
            moved |= self.committed.insert(partition, committed) != Some(committed);
            self.partitions.committed(partition, committed);
        }
        Ok(if moved { Asked::Moved } else { Asked::StandsStill })
    }

    /// Tells once of writes that wait for a group which has never committed.
    fn look_for_first_commit(&mut self, has_committed: bool, now: Instant) {
        if has_committed {
            self.never_committed = None;
        }
        let Some(never) = &mut self.never_committed else { return };
        let since = *never.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= FIRST_COMMIT_WITHIN && !never.told {
            never.told = true;
            let group = &never.group;
            warn!(
                %group,
                "writes wait, and the sink group has never committed an offset of the topic; is its \
                 name right, and does its consumer run?"
            );
            self.partitions.events.tell(|| Event::NeverCommitted { group: Arc::clone(group) });
        }
    }

    /// Writes whose offset is unknown lie below the end of the log as it is now: the mark is taken
    /// before the end is asked for.
    fn place_unknown_offsets(&mut self, behind: &[Partition], now: Instant) {
        for partition in behind {
            let Some(pending) = self.partitions.of(*partition) else { continue };
            let mark = pending.lock().core.wants_sample();
            // Asked before the mark is taken, the end could lie below a write that was added in
            // between, which would count as persisted before it is in the log.
            if let Some(mark) = mark
                && let Some(end) = self.end(*partition, now)
            {
                self.partitions.sampled(*partition, mark, end);
            }
        }
    }

    /// Where the partition ends. None: nobody says. That holds up this partition alone: a leader
    /// that is away must not keep the rows of the others pending.
    fn end(&mut self, partition: Partition, now: Instant) -> Option<NextOffset> {
        if self.silent.get(&partition).is_some_and(|until| now < *until) {
            return None;
        }
        // Before the end is asked for, which may be further by then.
        let acked = self.partitions.of(partition)?.lock().core.ledger().last_acked();
        match self.end_past(partition, acked) {
            Ok(end) => {
                self.silent.remove(&partition);
                if let Some(acked) = acked.filter(|acked| !end.is_past(*acked)) {
                    self.log_replaced(partition, end, acked);
                    return None;
                }
                Some(end)
            }
            Err(error) => {
                self.metrics.watch_error();
                if self.silent.insert(partition, now + SILENT_INTERVAL).is_none() {
                    warn!(%partition, %error, "nobody says where the partition ends");
                }
                None
            }
        }
    }

    /// Where the partition ends. One that does not lie past `acked` is asked for once more: a leader
    /// that was elected just now may not know yet how far the log is.
    fn end_past(
        &self,
        partition: Partition,
        acked: Option<Offset>,
    ) -> Result<NextOffset, NoAnswer> {
        let end = self.offsets.end(partition)?;
        match acked {
            Some(acked) if !end.is_past(acked) => self.offsets.end(partition),
            _ => Ok(end),
        }
    }

    /// Offsets of this log say nothing of what was written to the one before it.
    fn log_replaced(&self, partition: Partition, end: NextOffset, acked: Offset) {
        let halt = Halt::LogReplaced { partition: partition.0, end: end.0, acked: acked.0 };
        if self.partitions.halt(halt.clone()) {
            error!(%halt, "writes are halted");
            // Nobody will ever know of what is not persisted by now.
            self.partitions.iter().for_each(|(_, pending)| pending.close_stage(Stage::Persisted));
        }
    }

    /// An offset past the end of the log speaks of another log, or was set by hand.
    fn is_within_the_log(
        &mut self,
        partition: Partition,
        committed: NextOffset,
        now: Instant,
    ) -> bool {
        if self.ends.get(&partition).is_some_and(|end| committed <= *end) {
            return true;
        }
        let Some(end) = self.end(partition, now) else { return false };
        self.ends.insert(partition, end);
        if committed <= end {
            self.past_the_end.remove(&partition);
            return true;
        }
        self.metrics.watch_error();
        if self.past_the_end.insert(partition) {
            error!(
                %partition, %committed, %end,
                "the group has committed past the end of the log: it is another log, or the \
                 offset was set by hand; its writes stay pending"
            );
        }
        false
    }

    fn check_partitions(&self) {
        let was = self.partitions.count();
        let count = || self.offsets.partition_count().ok().filter(|now| *now != was);
        // Twice: a handle that is halted never goes on, and one broker may know less than others.
        if count().is_some()
            && let Some(now) = count()
            && self.partitions.halt(Halt::Repartitioned { was, now })
        {
            error!(was, now, "the topic's partition count changed; writes are halted");
        }
    }
}

#[cfg(test)]
#[path = "tests/committed.rs"]
mod tests;
