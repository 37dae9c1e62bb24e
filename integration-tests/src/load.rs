//! A service under load: tasks that write without pause through one handle, and what each of their
//! writes was told.
//!
//! Every write can be told from every other in the log: it leaves its name in the row, or it is a
//! delete of a row that only its task writes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use write_behind_producer::{Change, DeliveryError, Receipt, WriteBehind, WriteError};

use crate::figures::Pace;
use crate::random::Random;

/// The table's columns.
pub const COLUMNS: &str = "id text primary key, n bigint, by text";
/// One write in this many is read back by its task.
const READ_BACK_EVERY: u64 = 64;

/// What the service writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Set by puts, added to by increments.
    pub n: i64,
    /// The name of the write.
    pub by: String,
}

/// The handle under load.
pub type Cache = WriteBehind<String, Row>;

/// How a load is made up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Begins the names of its writes.
    pub name: String,
    /// What it chooses by.
    pub seed: u64,
    /// Tasks that write at the same time.
    pub tasks: Range<u64>,
    /// Rows that each task writes alone, and as many again that all add to.
    pub keys: u64,
    /// Writes of each task in a second.
    pub per_second: u64,
    /// No other service has tasks of these numbers, so each finds in its rows what it wrote.
    pub alone: bool,
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// All columns of a row that no other task writes.
    Put,
    /// An increment of a row that all tasks add to.
    Add,
    /// A delete of a row that no other task writes.
    Delete,
}

/// A write that was asked for, and the answer.
#[derive(Debug)]
pub struct Made {
    /// The task.
    pub task: u64,
    /// Its own name.
    pub name: String,
    /// The row.
    pub key: String,
    /// What it does.
    pub operation: Operation,
    /// Its ticket, or why there is none.
    pub answer: Result<Receipt, WriteError>,
}

/// How a write ended, as its caller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On all in-sync replicas.
    Replicated,
    /// Not in the log, and never will be.
    Failed,
    /// It cannot be told.
    Unknown,
    /// Not accepted.
    Refused,
}

/// A write and how it ended.
#[derive(Debug)]
pub struct Told {
    /// The write.
    pub made: Made,
    /// Its end.
    pub outcome: Outcome,
}

/// The tasks at work. They end with it.
#[derive(Debug)]
pub struct Load {
    counts: Arc<Counts>,
    made: UnboundedReceiver<Made>,
    tasks: JoinSet<Result<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    stop: AtomicBool,
    accepted: AtomicU64,
    refused: AtomicU64,
    /// Callers inside a write now.
    waiting: AtomicU64,
}

struct Task {
    plan: Plan,
    number: u64,
    cache: Cache,
    random: Random,
    counts: Arc<Counts>,
    made: UnboundedSender<Made>,
}

impl Plan {
    /// Every row that it may write.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        let own = |task: u64| (0..self.keys).map(move |key| own(task, key));
        self.tasks.clone().flat_map(own).chain((0..self.keys).map(shared))
    }
}

impl Load {
    /// Begins to write.
    pub fn start(plan: &Plan, cache: &Cache) -> Self {
        let (counts, (sender, made)) = (Arc::new(Counts::default()), unbounded_channel());
        let mut tasks = JoinSet::new();
        for task in plan.tasks.clone() {
            let random = Random::from_seed(plan.seed.wrapping_add(task));
            let (plan, cache) = (plan.clone(), cache.clone());
            let (counts, made) = (Arc::clone(&counts), sender.clone());
            tasks.spawn(Task { plan, number: task, cache, random, counts, made }.run());
        }
        Self { counts, made, tasks }
    }

    /// Writes accepted so far.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Acquire)
    }

    /// Writes refused so far.
    pub fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Acquire)
    }

    /// Callers that wait inside a write.
    pub fn waiting(&self) -> u64 {
        self.counts.waiting.load(Ordering::Acquire)
    }

    /// The next write that was asked for.
    pub async fn next(&mut self) -> Option<Made> {
        self.made.recv().await
    }

    /// Ends the tasks and waits until each write was told its end. In the order of each task.
    pub async fn told(mut self, patience: Duration) -> Result<Vec<Told>> {
        self.counts.stop.store(true, Ordering::Release);
        let ended = async {
            while let Some(task) = self.tasks.join_next().await {
                task??;
            }
            let mut all = Vec::new();
            while let Some(made) = self.made.recv().await {
                let outcome = outcome(&made).await;
                all.push(Told { made, outcome });
            }
            anyhow::Ok(all)
        };
        tokio::time::timeout(patience, ended).await.context("some writes were never told")?
    }
}

impl Task {
    async fn run(mut self) -> Result<()> {
        let pace = Pace::of(self.plan.per_second);
        for done in 0.. {
            if self.counts.stop.load(Ordering::Acquire) {
                break;
            }
            pace.keep(done).await;
            let name = format!("{}:{}:{done}", self.plan.name, self.number);
            self.write(name, done).await?;
        }
        Ok(())
    }

    async fn write(&mut self, name: String, done: u64) -> Result<()> {
        let key = self.random.below(self.plan.keys);
        let (operation, key) = match self.random.below(10) {
            0..5 => (Operation::Put, own(self.number, key)),
            5..9 => (Operation::Add, shared(key)),
            _ => (Operation::Delete, own(self.number, key)),
        };
        let row = Row { n: done as i64, by: name.clone() };
        self.counts.waiting.fetch_add(1, Ordering::AcqRel);
        let answer = match operation {
            Operation::Put => self.cache.put(&key, &row).await,
            Operation::Add => {
                let change = Change::new().add("n", 1).set("by", &name)?;
                self.cache.change(&key, change).await
            }
            Operation::Delete => self.cache.delete(&key).await,
        };
        self.counts.waiting.fetch_sub(1, Ordering::AcqRel);
        match &answer {
            Ok(_) => self.counts.accepted.fetch_add(1, Ordering::AcqRel),
            Err(WriteError::Overloaded(_)) => self.counts.refused.fetch_add(1, Ordering::AcqRel),
            Err(error) => return Err(error.clone()).context(name),
        };
        let read_back = self.plan.alone && done.is_multiple_of(READ_BACK_EVERY);
        if read_back && answer.is_ok() && operation == Operation::Put {
            let read = self.cache.get(&key).await?;
            ensure!(read.as_ref() == Some(&row), "{key} reads {read:?} right after {row:?}");
        }
        // The receiver is gone when the test has ended.
        let _ = self.made.send(Made { task: self.number, name, key, operation, answer });
        Ok(())
    }
}

/// Waits for the end of a write.
pub async fn outcome(made: &Made) -> Outcome {
    let Ok(write) = &made.answer else { return Outcome::Refused };
    match write.replicated().await {
        Ok(()) => Outcome::Replicated,
        Err(DeliveryError::Failed(_)) => Outcome::Failed,
        Err(_) => Outcome::Unknown,
    }
}

fn own(task: u64, key: u64) -> String {
    format!("own-{task}-{key}")
}

fn shared(key: u64) -> String {
    format!("shared-{key}")
}
