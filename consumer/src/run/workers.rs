//! The workers' tasks: each applies closed batches and reports the outcome to the poll thread.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::apply::log::Log;
use crate::apply::retry::RetryLimits;
use crate::apply::{Applied, Connect, Connections, Event, Target, Worker, told};
use crate::clock::Clock;
use crate::core::batch::Stop;
use crate::core::pipeline::action::{BatchResult, WriteCost};
use crate::kafka::bell::Bell;
use crate::kafka::messages::{PollExit, PollMessage, Work};
use crate::kafka::questions::Questions;
use crate::kafka::survey::survey;
use crate::status::Status;
use crate::status::outage::Reporter;

/// What every worker needs.
pub struct Workers<C: Connect, L, Q, T> {
    pub connect: C,
    pub log: Arc<L>,
    pub broker: Q,
    pub targets: Arc<[Target]>,
    pub clock: T,
    /// Workers wait for different times after a failure, by this and their numbers.
    pub seed: u64,
    pub status: Arc<Status>,
    pub answers: mpsc::Sender<PollMessage>,
    /// Wakes the poll thread for an answer.
    pub bell: Arc<Bell>,
    pub connections: Arc<Connections<C::Store>>,
    /// True once no further attempt may start.
    pub shutdown: watch::Receiver<bool>,
}

/// By hand, since the log is shared whatever it is.
impl<C: Connect + Clone, L, Q: Clone, T: Clone> Clone for Workers<C, L, Q, T> {
    fn clone(&self) -> Self {
        Self {
            connect: self.connect.clone(),
            log: Arc::clone(&self.log),
            broker: self.broker.clone(),
            targets: Arc::clone(&self.targets),
            clock: self.clock.clone(),
            seed: self.seed,
            status: Arc::clone(&self.status),
            answers: self.answers.clone(),
            bell: Arc::clone(&self.bell),
            connections: Arc::clone(&self.connections),
            shutdown: self.shutdown.clone(),
        }
    }
}

impl<C, L, Q, T> Workers<C, L, Q, T>
where
    C: Connect + Clone,
    L: Log,
    Q: Questions + Clone,
    T: Clock + Clone,
{
    /// Starts `count` workers, each with a queue of its own.
    pub fn start(&self, count: usize, tasks: &mut JoinSet<String>) -> Vec<mpsc::Sender<Work>> {
        let mut queues = Vec::with_capacity(count);
        for number in 0..count {
            let (queue, batches) = mpsc::channel(1);
            queues.push(queue);
            let workers = self.clone();
            tasks.spawn(async move {
                workers.work(number as u64, batches).await;
                "a worker has ended".to_owned()
            });
        }
        queues
    }

    /// Writes the batches of one queue, until nobody listens or no further attempt may start.
    pub async fn work(mut self, number: u64, mut batches: mpsc::Receiver<Work>) {
        let status = Arc::clone(&self.status);
        let observe = move |event: Event<'_>| match event {
            Event::Failed(route, error) => status.write_failed(number, route, error),
            Event::SetAside(route, places, first) => {
                status.records_set_aside(route, &places);
                status.set_aside(route, places.len() as u64, first);
            }
            Event::RowByRow(rows) => tracing::debug!(rows, "rows are taken record by record"),
        };
        let (connect, clock) = (self.connect.clone(), self.clock.clone());
        let (log, targets) = (Arc::clone(&self.log), Arc::clone(&self.targets));
        let retry = (RetryLimits::STANDARD, self.seed << 32 | number);
        let worker = Worker::new(connect, log, targets, retry, Arc::new(observe), clock);
        let mut worker = worker.sharing(Arc::clone(&self.connections));
        while let Some(work) = batches.recv().await {
            let input = self.write(&mut worker, work).await;
            // Its end came first: what it failed at is not over.
            let Some(input) = input else { return };
            // Earlier failures are over: the batch is written, or is not tried again.
            self.status.answered(Reporter::Worker(number));
            if self.answers.send(input).await.is_err() {
                return;
            }
            self.bell.ring();
        }
    }

    /// Writes one batch; `None`: shutdown came before it was written.
    async fn write(&mut self, worker: &mut Worker<C, L, T>, work: Work) -> Option<PollMessage> {
        let route = match &work {
            Work::Closed(closed) => closed.route,
            Work::Again(_, batch) => batch.route,
        };
        let Some(target) = self.targets.get(route) else {
            return Some(PollMessage::End(PollExit::Failed(format!("there is no route {route}"))));
        };
        let metrics = self.status.metrics();
        let (taken, taken_at) = (self.clock.now(), SystemTime::now());
        let (id, batch) = match work {
            Work::Closed(closed) => {
                metrics.batch_taken(closed.age);
                (closed.id, Box::new(closed.into_batch(Arc::from(&*target.scope.topic))))
            }
            Work::Again(id, batch) => (id, batch),
        };
        match worker.apply(&batch, &mut self.shutdown).await {
            Applied::Written(written, stats) => {
                let (route, records) = (batch.route, batch.records);
                let took = self.clock.now().saturating_sub(taken);
                self.status.batch_written(route, records, &stats, took);
                self.status.records_written(&batch, &stats, taken_at);
                let effort = WriteCost { took: stats.took, saturated: stats.saturated };
                Some(PollMessage::Finished(id, BatchResult::Written(written, effort)))
            }
            Applied::Fenced(found) => {
                tracing::debug!(topic = %batch.topic, ?found, "fenced: another consumer has written");
                Some(PollMessage::Finished(id, BatchResult::Fenced))
            }
            Applied::Stopped(stop) => {
                let why = format!("table {}: {}", target.table, stop.why);
                Some(PollMessage::Stopped(id, Stop { why, ..stop }))
            }
            Applied::Held(why) => {
                Some(PollMessage::Held(id, format!("table {}: {why}", target.table)))
            }
            Applied::Refused(why) => Some(PollMessage::End(PollExit::Refused(why))),
            Applied::MissingReference(why) => {
                tracing::debug!(topic = %batch.topic, error = %why, "waiting for another row");
                let known = worker.known().await;
                tokio::select! {
                    biased;
                    survey = survey(&self.broker, &self.targets, &known) => {
                        Some(PollMessage::MissingReference(id, batch, survey))
                    }
                    () = told(&mut self.shutdown) => None,
                }
            }
            Applied::Interrupted => None,
        }
    }
}
