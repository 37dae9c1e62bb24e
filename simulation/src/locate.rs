//! Where a partition stands, asked while its last owner still writes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;
use write_behind_consumer::core::batch::RoutePartition;
use write_behind_consumer::kafka::locator::{LocateQueue, Locator};
use write_behind_consumer::kafka::messages::PollMessage;
use write_behind_shared::{NextOffset, Partition};

use crate::choices::Choices;
use crate::clock::VirtualClock;
use crate::database::session::Connector;
use crate::executor::Task;
use crate::gate::Grant;
use crate::kafka::questions::Asker;
use crate::plan::Plan;
use crate::process::targets;
use crate::state::Handle;
use crate::world::new_state;

const TP: RoutePartition = RoutePartition { route: 0, partition: Partition(0) };

/// A plain world of one partition, whose last owner is about to commit.
fn world() -> (Handle, Plan) {
    let clock = VirtualClock::default();
    let mut choices = Choices::tape(&[]);
    let plan = Plan::chosen(&mut choices);
    let state = Handle::new(new_state(choices, plan.clone(), false), clock);
    state.lock().database.committed.offsets.insert(TP, (NextOffset(0), 1));
    let mut log = state.lock();
    log.topics.log_mut(TP).append_marker();
    log.topics.log_mut(TP).append_marker();
    drop(log);
    (state, plan)
}

/// The last owner commits two records of a writer.
fn commit(state: &Handle) {
    let mut state = state.lock();
    let committed = &mut state.database.committed;
    committed.offsets.insert(TP, (NextOffset(2), 1));
    committed.writers.insert((TP, Uuid::from_u128(1)), (1, 1));
}

/// What the locator says if the commit comes before the call of this number.
fn located(commit_before: usize) -> (NextOffset, usize, usize) {
    let (state, plan) = world();
    let (answers, mut heard) = mpsc::channel(8);
    let wanted = Arc::new(LocateQueue::default());
    let config = crate::process::configuration(&plan);
    let locator = Locator {
        targets: targets(&plan, &config),
        connect: Connector { state: state.clone(), process: 1 },
        broker: Asker { state: state.clone(), process: 1 },
        clock: state.clock(),
        adopt_offsets: false,
        wanted: Arc::clone(&wanted),
        unclaimed: BTreeSet::new(),
        status: crate::process::status(&config),
        answers,
    };
    wanted.ask([(TP, 1)]);
    let mut task = Task::new("locator", locator.run());
    for call in 0.. {
        if task.is_ready() {
            task.poll();
        }
        if let Ok(PollMessage::Located(found)) = heard.try_recv() {
            return (found[0].next, found[0].writers.len(), call);
        }
        if call == commit_before {
            commit(&state);
        }
        let mut state_now = state.lock();
        if state_now.gates.waiting.is_empty() {
            drop(state_now);
            let clock = state.clock();
            clock.advance_to(state.now() + Duration::from_millis(100));
        } else {
            state_now.gates.open(0, Grant::Go);
        }
    }
    unreachable!()
}

#[test]
fn a_partition_is_located_with_the_writers_of_its_own_offset_whenever_it_is_written() {
    let (next, writers, calls) = located(usize::MAX);
    assert_eq!((next, writers), (NextOffset(0), 0));
    for commit_before in 0..calls {
        let (next, writers, _) = located(commit_before);
        let is_of_one_moment = matches!((next.0, writers), (0, 0) | (2, 1));
        assert!(is_of_one_moment, "{next} with {writers} writers, before call {commit_before}");
    }
}
