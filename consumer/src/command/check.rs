//! `check`: prints the preflight's findings, one per line.

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

impl Check {
    pub(crate) async fn perform(self, config: Result<Config, ConfigError>) -> anyhow::Result<u8> {
        let config = &match config {
            // Who reads JSON gets JSON, also of what was wrong before anything was looked at.
            Err(error) if self.json => {
                let (what, found) = ("configuration".to_owned(), error.to_string());
                let finding = Finding { grade: Grade::Failed, what, found };
                print(&CheckReport { findings: vec![finding] }, true)?;
                return Ok(USAGE);
            }
            config => config?,
        };
        let report = check::check(config, self.adopt_offsets).await;
        print(&report, self.json)?;
        Ok(match report.grade() {
            Grade::Ok | Grade::Warning => DONE,
            Grade::Failed => FAILED,
            Grade::Refused => REFUSED,
        })
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
    outln!("{}", report.verdict());
    Ok(())
}
