//! The command line of the fuzzer.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use fuzz::corpus;
use fuzz::looped::{Summary, Until, execute, run};
use fuzz::targets::{TARGETS, Target};

/// Gives random bytes to everything that takes bytes which others write.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says what the targets are.
    List,
    /// Runs targets, each for a time or a number of executions, until something does not hold.
    Run {
        /// The targets; without them, all.
        targets: Vec<String>,
        /// How long each runs.
        #[arg(long, default_value_t = 10, conflicts_with = "executions")]
        seconds: u64,
        /// How many inputs each is given.
        #[arg(long)]
        executions: Option<u64>,
        /// Where the generator begins; without it, at the time.
        #[arg(long)]
        seed: Option<u64>,
        /// Keeps a few of the inputs, one of each outcome, in the repository.
        #[arg(long)]
        keep: bool,
        /// Where an input is left of which something does not hold.
        #[arg(long, default_value = "found.input")]
        found: PathBuf,
    },
    /// Runs a target once, on a file.
    Replay { target: String, input: PathBuf },
}

fn targets(names: &[String]) -> anyhow::Result<Vec<Target>> {
    let known = |name: &String| TARGETS.iter().any(|target| target.name == name);
    let unknown = names.iter().find(|name| !known(name));
    ensure!(unknown.is_none(), "there is no target {unknown:?}; `list` names them");
    let is_wanted = |target: &&Target| names.is_empty() || names.iter().any(|it| it == target.name);
    Ok(TARGETS.iter().filter(is_wanted).copied().collect())
}

fn line(target: &Target, summary: &Summary) -> String {
    let Summary { executions, took, outcomes, slowest, .. } = summary;
    let seconds = took.as_secs_f64();
    let each_second = *executions as f64 / seconds.max(0.001);
    let (name, slow) = (target.name, slowest.0.as_micros());
    format!("| {name} | {executions} | {seconds:.0} | {each_second:.0} | {outcomes} | {slow} |")
}

fn main() -> anyhow::Result<ExitCode> {
    match Options::parse().command {
        Command::List => {
            for target in TARGETS {
                println!("{}: {}", target.name, target.what);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { targets: names, seconds, executions, seed, keep, found } => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
            let seed = seed.unwrap_or(now);
            println!("seed {seed}\n");
            println!(
                "| Target | Executions | Seconds | A second | Outcomes | Slowest of a sample, µs |"
            );
            println!("|---|---|---|---|---|---|");
            let until =
                executions.map_or(Until::Time(Duration::from_secs(seconds)), Until::Executions);
            let mut all = 0;
            for target in targets(&names)? {
                let hook = std::panic::take_hook();
                // What it says is caught, and told once it is short.
                std::panic::set_hook(Box::new(|_| ()));
                let summary = run(&target, corpus::read(&target)?, seed, until);
                std::panic::set_hook(hook);
                println!("{}", line(&target, &summary));
                all += summary.executions;
                if let Some((input, why)) = &summary.failed {
                    std::fs::write(&found, input)?;
                    println!("\n{}: {why}\ninput: {}", target.name, input.escape_ascii());
                    println!("it is left in {}", found.display());
                    return Ok(ExitCode::FAILURE);
                }
                if keep {
                    corpus::keep(&target, &summary.inputs)?;
                }
            }
            println!("\n{all} executions, and everything held");
            Ok(ExitCode::SUCCESS)
        }
        Command::Replay { target, input } => {
            let bytes = std::fs::read(&input).with_context(|| input.display().to_string())?;
            let held = targets(&[target])?.iter().all(|target| match execute(target, &bytes) {
                Ok(outcome) => {
                    println!("it holds; outcome {outcome:016x}");
                    true
                }
                Err(why) => {
                    println!("{why}");
                    false
                }
            });
            Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
