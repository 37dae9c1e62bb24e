//! The world: it chooses, step by step, what happens next, until faults end and all comes to rest.

use std::collections::BTreeMap;
use std::time::Duration;

use write_behind_consumer::clock::Clock as _;
use write_behind_consumer::kafka::messages::PollExit;

use crate::choices::Choices;
use crate::clock::VirtualClock;
use crate::database::DatabaseModel;
use crate::executor::Task;
use crate::gate::{Gates, Waiting};
use crate::history::{Happened, History};
use crate::kafka::group::GroupModel;
use crate::kafka::log::Topics;
use crate::kafka::reader::Fetchers;
use crate::oracle::{Oracle, Violation};
use crate::plan::{Fault, Plan};
use crate::process::Process;
use crate::state::{Handle, State};
use crate::writers::Writers;

/// The most bytes that a record may take beyond the memory that there is.
const RECORD_BYTES: usize = 1 << 10;

/// A place for a process.
pub enum Slot {
    Alive(Box<Process>),
    /// Nobody is there until then.
    Empty(Duration),
}

/// What a history came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub plan: Plan,
    pub violation: Option<Violation>,
    pub choices: Choices,
    pub lines: Vec<Happened>,
    pub steps: u64,
    pub virtual_time: Duration,
    pub crashes: u64,
    pub faults: u64,
    pub commits: u64,
    pub records: usize,
    pub reached: BTreeMap<&'static str, u64>,
}

/// A history under way.
pub struct World {
    pub state: Handle,
    pub clock: VirtualClock,
    pub slots: Vec<Slot>,
    pub writers: Writers,
    pub crashes: u64,
    pub faults: u64,
    /// Refusals without a reason so far: a few are a server's, many would be a record's.
    pub uncertain: u32,
    /// Whether somebody has refused to go on, as somebody must.
    pub has_refused: bool,
    steps: u64,
    last_process: u64,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Task,
    Gate,
    Turn,
    Group,
    Server,
    Write,
    Time,
    EarlyTurn,
    Fault,
}

/// Each with how likely it is while all of them can happen.
const NEXT: [(Next, u32); 9] = [
    (Next::Task, 40),
    (Next::Gate, 40),
    (Next::Turn, 12),
    (Next::Group, 8),
    (Next::Server, 4),
    (Next::Write, 6),
    (Next::Time, 4),
    (Next::EarlyTurn, 3),
    (Next::Fault, 3),
];

/// One history, from its choices.
#[must_use]
pub fn simulate(choices: Choices, is_told: bool) -> Outcome {
    let mut choices = choices;
    let plan = Plan::chosen(&mut choices);
    simulate_plan(choices, plan, is_told)
}

/// The same in a world that is given.
#[must_use]
pub fn simulate_plan(choices: Choices, plan: Plan, is_told: bool) -> Outcome {
    let mut world = World::new(choices, &plan, is_told);
    for _ in 0..plan.steps {
        if world.is_over() {
            break;
        }
        world.step();
    }
    world.heal();
    let mut state = world.state.lock();
    let outcome = Outcome {
        plan,
        violation: state.violation.take(),
        choices: state.choices.clone(),
        lines: std::mem::take(&mut state.history.lines),
        steps: world.steps,
        virtual_time: world.clock.now(),
        crashes: world.crashes,
        faults: world.faults,
        commits: state.database.commits,
        records: world.writers.written,
        reached: std::mem::take(&mut state.reached),
    };
    drop(state);
    outcome
}

/// The models of a plan, before anything has happened.
#[must_use]
pub fn new_state(choices: Choices, plan: Plan, is_told: bool) -> State {
    let topics = Topics::new(&plan.partitions);
    State {
        gates: Gates::default(),
        group: GroupModel::new(topics.tps(), plan.is_eager),
        fetchers: Fetchers::default(),
        database: DatabaseModel::new(plan.partitions.len(), plan.has_check, plan.has_references),
        oracle: Oracle::default(),
        history: History { is_told, ..History::default() },
        violation: None,
        is_healed: false,
        reached: BTreeMap::new(),
        choices,
        topics,
        plan,
    }
}

