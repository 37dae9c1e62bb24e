//! What the pipeline shows of itself: takes its state, gives numbers for metrics and for people.

use std::time::Duration;

use crate::core::batch::Place;
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::action::{Doing, PartProgress, Progress, RouteProgress};
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::partition::{Fetching, Part};

impl Pipeline {
    /// What is held, and where the routes and the partitions stand.
    pub fn progress(&self, now: Duration) -> Progress {
        let in_flight_bytes = self.in_flight.values().map(|flight| flight.bytes).sum();
        Progress {
            open_rows: self.parts.values().filter_map(|p| Some(p.buffer.as_ref()?.rows())).sum(),
            open_bytes: self.room.held() - in_flight_bytes,
            in_flight_rows: self.in_flight.values().map(|flight| flight.rows).sum(),
            in_flight_bytes,
            routes: (0..self.lanes.len()).map(|route| self.route_progress(now, route)).collect(),
            parts: self.parts.iter().map(|(place, part)| self.part(*place, part)).collect(),
            stopped: self.stops.stopped().map(|(route, why)| (route, why.to_owned())).collect(),
        }
    }

    fn part(&self, place: Place, part: &Part) -> PartProgress {
        let flight = part.in_flight.and_then(|id| self.in_flight.get(&id));
        let on_its_way = flight.and_then(|flight| {
            flight.places.iter().find(|(other, _)| *other == place).and_then(|found| found.1)
        });
        PartProgress {
            place,
            reading: part.reading,
            leaving: !part.reading && part.epoch == 0,
            paused: part.fetching == Fetching::Paused,
            next: part.next,
            written: part.written,
            committed: self.commits.known(place),
            buffer_rows: part.buffer.as_ref().map_or(0, Buffer::rows),
            buffer_bytes: part.buffer.as_ref().map_or(0, Buffer::bytes),
            oldest: on_its_way.or_else(|| part.buffer.as_ref().and_then(Buffer::oldest)),
        }
    }

    fn route_progress(&self, now: Duration, route: usize) -> RouteProgress {
        let lane = &self.lanes[route];
        let parts = || self.parts.iter().filter(|(place, _)| place.route == route);
        let open = || parts().filter_map(|(_, part)| part.buffer.as_ref());
        let on_their_way = self.in_flight.values().filter(|flight| flight.route == route);
        let in_flight_rows = on_their_way.map(|flight| flight.rows).sum();
        let doing = if parts().any(|(place, part)| self.is_waiting(now, *place, part)) {
            let is_free =
                lane.throttle.is_free(now) && self.ceiling.is_free(now, lane.limits.priority);
            if is_free { Doing::Waiting } else { Doing::Throttled }
        } else if in_flight_rows > 0 {
            Doing::Writing
        } else if open().next().is_some() {
            Doing::Filling
        } else {
            Doing::Idle
        };
        RouteProgress {
            records_read: lane.records_read,
            records_written: lane.records_written,
            rows_written: lane.rows_written,
            target_rows: lane.size.target(),
            open_rows: open().map(Buffer::rows).sum(),
            open_bytes: open().map(Buffer::bytes).sum(),
            in_flight_rows,
            doing,
        }
    }
}
