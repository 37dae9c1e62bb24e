//! `check` and `lint`: print what they find, one finding per line.

use clap::Args;
use write_behind_consumer::check::{self, CheckReport, Finding, Grade};
use write_behind_consumer::config::{Config, ConfigError};

use crate::command::{DONE, FAILED, REFUSED, USAGE};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// As for `run`.
    #[arg(long, env = "WRITE_BEHIND_ADOPT_OFFSETS")]
    adopt_offsets: bool,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

impl Lint {
    pub(crate) fn perform(self, config: Result<Config, ConfigError>) -> anyhow::Result<u8> {
        let Some(config) = readable(config, self.json)? else { return Ok(USAGE) };
        print(&check::lint(&config), self.json)?;
        if !self.json {
            outln!("it can be read; write-behind check says whether it works");
        }
        Ok(DONE)
    }
}

impl Check {
    pub(crate) async fn perform(self, config: Result<Config, ConfigError>) -> anyhow::Result<u8> {
        let Some(config) = readable(config, self.json)? else { return Ok(USAGE) };
        let report = check::check(&config, self.adopt_offsets).await;
        print(&report, self.json)?;
        if !self.json {
            outln!("{}", report.verdict());
        }
        Ok(match report.grade() {
            Grade::Ok | Grade::Warning => DONE,
            Grade::Failed => FAILED,
            Grade::Refused => REFUSED,
        })
    }
}

/// The configuration. If it is refused, who reads JSON gets JSON, and `None` is left.
fn readable(config: Result<Config, ConfigError>, json: bool) -> anyhow::Result<Option<Config>> {
    match config {
        Err(error) if json => {
            let (what, found) = ("configuration".to_owned(), error.to_string());
            let finding = Finding { grade: Grade::Failed, what, found };
            print(&CheckReport { findings: vec![finding] }, true)?;
            Ok(None)
        }
        config => Ok(Some(config?)),
    }
}

fn print(report: &CheckReport, json: bool) -> anyhow::Result<()> {
    if json {
        outln!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    for finding in &report.findings {
        let grade = match finding.grade {
            Grade::Ok => "ok     ",
            Grade::Warning => "warning",
            Grade::Failed => "FAILED ",
            Grade::Refused => "REFUSED",
        };
        outln!("{grade} {}: {}", finding.what, finding.found);
    }
    Ok(())
}
