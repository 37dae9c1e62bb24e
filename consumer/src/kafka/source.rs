//! The poll thread: it feeds records and the group's decisions to the pipeline, and does what that
//! says.
//!
//! One OS thread owns the reader and the pipeline. It never waits for the database, a worker or a
//! channel: it asks through one queue and is answered through another, and polls all the while, so
//! that the consumer stays in its group however long the database is away. Who answers may ring the
//! reader's bell, so that it is heard at once.
//!
//! An assignment is acknowledged at once, as an empty one, so that a database that is away does not
//! hold up the whole group. The partitions are read as soon as their positions are known.
//!
//! INV-9: polling never waits for the database. INV-11: a partition is read only from the offset
//! that the database names.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use write_behind_shared::NextOffset;

use crate::clock::Clock;
use crate::config::{Config, Route};
use crate::core::batch::{BatchId, RoutePartition};
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::action::{Action, Notice, PipelineLimits, RouteLimits};
use crate::core::pipeline::bounds::Bounds;
use crate::core::pipeline::commit::CommitId;
use crate::core::pipeline::placement::Placement;
use crate::kafka::group::GroupEvent;
use crate::kafka::locator::LocateQueue;
use crate::kafka::messages::{PollExit, PollMessage, Work};
use crate::kafka::notice::tell;
use crate::kafka::reader::{Heard, Reader};
use crate::kafka::skip_looks::SkipQueue;
use crate::status::Status;
use crate::status::outage::{Reporter, Subject};

/// How many records are taken before the other queues have their turn.
const BURST: usize = 1_000;
/// How long a poll waits while something is held, and while nothing is.
const WAIT_BUSY: Duration = Duration::from_millis(5);
const WAIT_IDLE: Duration = Duration::from_millis(50);
/// How many commits must fail in a row before an operator is told.
const COMMIT_FAILURES_TOLD: u32 = 10;

/// What the poll thread is connected to.
pub struct Ends {
    /// A queue for each worker, with room for one batch.
    pub workers: Vec<mpsc::Sender<Work>>,
    /// Answers and orders. When all its senders are gone, nobody runs this consumer any more.
    pub inbox: mpsc::Receiver<PollMessage>,
    /// The locator's queue: partitions whose positions are asked for.
    pub wanted: Arc<LocateQueue>,
    /// The queue of skipped offsets to check.
    pub skips: Arc<SkipQueue>,
    /// Where the keys of each route's topic belong.
    pub placements: Vec<Placement>,
    /// What metrics, health and the status page show.
    pub status: Arc<Status>,
}

/// The poll thread's state.
pub struct Source<R, T> {
    reader: R,
    /// The topic of each route.
    topics: Vec<Arc<str>>,
    pipeline: Pipeline,
    ends: Ends,
    /// Workers without a batch. The pipeline never has more batches in flight than workers.
    free: Vec<usize>,
    /// Which worker has which batch.
    busy: Vec<(BatchId, usize)>,
    /// Partitions whose offsets were adopted, which the group notes with each commit.
    adopted: BTreeSet<RoutePartition>,
    drain_time: Duration,
    /// When a drain ends, whatever is left.
    deadline: Option<Duration>,
    clock: T,
    /// The time of this turn.
    now: Duration,
    /// Commits that failed in a row.
    commit_failures: u32,
}

impl<R: Reader, T: Clock> Source<R, T> {
    /// Reads by `reader`, which is about to join the group. Nothing is read before the first turn.
    pub fn new(config: &Config, bounds: Bounds, reader: R, clock: T, ends: Ends) -> Self {
        // Workers beyond the connections prepare what is written next.
        let connections = config.database.connections.min(ends.workers.len());
        let limits = PipelineLimits {
            max_rows: config.batch.max_rows,
            max_bytes: config.memory.of_batch(config.batch.max_bytes, connections),
            max_age: config.batch.max_age,
            target_time: config.batch.target_time,
            memory: config.memory.held(),
            workers: connections,
            prepared: ends.workers.len() - connections,
            rows_per_second: config.database.rows_per_second,
            bounds,
        };
        let limits_of = |route: &Route| RouteLimits {
            priority: route.priority,
            rows_per_second: route.rows_per_second,
        };
        let version_of = |route: &Route| route.version_in_records().map(Arc::from);
        Self {
            reader,
            topics: config.routes.iter().map(|route| Arc::from(&*route.topic)).collect(),
            pipeline: Pipeline::new(limits, config.routes.iter().map(limits_of))
                .with_versions(config.routes.iter().map(version_of))
                .with_session(config.session_timeout())
                .with_placements(ends.placements.iter().copied()),
            free: (0..ends.workers.len()).collect(),
            busy: Vec::new(),
            adopted: BTreeSet::new(),
            ends,
            drain_time: config.batch.drain_time,
            deadline: None,
            clock,
            now: Duration::ZERO,
            commit_failures: 0,
        }
    }

