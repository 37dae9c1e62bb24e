//! The `write-behind` binary: the command line, the signals, the exit code.

#[macro_use]
mod command;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use tokio::signal::unix::{SignalKind, signal};
use write_behind_consumer::check::{InitError, check_properties, fit_together};
use write_behind_consumer::config::{Config, ConfigError, secrets, transport};
use write_behind_consumer::dead_letters::admin::AdminError;
use write_behind_consumer::hand_over::HandOverError;
use write_behind_consumer::run::{RunError, RunOptions, run};
use write_behind_consumer::status::ask::AskError;
use write_behind_consumer::version;

use crate::command::{FAILED, REFUSED, USAGE};

/// Folds a Kafka topic by key and upserts it into the database, exactly once.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused by a safety check.
#[derive(Debug, Parser)]
#[command(name = NAME, version = version::TOLD, after_help = FIRST_STEPS)]
struct Cli {
    /// The configuration file; without it all settings come from the environment.
    #[arg(long, env = "WRITE_BEHIND_CONFIG", global = true, value_name = "FILE", help_heading = GLOBAL)]
    config: Option<OsString>,
    /// What to log: `error`, `warn`, `info`, `debug`, `trace`, `off`, or a filter such as
    /// `info,librdkafka=debug`.
    #[arg(long, env = "WRITE_BEHIND_LOG", default_value = "info", global = true, help_heading = GLOBAL)]
    log: String,
    /// How to log: as text, or as one JSON object a line.
    #[arg(long, env = "WRITE_BEHIND_LOG_FORMAT", default_value = "text", global = true)]
    #[arg(help_heading = GLOBAL)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// What the binary is called.
const NAME: &str = "write-behind";
/// The heading of the options that every command takes.
const GLOBAL: &str = "Global options";
const FIRST_STEPS: &str = "First steps:
  write-behind example > scores.toml         # and edit it
  write-behind --config scores.toml check    # does it work?
  write-behind --config scores.toml run";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads, folds and writes until SIGTERM or SIGINT; a second one ends it at once. SIGHUP changes
    /// nothing, because the configuration is read only at the start.
    #[command(after_help = "Example: write-behind --config scores.toml run")]
    Run {
        /// Trusts the group's committed offsets where the database does not know a partition.
        #[arg(long, env = "WRITE_BEHIND_ADOPT_OFFSETS")]
        adopt_offsets: bool,
        /// Does not create the bookkeeping tables; `init` has created them.
        #[arg(long, env = "WRITE_BEHIND_NO_INIT")]
        no_init: bool,
    },
    /// Prints a configuration to begin with, in which every setting is explained.
    #[command(after_help = "Example: write-behind example > scores.toml")]
    Example,
    /// Says what a pipeline will need before there is one: partitions, consumers, memory, retention;
    /// and how late the database will be. Connects to nothing.
    #[command(
        after_help = "Example: write-behind plan --writes 50000 --rows 1000 --keys 10000 --window 1m"
    )]
    Plan(command::plan::PlanArgs),
    /// Creates the bookkeeping tables, or brings an earlier version's up to date. With `--table`:
    /// prints a configuration for a table.
    #[command(after_help = "Examples:
  write-behind --config scores.toml init
  write-behind init --table public.scores --database postgres://writer@localhost/game > scores.toml")]
    Init(command::init::InitArgs),
    /// Judges the configuration alone, and connects to nothing.
    #[command(after_help = "Example: write-behind --config scores.toml lint")]
    Lint(command::check::Lint),
    /// Checks everything that `run` depends on, and changes nothing.
    #[command(after_help = "Example: write-behind --config scores.toml check")]
    Check(command::check::Check),
    /// Lists, shows, replays and discards dead letters: records that were set aside.
    #[command(
        after_help = "Example: write-behind --config scores.toml dead-letters list --topic scores"
    )]
    DeadLetters(command::dead_letters::DeadLettersArgs),
    /// Says which table the offsets speak of from now on, or that the log is read from its
    /// beginning: after a table was changed, a topic created again, or a pipeline renamed.
    HandOver(command::hand_over::HandOverArgs),
    /// Compares the tables with their logs, and names every row that differs; the consumer may run.
    #[command(after_help = "Example: write-behind --config scores.toml verify --topic scores")]
    Verify(command::verify::Verify),
    #[command(after_help = "Example: write-behind --config scores.toml status --watch")]
    Status(command::status::StatusArgs),
    /// Prints what completes commands and options in a shell.
    #[command(
        after_help = "Example: write-behind completions bash > /etc/bash_completion.d/write-behind"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Writes the man pages, a file for each command.
    #[command(hide = true)]
    Man {
        /// The folder for them, which must exist.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = match command::log::filter(&cli.log) {
        Ok(filter) => filter,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(USAGE);
        }
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let format = cli.log_format;
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).init(),
    }
    match start(cli) {
        Ok(code) => code,
        Err(error) => {
            match format {
                LogFormat::Text => eprintln!("error: {error:#}"),
                LogFormat::Json => tracing::error!(error = %format!("{error:#}"), "ended"),
            }
            ExitCode::from(code_of(&error))
        }
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() || matches!(error.downcast_ref(), Some(AskError::Url(_))) {
        return USAGE;
    }
    let refused = matches!(error.downcast_ref(), Some(RunError::Refused(_)))
        || matches!(error.downcast_ref(), Some(InitError::Refused(_)))
        || matches!(error.downcast_ref(), Some(HandOverError::Refused(_)))
        || error.downcast_ref().is_some_and(AdminError::is_refusal);
    if refused { REFUSED } else { FAILED }
}

fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = configuration(&cli);
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let done = runtime.block_on(perform(cli.command, config));
    // A thread that still waits for Kafka or the database must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

fn configuration(cli: &Cli) -> Result<Config, ConfigError> {
    // A variable that is no text can't be a setting.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let variables = secrets::from_files(variables.collect())?;
    // An empty variable, as templates leave it, names no file.
    let Some(path) = cli.config.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from) else {
        let config = Config::read("", &variables)?;
        judge(&cli.command, &config)?;
        return Ok(config);
    };
    let file = path.display().to_string();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| ConfigError::Unreadable(format!("{file}: {error}")))?;
    let config = Config::read_file(&file, &text, &variables)?;
    judge(&cli.command, &config).map_err(|error| error.in_file(&file, &text))?;
    Ok(config)
}

/// Rejects bad Kafka properties before anything starts. Commands that only ask the database or a
/// consumer need no login for Kafka.
fn judge(command: &Command, config: &Config) -> Result<(), ConfigError> {
    check_properties(&config.kafka)?;
    if matches!(command, Command::Init(_) | Command::Status(_)) {
        return Ok(());
    }
    fit_together(&config.kafka)
}

async fn perform(
    command: Command,
    config: Result<Config, ConfigError>,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { adopt_offsets, no_init } => {
            let registry = Registry::new();
            // Of the process, so it belongs to the program that owns the process, and not to the library.
            registry.register(Box::new(ProcessCollector::for_self()))?;
            let options = RunOptions { registry, adopt_offsets, init: !no_init };
            let config = config?;
            let shutdown = stopped_by_a_signal()?;
            tracing::debug!(?config, "configuration");
            for warning in transport::in_the_clear(&config) {
                tracing::warn!("{warning}");
            }
            let drained = run(config, options, shutdown).await?;
            tracing::info!(clean = drained.clean, "stopped");
        }
        Command::Example => print!("{}", include_str!("command/example.toml")),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
            outln!("{}", String::from_utf8_lossy(&script));
        }
        Command::Man { folder } => clap_mangen::generate_to(Cli::command(), folder)?,
        Command::Init(init) => return init.perform(config).await.map(ExitCode::from),
        Command::Plan(plan) => return plan.perform().map(ExitCode::from),
        Command::Lint(lint) => return lint.perform(config).map(ExitCode::from),
        Command::DeadLetters(letters) => {
            return letters.perform(&config?).await.map(ExitCode::from);
        }
        Command::HandOver(hand_over) => {
            return hand_over.perform(&config?).await.map(ExitCode::from);
        }
        Command::Verify(verify) => return verify.perform(&config?).await.map(ExitCode::from),
        Command::Check(check) => return check.perform(config).await.map(ExitCode::from),
        // A consumer that answers can be asked without a configuration.
        Command::Status(status) => return status.perform(config).await.map(ExitCode::from),
    }
    Ok(ExitCode::SUCCESS)
}

/// Is ready at the first signal. The second ends the process at once, which loses nothing.
fn stopped_by_a_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(
                "SIGHUP changes nothing: the configuration is read at the start; to take a changed \
                 one, end this process with SIGTERM and start another"
            );
        }
    });
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(i32::from(FAILED));
        });
    })
}