impl World {
    fn new(choices: Choices, plan: &Plan, is_told: bool) -> Self {
        let clock = VirtualClock::default();
        let state = new_state(choices, plan.clone(), is_told);
        let mut world = Self {
            state: Handle::new(state, clock.clone()),
            clock,
            slots: Vec::new(),
            writers: Writers::default(),
            crashes: 0,
            faults: 0,
            uncertain: 0,
            has_refused: false,
            steps: 0,
            last_process: 0,
        };
        world.state.lock().history.tell("oracle", || format!("{plan:?}"));
        for _ in 0..plan.processes {
            world.slots.push(Slot::Empty(Duration::ZERO));
        }
        world.start_due();
        world
    }

    pub fn is_over(&self) -> bool {
        self.state.lock().violation.is_some()
    }

    /// One step: something that can happen does.
    fn step(&mut self) {
        self.count_step();
        let possible = self.possible();
        let weights: Vec<u32> = NEXT
            .iter()
            .zip(possible)
            .map(|((_, weight), is_possible)| if is_possible { *weight } else { 0 })
            .collect();
        let at = self.state.lock().choices.weighted(&weights);
        match NEXT[at].0 {
            Next::Task => drop(self.run_task(false)),
            Next::Gate => self.open_gate(),
            Next::Turn => self.turn(true),
            Next::EarlyTurn => self.turn(false),
            Next::Group => self.group(),
            Next::Server => self.end_abandoned(),
            Next::Write => self.write(),
            Next::Time => self.leap(),
            Next::Fault => self.fault(),
        }
        self.start_due();
    }

    pub fn count_step(&mut self) {
        self.steps += 1;
        let mut state = self.state.lock();
        (state.history.step, state.history.now) = (self.steps, self.clock.now());
    }

    fn possible(&self) -> [bool; 9] {
        let now = self.clock.now();
        let runs = self.running();
        let due = |process: &&Process| process.next_turn <= now;
        let state = self.state.lock();
        let weights = &state.plan.weights;
        [
            runs.iter().any(|process| process.tasks.iter().any(Task::is_ready)),
            state.gates.waiting.iter().any(|one| can_pass(&state, one)),
            runs.iter().any(due),
            state.group.has_work(now),
            state.database.sessions.values().any(|session| session.is_abandoned),
            self.writers.written < state.plan.records,
            true,
            !runs.is_empty(),
            weights.iter().any(|weight| *weight > 0),
        ]
    }

    /// The processes that can go on.
    pub fn running(&self) -> Vec<&Process> {
        self.slots
            .iter()
            .filter_map(|slot| match slot {
                Slot::Alive(process) if !process.is_frozen => Some(&**process),
                _ => None,
            })
            .collect()
    }

    pub fn running_mut(&mut self) -> Vec<&mut Process> {
        self.slots
            .iter_mut()
            .filter_map(|slot| match slot {
                Slot::Alive(process) if !process.is_frozen => Some(&mut **process),
                _ => None,
            })
            .collect()
    }

    /// Polls a task that is ready; the first one, if nobody chooses.
    pub fn run_task(&mut self, is_first: bool) -> bool {
        let ready = |process: &Process| {
            let tasks = process.tasks.iter().enumerate();
            tasks.filter(|(_, task)| task.is_ready()).map(|(at, _)| at).collect::<Vec<_>>()
        };
        let places: Vec<(usize, usize)> = self
            .running()
            .iter()
            .enumerate()
            .flat_map(|(process, one)| ready(one).into_iter().map(move |task| (process, task)))
            .collect();
        if places.is_empty() {
            return false;
        }
        let at = if is_first { 0 } else { self.state.lock().choices.below(places.len()) };
        let (process, task) = places[at];
        let process = self.running_mut().swap_remove(process);
        if process.tasks[task].poll() {
            let (id, ended) = (process.id, process.tasks.remove(task).name.clone());
            if !process.is_draining && ended != "locator" {
                self.state.lock().violated("I12 no task ends by itself", || {
                    format!("the {ended} of process {id} has ended")
                });
            }
        }
        true
    }