    /// Reads until told to stop, and returns the reader, still in its group.
    pub fn run(mut self) -> (PollExit, R) {
        loop {
            if let ControlFlow::Break(exit) = self.turn() {
                self.publish();
                return (exit, self.reader);
            }
        }
    }

    /// One turn: records, the group's events, answers, the time; then what they make possible.
    pub fn turn(&mut self) -> ControlFlow<PollExit> {
        self.now = self.clock.now();
        self.read()?;
        let fetched = self.reader.fetched();
        if !fetched.is_empty() {
            self.ends.status.fetched(fetched);
        }
        while let Some(event) = self.reader.next_event() {
            self.group_event(event)?;
        }
        loop {
            match self.ends.inbox.try_recv() {
                Ok(input) => self.input(input)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return ControlFlow::Break(PollExit::Drained { clean: false });
                }
            }
        }
        self.now = self.clock.now();
        self.pipeline.tick(self.now);
        self.act()?;
        self.publish();
        if self.deadline.is_some_and(|deadline| self.now >= deadline) {
            let clean = self.pipeline.is_idle();
            tracing::warn!(
                clean,
                "the drain's time is over; what is not written will be read again"
            );
            return ControlFlow::Break(PollExit::Drained { clean });
        }
        ControlFlow::Continue(())
    }

    /// Takes what records there are, up to a burst.
    fn read(&mut self) -> ControlFlow<PollExit> {
        let mut wait = if self.pipeline.is_idle() { WAIT_IDLE } else { WAIT_BUSY };
        for _ in 0..BURST {
            let Self { reader, pipeline, now, ends, .. } = self;
            let (mut out_of_range, mut failed) = (None, None);
            let heard = reader.poll(wait, |heard| match heard {
                Heard::Record(route, record) => {
                    ends.status.record_read(route, record);
                    pipeline.record(*now, route, record);
                }
                Heard::OutOfRange(error) => out_of_range = Some(error),
                Heard::Failed(error) => failed = Some(error),
            });
            if !heard {
                break;
            }
            if let Some(error) = out_of_range.as_ref().or(failed.as_ref()) {
                self.broker_error(error, out_of_range.is_some())?;
            }
            if self.pipeline.has_actions() {
                self.act()?;
            }
            wait = Duration::ZERO;
        }
        ControlFlow::Continue(())
    }

    fn broker_error(&mut self, error: &str, out_of_range: bool) -> ControlFlow<PollExit> {
        if let Some(why) = self.reader.fatal() {
            return ControlFlow::Break(PollExit::Failed(why));
        }
        if out_of_range {
            return ControlFlow::Break(PollExit::Refused(format!(
                "the log does not have the offset that the database continues at ({error}): it was \
                 truncated or recreated, or its retention has passed the offset. Run `check` to see \
                 which partition, and what to do"
            )));
        }
        self.ends.status.metrics().broker_error();
        self.ends.status.poll_failed(&error);
        ControlFlow::Continue(())
    }

    fn group_event(&mut self, event: GroupEvent<Vec<RoutePartition>>) -> ControlFlow<PollExit> {
        match event {
            GroupEvent::Assigned(tps) => {
                tracing::info!(partitions = tps.len(), "partitions assigned");
                self.ends.status.joined();
                // Before anything else: until this answer the rebalance stands still, and with it
                // every member of the group. Positions can take as long as the database is away.
                done("assign", self.reader.acknowledge())?;
                self.pipeline.assign(&tps);
            }
            GroupEvent::Revoked(tps) => {
                tracing::info!(partitions = tps.len(), "partitions revoked");
                // No answer yet: librdkafka keeps the partitions until `Action::Release`, so what
                // is held of them can be written and committed before their next owner starts.
                self.pipeline.revoke(self.now, tps, self.now + self.drain_time);
            }
            GroupEvent::Lost(tps) => {
                tracing::warn!(partitions = tps.len(), "partitions lost: the group gave them away");
                self.ends.status.left();
                self.ends.status.partitions_released(&tps);
                self.pipeline.lose(self.now, tps);
            }
            GroupEvent::Committed(id, result) => {
                match &result {
                    Ok(()) if self.commit_failures == 0 => {}
                    Ok(()) => {
                        self.commit_failures = 0;
                        self.ends.status.answered(Reporter::Commits);
                    }
                    Err(error) => self.commit_failed(error),
                }
                self.pipeline.commit_answered(self.now, id, result.is_ok());
            }
        }
        self.act()
    }

    fn input(&mut self, input: PollMessage) -> ControlFlow<PollExit> {
        match input {
            PollMessage::Located(found) => {
                let adopted = found.iter().filter(|found| found.was_adopted);
                self.adopted.extend(adopted.map(|found| found.tp));
                self.pipeline.located(self.now, found);
            }
            PollMessage::Doubted(found) => self.pipeline.doubt(self.now, &found),
            PollMessage::Finished(id, ended) => {
                self.take_back(id);
                self.pipeline.finished(self.now, id, &ended);
            }
            PollMessage::MissingReference(id, batch, survey) => {
                self.take_back(id);
                self.pipeline.park(self.now, id, batch, &survey);
            }
            PollMessage::Stopped(id, stop) => {
                self.take_back(id);
                self.pipeline.stopped(self.now, id, &stop);
            }
            PollMessage::Held(id, why) => {
                self.take_back(id);
                self.pipeline.hold(self.now, id, &why);
            }
            PollMessage::LookedAtSkip(tp, id, found) => {
                self.pipeline.looked_at_skip(self.now, tp, id, &found);
            }
            PollMessage::Ends(ends) => self.pipeline.ends(ends),
            PollMessage::Drain => {
                self.deadline = Some(self.now + self.drain_time);
                self.pipeline.drain(self.now);
            }
            PollMessage::End(exit) => return ControlFlow::Break(exit),
        }
        self.act()
    }

    /// Does everything the pipeline says.
    fn act(&mut self) -> ControlFlow<PollExit> {
        while let Some(action) = self.pipeline.next_action() {
            match action {
                Action::Locate(asked) => self.ends.wanted.ask(asked),
                Action::Read(tps) => {
                    let next_of = |tp| self.pipeline.next_of(tp);
                    done("assign", self.reader.start(&tps, next_of))?;
                }
                Action::Write(closed) => self.hand_over(closed.id, Work::Closed(closed))?,
                Action::WriteAgain(id, batch) => self.hand_over(id, Work::Again(id, batch))?,
                Action::LookAtSkip(tp, id, look) => self.ends.skips.ask([(tp, (id, look))]),
                Action::GiveUp(tp, next) => {
                    let topic = &self.topics[tp.route];
                    return ControlFlow::Break(PollExit::undelivered(topic, tp.partition, next));
                }
                Action::Pause(tps) => done("pause", self.reader.pause(&tps))?,
                Action::Resume(tps) => done("resume", self.reader.resume(&tps))?,
                Action::Commit(id, offsets) => self.commit(id, &offsets),
                Action::Release(tps) => {
                    // Otherwise the locator could answer for a partition that came back since, with
                    // a position from before its other owner wrote.
                    self.ends.wanted.forget(&tps);
                    self.ends.status.partitions_released(&tps);
                    done("unassign", self.reader.release(&tps))?;
                }
                Action::Drained => return ControlFlow::Break(PollExit::Drained { clean: true }),
                Action::Tell(notice) => {
                    if let Notice::PassedOver(..) = notice {
                        self.ends.status.metrics().read_anew();
                    }
                    tell(&self.topics, &notice);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Frees the worker that had this batch.
    fn take_back(&mut self, id: BatchId) {
        if let Some(at) = self.busy.iter().position(|(batch, _)| *batch == id) {
            self.free.push(self.busy.swap_remove(at).1);
        }
    }

    fn hand_over(&mut self, id: BatchId, work: Work) -> ControlFlow<PollExit> {
        let worker = self.free.pop();
        let sent = worker.map(|worker| (worker, self.ends.workers[worker].try_send(work)));
        if let Some((worker, Ok(()))) = sent {
            self.busy.push((id, worker));
            return ControlFlow::Continue(());
        }
        // A free worker's queue is empty, so only one that has ended takes no batch.
        ControlFlow::Break(PollExit::Failed("a worker has ended".to_owned()))
    }

    fn commit(&mut self, id: CommitId, offsets: &[(RoutePartition, NextOffset)]) {
        if !self.reader.commit(id, offsets, &self.adopted) {
            self.pipeline.commit_answered(self.now, id, false);
        }
    }

    /// Tells an operator only of many failures in a row: every rebalance causes a few.
    fn commit_failed(&mut self, error: &str) {
        self.commit_failures += 1;
        tracing::debug!(%error, "the commit to kafka failed and is tried again");
        if self.commit_failures >= COMMIT_FAILURES_TOLD {
            let error = format!("commits keep failing; the database is not affected: {error}");
            self.ends.status.failed(Reporter::Commits, Subject::Kafka, &error);
        }
    }

    fn publish(&self) {
        self.ends
            .status
            .publish(self.now, self.pipeline.counts(), || self.pipeline.progress(self.now));
    }
}

/// Ends the polling if a call failed, which happens only when the client can't go on.
fn done(call: &str, result: Result<(), impl Display>) -> ControlFlow<PollExit> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(PollExit::Failed(format!(
            "Kafka's client refused to {call}: {error}"
        ))),
    }
}
