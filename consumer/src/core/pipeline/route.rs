//! One route in the pipeline: its limits, its batch size and its counts.

use std::sync::Arc;
use std::time::Duration;

use crate::core::pipeline::action::{PipelineLimits, RouteLimits};
use crate::core::pipeline::batch_size::BatchSize;
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::placement::Placement;
use crate::core::pipeline::throttle::Throttle;

/// The state of a route.
#[derive(Debug)]
pub(super) struct RouteState {
    pub(super) limits: RouteLimits,
    /// The value's member that holds the row's version, if the route has one.
    pub(super) version: Option<Arc<str>>,
    /// Where its keys belong, if that is looked at.
    pub(super) placement: Option<Placement>,
    /// Whether a misplaced record was already reported.
    pub(super) told_misplaced: bool,
    pub(super) size: BatchSize,
    pub(super) throttle: Throttle,
    /// How many times as long as a batch took the database is left alone. `None`: batches that are
    /// not worth writing yet always wait for their age.
    rest: Option<u32>,
    rests_until: Duration,
    /// Records folded.
    pub(super) records_read: u64,
}

/// How far a buffer has filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fill {
    /// Not worth writing yet.
    Filling,
    /// Worth writing.
    Ripe,
    /// Reading must pause.
    Full,
}

impl RouteState {
    pub(super) fn new(all: &PipelineLimits, limits: RouteLimits) -> Self {
        let ceilings = [all.rows_per_second, limits.rows_per_second];
        let lowest = ceilings.into_iter().flatten().min();
        Self {
            limits,
            version: None,
            placement: None,
            told_misplaced: false,
            size: BatchSize::new(all, lowest),
            throttle: Throttle::new(limits.rows_per_second),
            // Under a ceiling every row must stand for as many records as it can.
            rest: all.bounds.rest.filter(|_| lowest.is_none()),
            rests_until: Duration::ZERO,
            records_read: 0,
        }
    }

    /// How far a buffer has filled, by rows and bytes. One with an urgent record is worth writing.
    pub(super) fn fill(&self, buffer: &Buffer, max_bytes: usize) -> Fill {
        let (rows, bytes) = (buffer.rows(), buffer.bytes());
        if bytes >= max_bytes || rows >= self.size.full() {
            Fill::Full
        } else if rows >= self.size.target() || buffer.is_urgent() {
            Fill::Ripe
        } else {
            Fill::Filling
        }
    }

    /// Whether a batch may go that is not worth writing yet, because the database has little to do.
    pub(super) fn is_rested(&self, now: Duration) -> bool {
        self.rest.is_some() && now >= self.rests_until
    }

    /// A batch took this long, while this many routes have something to write.
    pub(super) fn rests(&mut self, now: Duration, took: Duration, routes: usize) {
        let times = self.rest.map_or(0, |times| times.saturating_mul(routes as u32));
        self.rests_until = now.saturating_add(took.saturating_mul(times));
    }

    /// A batch of `rows` has left.
    pub(super) fn went(&mut self, now: Duration, rows: usize) {
        self.throttle.charge(now, rows);
    }
}