    /// A turn of a poll thread: one that is due, or any.
    fn turn(&mut self, is_due: bool) {
        let now = self.clock.now();
        let may = |process: &&Process| !is_due || process.next_turn <= now;
        let ids: Vec<u64> = self.running().into_iter().filter(may).map(|one| one.id).collect();
        if ids.is_empty() {
            return;
        }
        let (id, wait) = {
            let mut state = self.state.lock();
            let waits = [50, 200, 1_000];
            let wait = if state.is_healed { 0 } else { state.choices.weighted(&[6, 2, 1]) };
            let at = if state.is_healed { 0 } else { state.choices.below(ids.len()) };
            (ids[at], Duration::from_millis(waits[wait]))
        };
        self.turn_of(id, now + wait);
    }

    pub fn turn_of(&mut self, id: u64, next: Duration) {
        let process = self.running_mut().into_iter().find(|process| process.id == id);
        let Some(process) = process else { return };
        process.next_turn = next;
        let exit = process.turn();
        let held = process.held_bytes();
        let mut state = self.state.lock();
        let most = state.plan.memory / 2 + RECORD_BYTES * (1 + state.topics.tps().len());
        if held > most {
            state.violated("I9 memory is bounded", || {
                format!("process {id} holds {held} bytes, and {most} are the most")
            });
        }
        drop(state);
        if let Some(exit) = exit {
            self.ended(id, &exit);
        }
    }

    fn ended(&mut self, id: u64, exit: &PollExit) {
        let mut state = self.state.lock();
        state.history.tell_of(id, || format!("ends: {exit:?}"));
        let weight = |fault| state.plan.weight(fault) > 0;
        match exit {
            PollExit::Drained { .. } => state.reach("a process has drained"),
            PollExit::Refused(_) if state.plan.may_refuse() => {
                self.has_refused = true;
                state.reach("a process refused to go on");
            }
            PollExit::Failed(why)
                if why.contains("does not deliver")
                    && (weight(Fault::Skip) || weight(Fault::Stall)) =>
            {
                state.reach("a process ended because its client is beyond repair");
            }
            other => state.violated("I12 nobody ends for nothing", || {
                format!("process {id} has ended: {other:?}")
            }),
        }
        drop(state);
        let until = self.clock.now() + Duration::from_secs(1);
        self.remove(id, until);
        let mut state = self.state.lock();
        state.group.leave(id, 0);
    }

    /// Takes a process away, as if it had never been told.
    pub fn remove(&mut self, id: u64, until: Duration) {
        let is_it = |slot: &&mut Slot| matches!(slot, Slot::Alive(process) if process.id == id);
        let Some(slot) = self.slots.iter_mut().find(is_it) else { return };
        // Not under the lock: what it drops takes it.
        drop(std::mem::replace(slot, Slot::Empty(until)));
        self.state.lock().fetchers.0.remove(&id);
    }

    /// Starts the processes whose time has come.
    pub fn start_due(&mut self) {
        let now = self.clock.now();
        for at in 0..self.slots.len() {
            if !matches!(self.slots[at], Slot::Empty(until) if until <= now) || self.has_refused {
                continue;
            }
            self.last_process += 1;
            let id = self.last_process;
            let plan = {
                let mut state = self.state.lock();
                // A process may come back with other settings.
                let most = state.plan.max_rows;
                let less = state.choices.below(most);
                Plan { max_rows: most - less, ..state.plan.clone() }
            };
            self.slots[at] = Slot::Alive(Box::new(Process::start(&self.state, &plan, id)));
            let mut state = self.state.lock();
            state.history.tell_of(id, || "starts".to_owned());
            state.group.join(id, id as usize);
        }
    }

    fn write(&mut self) {
        let Self { writers, state, .. } = self;
        writers.write(&mut state.lock());
    }
}

/// Whether a call at a gate could go on now.
#[must_use]
pub fn can_pass(state: &State, one: &Waiting) -> bool {
    let is_free = one.blocked.is_none_or(|(lock, session)| {
        state.database.is_free(session, lock) || !state.database.sessions.contains_key(&session)
    });
    one.grant.is_none() && !one.hangs && is_free
}
