//! `status`: prints the status report of the running consumer, or of Kafka and the database, once or
//! each second.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use terminal_size::{Height, terminal_size};
use write_behind_consumer::check::positions;
use write_behind_consumer::config::{Config, ConfigError};
use write_behind_consumer::fleet::{Fleet, table as fleet_table};
use write_behind_consumer::status::ask;
use write_behind_consumer::status::report::StatusReport;
use write_behind_consumer::status::table;

use crate::command::{DONE, FAILED};

const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Shows where the pipeline stands: asks the consumer that runs here, else Kafka and the database.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct StatusArgs {
    /// One JSON object instead of a table; docs/status.md describes it.
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Prints it again each second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// Says only whether the consumer's process is alive, as its /healthz does: exit code 0, or 1 if
    /// it must be replaced. For an orchestrator's health check.
    #[arg(long, conflicts_with_all = ["json", "watch", "direct"])]
    health: bool,
    /// Where the consumer listens; default: `http.listen`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Asks Kafka and the database even if a consumer runs: they know the partitions of a whole fleet.
    #[arg(long, conflicts_with = "url")]
    direct: bool,
    /// Asks all members of the group, each for its own partitions; docs/status.md says how they are
    /// found.
    #[arg(long, conflicts_with_all = ["url", "direct", "health"])]
    fleet: bool,
}

impl StatusArgs {
    /// `config` is needed only where no consumer answers.
    pub(crate) async fn perform(self, config: Result<Config, ConfigError>) -> anyhow::Result<u8> {
        if self.health {
            return self.judge_health(&config).await;
        }
        if self.fleet {
            return self.fleet(&Fleet::of(&config?)).await;
        }
        if !self.watch {
            let (report, asked) = self.fetch(&config).await?;
            if self.json {
                outln!("{}", serde_json::to_string(&report)?);
            } else {
                print(&table::lines(&report, &asked));
            }
            return Ok(DONE);
        }
        // A consumer that is being restarted will answer again.
        watch(async || {
            self.fetch(&config).await.map_or_else(
                |error| vec![format!("error: {error:#}")],
                |(report, asked)| table::lines(&report, &asked),
            )
        })
        .await
    }

    async fn fleet(&self, fleet: &Fleet) -> anyhow::Result<u8> {
        if self.watch {
            return watch(async || fleet_table::lines(&fleet.report().await)).await;
        }
        let report = fleet.report().await;
        if self.json {
            outln!("{}", serde_json::to_string(&report)?);
        } else {
            print(&fleet_table::lines(&report));
        }
        // Nobody answered: that is no report.
        Ok(if report.members.iter().any(|member| member.report.is_some()) { DONE } else { FAILED })
    }

    async fn judge_health(&self, config: &Result<Config, ConfigError>) -> anyhow::Result<u8> {
        let Some(url) = self.url.clone().or_else(|| listens(config)) else {
            config.as_ref().map_err(Clone::clone)?;
            anyhow::bail!("`http.listen` is \"off\", so nobody can be asked");
        };
        let sickness = ask::sickness(&url).await?;
        outln!("{}", sickness.as_deref().unwrap_or("alive"));
        Ok(if sickness.is_none() { DONE } else { FAILED })
    }

    /// The report, and who answered.
    async fn fetch(
        &self,
        config: &Result<Config, ConfigError>,
    ) -> anyhow::Result<(StatusReport, String)> {
        let url = self.url.clone().or_else(|| listens(config)).filter(|_| !self.direct);
        let mut silent = String::new();
        if let Some(url) = url {
            let wanted = config.as_ref().ok().map(|config| &*config.name);
            match ask::ask_of(&url, wanted).await {
                Ok(report) => return Ok((report, format!("the consumer at {url}"))),
                // A consumer that was named is the only one to ask.
                Err(error) if self.url.is_some() => return Err(error.into()),
                Err(error) => silent = format!(" ({error})"),
            }
        }
        let config = config.as_ref().map_err(Clone::clone)?;
        let report = positions::report(config).await?;
        Ok((report, format!("Kafka and the database{silent}")))
    }
}

/// Where the pipeline's consumer listens on this machine.
fn listens(config: &Result<Config, ConfigError>) -> Option<String> {
    config.as_ref().ok()?.http.map(ask::url_of)
}

/// Shows lines each second, until Ctrl-C.
async fn watch(lines: impl AsyncFn() -> Vec<String>) -> anyhow::Result<u8> {
    let mut ended = std::pin::pin!(tokio::signal::ctrl_c());
    let mut screen = Screen { begun: false };
    loop {
        let lines = tokio::select! {
            biased;
            _ = &mut ended => return Ok(DONE),
            lines = lines() => lines,
        };
        screen.show(lines)?;
        tokio::select! {
            biased;
            _ = &mut ended => return Ok(DONE),
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
    }
}

fn print(lines: &[String]) {
    for line in lines {
        outln!("{line}");
    }
}

/// A terminal that is overwritten in place, so that nothing flickers.
struct Screen {
    begun: bool,
}

impl Screen {
    fn show(&mut self, mut lines: Vec<String>) -> std::io::Result<()> {
        if !std::io::stdout().is_terminal() {
            lines.push(String::new());
            print(&lines);
            return Ok(());
        }
        if let Some((_, Height(height))) = terminal_size() {
            // The last line stays free, because a line feed there would scroll.
            let fit = usize::from(height).saturating_sub(1);
            if lines.len() > fit {
                let more = lines.len() - fit.saturating_sub(1);
                lines.truncate(fit.saturating_sub(1));
                lines.push(format!("… and {more} lines more; a taller window shows them"));
            }
        }
        let mut text =
            if self.begun { "\u{1b}[H".to_owned() } else { "\u{1b}[2J\u{1b}[H".to_owned() };
        self.begun = true;
        for line in lines {
            text.push_str(&line);
            // The rest of what stood there.
            text.push_str("\u{1b}[K\n");
        }
        text.push_str("\u{1b}[J");
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}
