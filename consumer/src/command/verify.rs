//! `verify`: compares the tables with their logs, and prints every row that differs.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use write_behind_consumer::config::Config;
use write_behind_consumer::verify::fold::Choice;
use write_behind_consumer::verify::report::VerifyReport;
use write_behind_consumer::verify::{Progress, VerifyOptions, verify};

use crate::command::{DONE, FAILED};

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only the route of this topic; without it, every route.
    #[arg(long)]
    topic: Option<String>,
    /// Only the rows of these keys, in the records' spelling; one option for each key.
    #[arg(long = "key", value_name = "KEY", conflicts_with = "sample")]
    keys: Vec<String>,
    /// Only this many rows, chosen by a hash of their keys: the same ones each time.
    #[arg(long, value_name = "ROWS")]
    sample: Option<usize>,
    /// Roughly how much memory rows may take, in MiB; if they need more, the log is read several times.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    memory: usize,
    /// How many differences are named at most; all are counted.
    #[arg(long, value_name = "ROWS", default_value_t = 100)]
    at_most: usize,
    /// One JSON object for each topic instead of lines.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) async fn perform(self, config: &Config) -> anyhow::Result<u8> {
        let wanted = |topic: &str| self.topic.as_deref().is_none_or(|wanted| wanted == topic);
        let routes: Vec<_> = config.routes.iter().filter(|route| wanted(&route.topic)).collect();
        let topic = self.topic.as_deref().unwrap_or_default();
        ensure!(!routes.is_empty(), "no route has the topic {topic:?}; see the configuration");
        let choice = match (&self.keys[..], self.sample) {
            ([], None) => Choice::All,
            ([], Some(size)) => Choice::Sample(size),
            (keys, _) => {
                Choice::Keys(keys.iter().map(|key| key.as_bytes().into()).collect::<BTreeSet<_>>())
            }
        };
        let memory = self.memory.checked_mul(1 << 20).context("`--memory` is too large")?;
        let options = VerifyOptions { choice, memory, at_most: self.at_most };
        let mut equal = true;
        for route in routes {
            let bar = Arc::new(Bar::new());
            let report = verify(config, route, &options, Arc::clone(&bar) as _).await?;
            bar.0.finish_and_clear();
            equal &= report.is_equal();
            print(&report, self.json)?;
        }
        Ok(if equal { DONE } else { FAILED })
    }
}

/// A progress bar on a terminal, nothing elsewhere.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(0);
        let style = "{wide_bar} {human_pos} of {human_len} offsets, {per_sec}";
        Self(match ProgressStyle::with_template(style) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }
}

impl Progress for Bar {
    fn begins(&self, offsets: u64) {
        self.0.set_position(0);
        self.0.set_length(offsets);
    }

    fn read(&self, offsets: u64) {
        self.0.inc(offsets);
    }
}

fn print(report: &VerifyReport, json: bool) -> anyhow::Result<()> {
    if json {
        outln!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    for difference in &report.differences {
        outln!("{difference}");
    }
    for remark in &report.remarks {
        outln!("note: {remark}");
    }
    let VerifyReport { topic, table, rows, missing, extra, different, passes, .. } = report;
    let verdict = if report.is_equal() { "equal" } else { "DIFFERENT" };
    let passes = if *passes > 1 { format!(" in {passes} passes") } else { String::new() };
    outln!(
        "{verdict}: topic {topic}, table {table}: {rows} rows compared{passes}; {missing} missing, \
         {extra} extra, {different} different"
    );
    Ok(())
}
