//! A consumer process: the product's parts, put together as `run` does, with models at their ends.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use write_behind_consumer::apply::history::RouteHistory;
use write_behind_consumer::apply::{Connections, Target};
use write_behind_consumer::clock::Clock as _;
use write_behind_consumer::config::environment::Variables;
use write_behind_consumer::config::memory::MemoryLimits;
use write_behind_consumer::config::{Config, OnWrongPartition};
use write_behind_consumer::core::bookkeeping_key::BookkeepingKey;
use write_behind_consumer::core::pipeline::bounds::Bounds;
use write_behind_consumer::core::pipeline::placement::Placement;
use write_behind_consumer::core::pipeline::skips::SkipFacts;
use write_behind_consumer::kafka::bell::Bell;
use write_behind_consumer::kafka::locator::{LocateQueue, Locator};
use write_behind_consumer::kafka::messages::{PollExit, PollMessage, Work};
use write_behind_consumer::kafka::skip_looks::SkipQueue;
use write_behind_consumer::kafka::source::{Ends, Source};
use write_behind_consumer::kafka::watch::Watch;
use write_behind_consumer::run::workers::Workers;
use write_behind_consumer::status::Status;
use write_behind_shared::NextOffset;

use crate::clock::VirtualClock;
use crate::database::session::Connector;
use crate::executor::Task;
use crate::gate::{Ask, Gate, Grant};
use crate::kafka::log::Topics;
use crate::kafka::questions::Asker;
use crate::kafka::reader::MemberReader;
use crate::plan::Plan;
use crate::state::Handle;

const CONFIGURATION: &str = r#"
name = "pipeline"
[kafka]
"bootstrap.servers" = "broker:9092"
"session.timeout.ms" = "10000"
[database]
url = "sqlite://simulated.db"
[batch]
max_age = "100ms"
drain_time = "5s"
[[route]]
topic = "topic0"
table = "table0"
[[route]]
topic = "topic1"
table = "table1"
"#;

/// Workers of each connection, as in production.
const WORKERS: u64 = 2;

type ModelWorkers = Workers<Connector, Asker, Asker, VirtualClock>;

/// A process that lives.
pub struct Process {
    /// Of this life; a process that starts again is another one.
    pub id: u64,
    source: Option<Source<MemberReader, VirtualClock>>,
    pub tasks: Vec<Task>,
    orders: mpsc::Sender<PollMessage>,
    /// Dropping it ends the workers.
    _end_workers: watch::Sender<bool>,
    pub status: Arc<Status>,
    /// When the poll thread's loop turns next, if nothing comes.
    pub next_turn: Duration,
    pub is_frozen: bool,
    pub is_draining: bool,
}

/// The configuration of a plan's processes.
#[must_use]
pub fn configuration(plan: &Plan) -> Config {
    static BASE: OnceLock<Config> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        Config::read(CONFIGURATION, &Variables::default()).expect("a valid configuration")
    });
    let mut config = base.clone();
    config.routes.truncate(plan.partitions.len());
    config.batch.max_rows = plan.max_rows;
    config.database.connections = plan.workers;
    config.memory = MemoryLimits(plan.memory);
    config
}

/// The numbers of one process.
#[must_use]
pub fn status(config: &Config) -> Arc<Status> {
    // Not those of a `Consumer`: it makes a client of librdkafka, which takes real time.
    Arc::new(Status::without_client(config).expect("each metric once"))
}

/// The routes' tables.
#[must_use]
pub fn targets(plan: &Plan, config: &Config) -> Arc<[Target]> {
    let target = |(route, partitions): (usize, &i32)| Target {
        scope: BookkeepingKey {
            pipeline: "pipeline".to_owned(),
            cluster: "cluster".to_owned(),
            topic: Topics::name(route),
        },
        partitions: *partitions,
        table: format!("table{route}"),
        key: Vec::new(),
        columns: None,
        rename: Vec::new(),
        version: None,
        history: Arc::new(RouteHistory::new(config.bad_records)),
    };
    plan.partitions.iter().enumerate().map(target).collect()
}

/// A task and a queue for each worker.
fn worker_tasks(workers: &ModelWorkers, count: u64) -> (Vec<Task>, Vec<mpsc::Sender<Work>>) {
    let start = |number| {
        let (queue, batches) = mpsc::channel(1);
        let work = workers.clone().work(number, batches);
        (Task::new(&format!("worker {number}"), work), queue)
    };
    (0..count).map(start).unzip()
}

