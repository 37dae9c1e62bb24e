//! `plan`: prints what a pipeline will need, before there is one.

use std::time::Duration;

use clap::Args;
use write_behind_consumer::config::units::HumanDuration;
use write_behind_consumer::plan::costs::Costs;
use write_behind_consumer::plan::{PlanError, PlannedLoad, Sizing, plan};

use crate::command::{DONE, REFUSED};

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Writes a second, over all services.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    writes: f64,
    /// Rows a second that the database takes.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    rows: f64,
    /// Different rows that are written within the window.
    #[arg(long, value_name = "ROWS", value_parser = positive)]
    keys: f64,
    /// The window in which `--keys` were counted, such as `1m`.
    #[arg(long, default_value = "1m", value_parser = duration)]
    window: Duration,
    /// Bytes of a record's key and value.
    #[arg(long, default_value = "100", value_name = "BYTES", value_parser = positive)]
    bytes: f64,
    /// The longest outage of the database to be prepared for, such as `6h`.
    #[arg(long, default_value = "1h", value_parser = duration)]
    outage: Duration,
    /// Partitions of the topic, if it exists.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// One JSON object instead of lines: seconds and bytes.
    #[arg(long)]
    json: bool,
}

/// A second load to plan for, to show the limits.
const MANY_WRITES: f64 = 1_000_000.0;

fn duration(text: &str) -> Result<Duration, String> {
    let duration = HumanDuration::parse(text).map(|HumanDuration(duration)| duration);
    let duration = duration.filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "a time with its unit, such as 90s, 5m or 6h".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.replace('_', "").parse::<f64>().ok();
    let number = number.filter(|number| number.is_finite() && *number >= 1.0);
    number.ok_or_else(|| "a number of at least 1, such as 50000".to_owned())
}

impl PlanArgs {
    pub(crate) fn perform(&self) -> anyhow::Result<u8> {
        let load = PlannedLoad {
            writes_per_second: self.writes,
            rows_per_second: self.rows,
            rows_in_window: self.keys,
            window: self.window.as_secs_f64(),
            record_bytes: self.bytes,
            outage: self.outage.as_secs_f64(),
            partitions: self.partitions,
        };
        let sizing = match plan(&load, &Costs::MEASURED) {
            Ok(sizing) => sizing,
            Err(error) => {
                eprintln!("error: {error}");
                return Ok(REFUSED);
            }
        };
        if self.json {
            outln!("{}", serde_json::to_string(&sizing)?);
            return Ok(DONE);
        }
        print(&load, &sizing);
        if load.writes_per_second < MANY_WRITES {
            print_many(&load);
        }
        Ok(DONE)
    }
}

fn print(load: &PlannedLoad, sizing: &Sizing) {
    let Sizing { fold, lag, partitions, consumers, connections, .. } = sizing;
    outln!("fold        {} writes become one row", short(*fold));
    outln!("lag         about {} at worst while all is well", time(*lag));
    outln!(
        "topic       {partitions} partitions; retention.ms={}; {}/s before replication",
        (sizing.retention * 1_000.0) as u64,
        size(sizing.log_bytes_per_second)
    );
    outln!(
        "consumers   {consumers}, of {} cores in all, with",
        short(sizing.consumer_cores.max(0.01))
    );
    outln!("              database.connections = {connections}");
    outln!("              batch.max_rows = {}", sizing.max_rows);
    outln!("              batch.max_bytes = \"{}\"", setting(sizing.max_bytes));
    outln!("              batch.target_time = \"{}s\"", sizing.target_time);
    outln!("              memory.buffers = \"{}\"", setting(sizing.buffers));
    outln!(
        "services    {} cores in all for the writes; {} for pending rows, {} after the outage",
        short(sizing.service_cores.max(0.01)),
        size(sizing.pending_bytes),
        size(sizing.pending_bytes_in_outage)
    );
    outln!(
        "outage      after {}, {} records wait; caught up {} later",
        time(load.outage),
        short(sizing.backlog),
        time(sizing.catch_up)
    );
    for (place, limit) in sizing.limits.iter().enumerate() {
        let name = if place == 0 { "limits" } else { "" };
        let bears = if limit.writes_per_second.is_finite() {
            format!("{} writes/s", short(limit.writes_per_second))
        } else {
            "no limit: every row in use fits".to_owned()
        };
        outln!("{name:<11} {}: {bears}; {}", limit.what, limit.mend);
    }
}

/// What the same rows need at a million writes a second.
fn print_many(load: &PlannedLoad) {
    let more = MANY_WRITES / load.writes_per_second;
    // As many writes fall on the rows of the window in less time.
    let load = PlannedLoad {
        writes_per_second: MANY_WRITES,
        window: load.window / more,
        partitions: None,
        ..*load
    };
    outln!("");
    match plan(&load, &Costs::MEASURED) {
        Ok(many) => outln!(
            "at {} writes/s to the same rows: {} : 1, about {} late at worst, {} consumers on {} partitions, \
             {} cores there and {} in the services, {}/s before replication",
            short(MANY_WRITES),
            short(many.fold),
            time(many.lag),
            many.consumers,
            many.partitions,
            short(many.consumer_cores),
            short(many.service_cores),
            size(many.log_bytes_per_second)
        ),
        Err(PlanError::NothingFolds { .. }) => outln!(
            "at {} writes/s the database would have to take as many rows: nothing folds",
            short(MANY_WRITES)
        ),
    }
}

/// A number with three digits that count.
fn short(number: f64) -> String {
    const STEPS: [(f64, &str); 3] = [(1e9, " billion"), (1e6, " million"), (1.0, "")];
    let step = STEPS.iter().find(|(step, _)| number >= *step).unwrap_or(&(1.0, ""));
    let value = number / step.0;
    match value {
        _ if value >= 100.0 => format!("{value:.0}{}", step.1),
        _ if value >= 10.0 => format!("{value:.1}{}", step.1),
        _ => format!("{value:.2}{}", step.1),
    }
}

/// A time in the unit that a person would choose.
fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 100.0 => format!("{seconds:.1} s"),
        _ if seconds < 6_000.0 => format!("{:.0} min", seconds / 60.0),
        _ if seconds < 172_800.0 => format!("{:.1} h", seconds / 3_600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

/// A size as people say it.
fn size(bytes: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let (unit, name) = UNITS.iter().find(|(unit, _)| bytes >= *unit).unwrap_or(&(1.0, "B"));
    format!("{:.1} {name}", bytes / unit)
}

/// A size as the configuration has it, rounded up.
fn setting(bytes: u64) -> String {
    format!("{}MiB", bytes.div_ceil(1 << 20))
}
