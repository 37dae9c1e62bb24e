//! How the pipeline gives a batch back that waits for a row, where memory is too short to wait with it.
//!
//! The row may stand in the log of a partition that there is no memory to read while the batch is
//! kept. So the batch is dropped, and its partitions are held: what is ahead is read and written
//! first, and their records are read again after that. A row that the log has is waited for however
//! little memory there is.

use std::time::Duration;

use crate::core::batch::{Batch, BatchId, RoutePartition};
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::ahead::{Ahead, Survey};
use crate::core::pipeline::in_flight::InFlight;
use crate::core::pipeline::parked::{GivenBack, ParkedBatch};

const WHY: &str =
    "a row refers to one that is missing, and the memory is needed to read what may bring it";

impl Pipeline {
    /// Whether a parked batch must be given back: it waits for what can't be read beside it.
    pub(super) fn must_give_back(
        &self,
        now: Duration,
        flight: &InFlight,
        parked: &ParkedBatch,
    ) -> bool {
        self.budget.is_over_limit(self.routes[flight.route].limits.priority)
            && parked.ahead().iter().any(|ahead| self.still_comes(now, flight, ahead))
    }

    /// Gives a parked batch back.
    pub(super) fn give_back(
        &mut self,
        now: Duration,
        id: BatchId,
        flight: &InFlight,
        parked: &ParkedBatch,
        batch: &Batch,
    ) {
        for span in &batch.spans {
            let tp = RoutePartition { route: flight.route, partition: span.partition };
            // One that was released, and perhaps assigned again, is another one now.
            if let Some(partition) = self.partitions.get_mut(&tp)
                && partition.in_flight == Some(id)
            {
                let ahead = parked.ahead().to_vec();
                partition.given_back = Some(GivenBack { end: span.end, ahead });
            }
        }
        self.hold_flight(now, id, flight, WHY);
    }

    /// What a batch that has failed for the first time waits for. If it was given back, that is what
    /// it waited for then: with a new list each time, a row that never comes would be waited for as
    /// long as memory is short.
    pub(super) fn waits_for(
        &self,
        now: Duration,
        flight: &InFlight,
        batch: &Batch,
        survey: &Survey,
    ) -> Vec<Ahead> {
        let mut known: Vec<Ahead> = Vec::new();
        for span in &batch.spans {
            let tp = RoutePartition { route: flight.route, partition: span.partition };
            let before = self.partitions.get(&tp).and_then(|it| it.given_back.as_ref());
            match before.filter(|before| before.end >= span.end) {
                Some(before) => known.extend(&before.ahead),
                None => return self.ahead_of(now, flight, survey),
            }
        }
        for ahead in &mut known {
            ahead.look(now, survey);
        }
        let is_own = |tp| flight.tps.iter().any(|(own, _)| *own == tp);
        known.retain(|ahead| !is_own(ahead.tp) && !self.has_come(ahead));
        known
    }

    /// Whether the records of a held partition need not be read again yet, because what they wait for
    /// is on its way here. A partition of another process, or without a leader, is looked at by
    /// trying.
    pub(super) fn waits_given_back(&mut self, now: Duration, tp: RoutePartition) -> bool {
        let found = self.partitions.get_mut(&tp).and_then(|partition| partition.given_back.take());
        let Some(mut given_back) = found else { return false };
        let waits = given_back.ahead.iter_mut().any(|ahead| {
            let Some(partition) = self.partitions.get(&ahead.tp) else { return false };
            ahead.stands(now, partition.written);
            ahead.end.is_some()
                && !self.has_come(ahead)
                && !ahead.is_stalled(now, self.stalled_after)
        });
        if let Some(partition) = self.partitions.get_mut(&tp) {
            partition.given_back = Some(given_back);
        }
        waits
    }
}

#[cfg(test)]
#[path = "tests/give_back.rs"]
mod tests;