fn placements(plan: &Plan) -> Vec<Placement> {
    let on_wrong = OnWrongPartition::Tell;
    plan.partitions.iter().map(|count| Placement { partitions: *count, on_wrong }).collect()
}

impl Process {
    /// Starts a process, which joins the group.
    #[must_use]
    pub fn start(state: &Handle, plan: &Plan, id: u64) -> Self {
        let config = configuration(plan);
        let clock = state.clock();
        let (status, targets) = (status(&config), targets(plan, &config));
        let asker = Asker { state: state.clone(), process: id };
        let connect = Connector { state: state.clone(), process: id };
        let (orders, inbox) = mpsc::channel(plan.workers + 8);
        let (end_workers, shutdown) = watch::channel(false);
        let workers = Workers {
            connect: connect.clone(),
            log: Arc::new(asker.clone()),
            broker: asker.clone(),
            targets: Arc::clone(&targets),
            clock: clock.clone(),
            seed: id,
            status: Arc::clone(&status),
            answers: orders.clone(),
            bell: Arc::new(Bell::default()),
            connections: Arc::new(Connections::new(plan.workers)),
            shutdown,
        };
        let (mut tasks, queues) = worker_tasks(&workers, plan.workers as u64 * WORKERS);
        let (wanted, skips) = (Arc::new(LocateQueue::default()), Arc::new(SkipQueue::default()));
        let locator = Locator {
            targets: Arc::clone(&targets),
            connect,
            broker: asker.clone(),
            clock: clock.clone(),
            adopt_offsets: false,
            wanted: Arc::clone(&wanted),
            unclaimed: (0..targets.len()).collect::<BTreeSet<usize>>(),
            status: Arc::clone(&status),
            answers: orders.clone(),
        };
        tasks.push(Task::new("locator", locator.run()));
        let looks = look_at_skips(asker.clone(), Arc::clone(&skips), orders.clone());
        tasks.push(Task::new("looks", looks));
        let watch = Watch {
            broker: asker,
            clock: clock.clone(),
            targets: Arc::clone(&targets),
            patience: config.patience,
            servers: "broker".to_owned(),
            status: Arc::clone(&status),
            answers: orders.clone(),
        };
        tasks.push(Task::new("watch", watch.run()));
        let ends = Ends {
            workers: queues,
            inbox,
            wanted,
            skips,
            placements: placements(plan),
            status: Arc::clone(&status),
        };
        let bounds = Bounds { writers: plan.writers_max, ..Bounds::STANDARD };
        let reader = MemberReader { state: state.clone(), member: id };
        let next_turn = clock.now();
        let source = Source::new(&config, bounds, reader, clock, ends);
        Self {
            id,
            source: Some(source),
            tasks,
            orders,
            _end_workers: end_workers,
            status,
            next_turn,
            is_frozen: false,
            is_draining: false,
        }
    }

    /// How many bytes of rows it holds, by its last report.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let progress = self.status.snapshot().progress;
        progress.open_bytes + progress.in_flight_bytes
    }

    /// One turn of the poll thread; returns how it ended, if it did.
    pub fn turn(&mut self) -> Option<PollExit> {
        match self.source.as_mut()?.turn() {
            ControlFlow::Continue(()) => None,
            ControlFlow::Break(exit) => Some(exit),
        }
    }

    /// Asks it to write what it holds and end.
    pub fn drain(&mut self) -> bool {
        self.is_draining = self.orders.try_send(PollMessage::Drain).is_ok();
        self.is_draining
    }
}

/// Another client looks at what the first one has passed over. Stands in for `SkipLooks`, whose
/// client is librdkafka's.
async fn look_at_skips(asker: Asker, skips: Arc<SkipQueue>, answers: mpsc::Sender<PollMessage>) {
    loop {
        let wanted = skips.next().await;
        let limit = Duration::from_secs(10);
        let gate = Gate::new(&asker.state, asker.process, Ask::Kafka("a look"), limit);
        let is_answered = matches!(gate.await, Grant::Go | Grant::GoSlowly);
        for (tp, (id, look)) in &wanted {
            let found = if is_answered {
                let mut state = asker.state.lock();
                state.reach("skipped offsets were looked at");
                let log = state.topics.log(*tp);
                let records = log.records(look.start.0, look.end.0).count() as u64;
                Ok(SkipFacts { low: NextOffset(log.low), records, is_compacted: false })
            } else {
                Err("nobody answers".to_owned())
            };
            if answers.send(PollMessage::LookedAtSkip(*tp, *id, found)).await.is_err() {
                return;
            }
        }
        skips.answered(wanted);
    }
}
