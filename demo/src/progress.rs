//! The live display: what is accepted, what the consumer has read, what is in the database.
//!
//! On a terminal these are bars; where the output is no terminal, a line every few seconds.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How far each stage is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stages {
    /// Records the consumer has folded.
    pub(crate) folded: u64,
    /// Records whose rows are in the database.
    pub(crate) applied: u64,
    /// Rows written.
    pub(crate) rows: u64,
}

/// The display of one replay.
pub(crate) struct Progress {
    total: u64,
    bars: MultiProgress,
    accepted: ProgressBar,
    folded: ProgressBar,
    applied: ProgressBar,
    plain: Option<Mutex<Instant>>,
}

const PLAIN_EVERY: Duration = Duration::from_secs(2);

impl Progress {
    /// A display for `total` writes.
    pub(crate) fn new(total: u64) -> Self {
        let bars = MultiProgress::new();
        let bar = |name: &'static str| {
            let style = ProgressStyle::with_template(
                "  {prefix:<22} {bar:30} {human_pos:>9} / {human_len}  {msg}",
            );
            let bar = bars.add(ProgressBar::new(total).with_prefix(name));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        };
        let (accepted, folded, applied) =
            (bar("writes accepted"), bar("records folded"), bar("in the database"));
        let plain = (!std::io::stderr().is_terminal()).then(|| Mutex::new(Instant::now()));
        Self { total, bars, accepted, folded, applied, plain }
    }

    /// Counts accepted writes.
    pub(crate) fn accepted(&self, writes: u64) {
        self.accepted.set_position(writes);
    }

    /// The consumer is this far.
    pub(crate) fn consumed(&self, stages: Stages) {
        self.folded.set_position(stages.folded);
        self.applied.set_position(stages.applied);
        self.applied.set_message(format!("{} rows", stages.rows));
        if let Some(last) = &self.plain {
            let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if last.elapsed() >= PLAIN_EVERY {
                *last = Instant::now();
                let accepted = self.accepted.position();
                let Stages { folded, applied, rows } = stages;
                eprintln!(
                    "  accepted {accepted}, folded {folded}, in the database {applied} of {} ({rows} rows)",
                    self.total
                );
            }
        }
    }

    /// Takes the display off the screen.
    pub(crate) fn finish(&self) {
        let _ = self.bars.clear(); // a display that can't be cleared is only ugly
    }
}
