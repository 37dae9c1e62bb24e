//! What a pipeline will need, from its expected load and from measured costs.
//!
//! The model: writes fall on the rows in use at random. While the log brings more writes than the
//! database takes rows, buffers fold them, and a row is written once a *round*: the time in which
//! the database takes as many rows as the writes of that time touch. Everything else follows from
//! the round: the fold ratio, the lag, what buffers must hold, and where it ends.

use serde::Serialize;

use crate::core::defaults;
use crate::core::memory::MemoryLimits;
use crate::core::pipeline::bounds::Bounds;
use crate::core::plan::costs::Costs;
use crate::core::plan::spread::Spread;

pub mod costs;
mod spread;

/// The expected load of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlannedLoad {
    /// Writes a second, over all services.
    pub writes_per_second: f64,
    /// Rows a second that the database takes, over all connections.
    pub rows_per_second: f64,
    /// Different rows that are written within `window`.
    pub rows_in_window: f64,
    /// Seconds.
    pub window: f64,
    /// Bytes of a record's key and value.
    pub record_bytes: f64,
    /// Seconds that the database may be away for.
    pub outage: f64,
    /// Partitions of the topic, if that is decided.
    pub partitions: Option<u32>,
}

/// What it needs, and what to expect. Times are in seconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sizing {
    /// Writes that become one row.
    pub fold: f64,
    /// About how old the oldest write is when it reaches the database, while all is well.
    pub lag: f64,
    /// Partitions of the topic.
    pub partitions: u32,
    /// How long Kafka must keep records.
    pub retention: f64,
    /// What a second adds to the log, without replicas and before compression.
    pub log_bytes_per_second: f64,
    /// Consumer processes.
    pub consumers: u32,
    /// Connections of each.
    pub connections: u32,
    /// CPU seconds a second, over all consumers.
    pub consumer_cores: f64,
    /// `batch.max_rows`.
    pub max_rows: u64,
    /// `batch.max_bytes`.
    pub max_bytes: u64,
    /// `batch.target_time`.
    pub target_time: f64,
    /// `memory.buffers` of each.
    pub buffers: u64,
    /// CPU seconds a second, over all services.
    pub service_cores: f64,
    /// What services hold of rows that are not in the database while all is well, over all of them.
    pub pending_bytes: f64,
    /// The same at the end of an outage of the database: what `max_pending` must have room for.
    pub pending_bytes_in_outage: f64,
    /// Records that wait in the log at the end of an outage.
    pub backlog: f64,
    /// How long the consumers take to catch up after it.
    pub catch_up: f64,
    /// What ends it first, and next.
    pub limits: Vec<WritesLimit>,
}

/// Writes a second at which something ends.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WritesLimit {
    /// What ends.
    pub what: &'static str,
    /// The writes per second that it can take.
    pub writes_per_second: f64,
    /// What to do about it.
    pub mend: &'static str,
}

/// Why there is no such pipeline.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// Nothing folds, and the database is too slow.
    #[error(
        "nothing folds: {rows} different rows are written in {writes} writes, and the database takes \
         {takes} rows a second of {brings} writes a second. The log would grow without end. Either \
         the database takes as many rows as there are writes, or the window is too short to see rows \
         written again: count the different rows of a longer one"
    )]
    NothingFolds {
        /// Different rows in the window.
        rows: f64,
        /// Writes in the window.
        writes: f64,
        /// What the database takes.
        takes: f64,
        /// What the log brings.
        brings: f64,
    },
}

/// Partitions unless more are needed.
const PARTITIONS: u32 = 12;
/// The share of a consumer's poll thread that is planned for: the rest catches up.
const BUSY: f64 = 0.5;
/// Buffers are planned larger than their mean by this, since rows are never spread evenly.
const UNEVEN: f64 = 1.25;
const DAY: f64 = 86_400.0;

