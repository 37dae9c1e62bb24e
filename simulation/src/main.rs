//! The simulation's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use simulation::choices::Choices;
use simulation::exam::{self, Exam};
use simulation::exhaust::{exhaust, worlds};
use simulation::history::{json_lines, page};
use simulation::mutants::mutants;
use simulation::run::{Failed, run};
use simulation::shrink::shrink;
use simulation::stopwatch::Stopwatch;
use simulation::world::{Outcome, simulate, simulate_plan};

/// Simulates the consumer against models of Kafka and of a database, in virtual time.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs random histories until one fails.
    Run {
        /// The seeds, as FIRST..END.
        #[arg(long, default_value = "0..1000")]
        seeds: String,
        /// Runs for this many seconds of a core instead, from the first seed on.
        #[arg(long)]
        seconds: Option<u64>,
        /// Prints in how many histories each rare thing happened, and fails if one happened in none.
        #[arg(long)]
        reach: bool,
        /// Where the tape of a failure is left.
        #[arg(long, default_value = "failure.tape")]
        tape: PathBuf,
        /// How many seconds a failure is shrunk for.
        #[arg(long, default_value_t = 60)]
        shrink_seconds: u64,
    },
    /// Runs the history of a tape, and prints it.
    Replay {
        tape: PathBuf,
        /// Prints one JSON object a line.
        #[arg(long)]
        json: bool,
        /// Only up to this step.
        #[arg(long)]
        until: Option<u64>,
    },
    /// Runs every history of a small world in which no more than a few choices are not plain.
    Exhaust {
        /// The world; without it, all of them.
        name: Option<String>,
        /// How many choices may not be plain, if other than the world says.
        #[arg(long)]
        deviations: Option<usize>,
        /// No more histories than this of each.
        #[arg(long, default_value_t = u64::MAX)]
        histories_max: u64,
    },
    /// Puts known bugs into a copy of the tree, each by itself, and looks whether it is found. Ends with a
    /// failure if one is not.
    Mutants {
        /// Only those whose file names contain one of these.
        only: Vec<String>,
        /// Where the copy of what is committed is made.
        #[arg(long, default_value = "target/mutants/tree")]
        tree: PathBuf,
        /// Where it is built.
        #[arg(long, default_value = "target/mutants/target")]
        target_dir: PathBuf,
        /// How long the simulation looks for each whose patch does not say it.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Builds with optimisations: slower to build, faster to look.
        #[arg(long)]
        release: bool,
        /// Where the verdicts are written as JSON.
        #[arg(long, default_value = "mutants.json")]
        json: PathBuf,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let holds = match Options::parse().command {
        Command::Run { seeds, seconds, reach, tape, shrink_seconds } => {
            let (first, end) = seeds.split_once("..").context("--seeds FIRST..END")?;
            let (first, end): (u64, u64) = (first.parse()?, end.parse()?);
            let end = if seconds.is_some() { u64::MAX } else { end };
            let begun = Stopwatch::start();
            let (summary, failed) = run(first..end, seconds.map(Duration::from_secs));
            println!("{}", summary.line(begun.elapsed()));
            let never = if reach { summary.never_reached() } else { Vec::new() };
            if reach {
                print!("{}", summary.reach_table());
            }
            for what in &never {
                println!("NEVER REACHED: {what}");
            }
            match &failed {
                Some(failed) => tell(failed, &tape, Duration::from_secs(shrink_seconds))?,
                None => println!("no history failed"),
            }
            failed.is_none() && never.is_empty()
        }
        Command::Replay { tape, json, until } => {
            let bytes = std::fs::read(&tape).with_context(|| tape.display().to_string())?;
            let outcome = simulate(Choices::tape(&bytes), true);
            print(&outcome, json, until);
            outcome.violation.is_none()
        }
        Command::Exhaust { name, deviations, histories_max } => {
            enumerate(name.as_deref(), deviations, histories_max)
        }
        Command::Mutants { only, tree, target_dir: target, seconds, release, json } => {
            let exam = Exam { tree, target, seconds, is_release: release };
            examine_all(&exam, &only, &json)?
        }
    };
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a failure, as short as it can be made, and leaves its tape.
fn tell(failed: &Failed, tape: &Path, within: Duration) -> anyhow::Result<()> {
    let violation = failed.outcome.violation.as_ref().context("it failed")?;
    println!("seed {}: {}: {}", failed.seed, violation.invariant, violation.what);
    let short = shrink(failed.outcome.choices.used(), violation.invariant, within);
    std::fs::write(tape, &short)?;
    print(&simulate(Choices::tape(&short), true), false, None);
    println!("{} bytes of choices; the tape is {}", short.len(), tape.display());
    Ok(())
}

fn enumerate(name: Option<&str>, deviations: Option<usize>, histories_max: u64) -> bool {
    let mut holds = true;
    for mut world in worlds() {
        if name.is_some_and(|name| name != world.name) {
            continue;
        }
        world.deviations_max = deviations.unwrap_or(world.deviations_max);
        let begun = Instant::now();
        let (count, deepest, failed) = exhaust(&world, histories_max);
        let (name, seconds) = (world.name, begun.elapsed().as_secs_f64());
        let most = world.deviations_max;
        println!(
            "{name}: {count} histories of up to {deepest} choices, at most {most} not plain, in {seconds:.1} s"
        );
        if let Some(outcome) = failed {
            holds = false;
            let again = outcome.choices.into_odometer().map(Choices::enumerated);
            let again = again.unwrap_or_else(|| Choices::tape(&[]));
            print(&simulate_plan(again, world.plan, true), false, None);
        }
    }
    holds
}

fn examine_all(exam: &Exam, only: &[String], path: &Path) -> anyhow::Result<bool> {
    exam.prepare()?;
    let mut verdicts = Vec::new();
    for mutant in mutants()? {
        if only.is_empty() || only.iter().any(|only| mutant.name().contains(only)) {
            let verdict = exam.examine(&mutant)?;
            println!("{}", exam::line(&mutant, &verdict));
            verdicts.push((mutant, verdict));
            // What is known so far, if somebody ends it.
            std::fs::write(path, exam::json(&verdicts))?;
        }
    }
    println!("\n{}", exam::table(&verdicts));
    Ok(verdicts.iter().all(|(_, verdict)| verdict.is_expected()))
}

fn print(outcome: &Outcome, json: bool, until: Option<u64>) {
    let told = outcome.lines.iter().filter(|line| until.is_none_or(|until| line.step <= until));
    let lines: Vec<_> = told.cloned().collect();
    print!("{}", if json { json_lines(&lines) } else { page(&lines) });
    if let Some(violation) = &outcome.violation {
        println!("violated: {}: {}", violation.invariant, violation.what);
    }
}