/// What `load` needs at these costs.
pub fn plan(load: &PlannedLoad, costs: &Costs) -> Result<Sizing, PlanError> {
    let PlannedLoad { writes_per_second: writes, rows_per_second: rows, record_bytes, .. } = *load;
    let spread = Spread::of(load.rows_in_window, writes * load.window);
    let round = spread.round(writes, rows);
    if round.is_infinite() {
        return Err(PlanError::NothingFolds {
            rows: load.rows_in_window,
            writes: writes * load.window,
            takes: rows,
            brings: writes,
        });
    }
    let workers = Workers::of(load, costs);
    let held = Held::of(load, costs, &workers, rows * round);
    let fold = if round > 0.0 { writes / rows } else { writes_in_batch(spread, writes) };
    // The oldest write of a row came at the beginning of a round, and is in the database at the end
    // of its batch, which takes the target time or its partition's turn.
    let turn = round * f64::from(workers.in_all()) / f64::from(workers.partitions);
    let lag = if round > 0.0 {
        round + turn.max(held.target_time)
    } else {
        defaults::MAX_AGE.as_secs_f64()
    };

    let sustained = held.sustains(spread, rows, workers.partitions);
    let reads = f64::from(workers.consumers) / costs.record;
    let backlog = writes * load.outage;
    let catch_up = backlog / (sustained.min(reads) - writes);
    let kept = ((load.outage + catch_up) * 2.0 / DAY).ceil().max(1.0) * DAY;
    let pending =
        |seconds: f64| spread.distinct(writes * seconds) * (record_bytes + costs.pending_row);
    let mut limits = vec![
        WritesLimit {
            what: "buffers of the consumers",
            writes_per_second: sustained,
            mend: "raise batch.max_rows, batch.target_time and memory.buffers, or let the database take more rows",
        },
        WritesLimit {
            what: "reading in the consumers",
            writes_per_second: reads,
            mend: "run more consumers; each needs partitions of its own",
        },
    ];
    limits.sort_by(|a, b| a.writes_per_second.total_cmp(&b.writes_per_second));
    Ok(Sizing {
        fold,
        lag,
        partitions: workers.partitions,
        retention: kept,
        log_bytes_per_second: writes * record_bytes,
        consumers: workers.consumers,
        connections: workers.connections,
        consumer_cores: writes * costs.record + writes.min(rows) * costs.row,
        max_rows: held.max_rows as u64,
        max_bytes: held.max_bytes as u64,
        target_time: held.target_time,
        buffers: held.buffers as u64,
        service_cores: writes * costs.put,
        pending_bytes: pending(lag),
        pending_bytes_in_outage: pending(lag + load.outage),
        backlog,
        catch_up,
        limits,
    })
}

/// Writes a row that a batch of `max_age` holds, while the database keeps up.
fn writes_in_batch(spread: Spread, writes_per_second: f64) -> f64 {
    let writes = writes_per_second * defaults::MAX_AGE.as_secs_f64();
    writes / spread.distinct(writes)
}

/// Who reads and who writes.
struct Workers {
    consumers: u32,
    connections: u32,
    partitions: u32,
}

impl Workers {
    fn of(load: &PlannedLoad, costs: &Costs) -> Self {
        let consumers = (load.writes_per_second * costs.record / BUSY).ceil().max(1.0);
        // Two, so that one judges and sends while the database works for the other.
        let connections =
            (load.rows_per_second / costs.connection_rows / consumers).ceil().max(1.0) + 1.0;
        let (consumers, connections) = (consumers as u32, connections as u32);
        // As many partitions as transactions at least, twice over so that one may wait while the
        // other is written; in steps of a number that divides well.
        let needed = (2 * consumers * connections).div_ceil(PARTITIONS) * PARTITIONS;
        Self { consumers, connections, partitions: load.partitions.unwrap_or(needed).max(1) }
    }

    /// Connections of all consumers: no more are busy than there are partitions.
    fn in_all(&self) -> u32 {
        (self.consumers * self.connections).min(self.partitions)
    }
}

/// What consumers must hold.
struct Held {
    max_rows: f64,
    max_bytes: f64,
    target_time: f64,
    buffers: f64,
    /// Rows of a partition at which it is paused.
    full: f64,
}

impl Held {
    /// What holds `rows` rows over all partitions.
    fn of(load: &PlannedLoad, costs: &Costs, workers: &Workers, rows: f64) -> Self {
        let row_bytes = load.record_bytes + costs.buffered_row;
        let denser = Bounds::STANDARD.denser as f64;
        let of_a_partition = (rows / f64::from(workers.partitions) * UNEVEN).ceil();
        // The batch size follows the target time, and a buffer folds up to `denser` times that.
        let pace = load.rows_per_second / f64::from(workers.in_all());
        let shortest = defaults::TARGET_TIME.as_secs_f64();
        let target_time = (of_a_partition / denser / pace).ceil().max(shortest);
        let max_rows = of_a_partition.max(defaults::MAX_ROWS as f64);
        let full = max_rows.min(denser * pace * target_time);
        let batch = of_a_partition * row_bytes;
        let max_bytes = batch.max(defaults::MAX_BYTES as f64);
        let folded = rows * UNEVEN * row_bytes / f64::from(workers.consumers);
        let connections = workers.connections as usize;
        let needed = MemoryLimits::holding(folded as usize, batch as usize, connections);
        let buffers = needed.0.max(defaults::BUFFERS) as f64;
        Self { max_rows, max_bytes, target_time, buffers, full }
    }

    /// Writes per second that the database can take when buffers are full, which is when each row
    /// folds the most writes.
    fn sustains(&self, spread: Spread, rows_per_second: f64, partitions: u32) -> f64 {
        let rows = self.full * f64::from(partitions);
        rows_per_second * spread.writes_for(rows) / rows
    }
}

#[cfg(test)]
mod tests;
