//! The subcommands. Each performs its arguments with the configuration, and returns the exit code.

use std::fmt;
use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Write as _};

use anyhow::Context as _;

/// Prints a line to stdout, as `println!` does. Ends the process quietly if stdout is closed.
macro_rules! outln {
    ($($line:tt)*) => {
        $crate::command::print_line(format_args!($($line)*))
    };
}

pub(crate) mod log;
pub(crate) mod check;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod dead_letters;
pub(crate) mod hand_over;
pub(crate) mod verify;
pub(crate) mod status;

/// It was done.
pub(crate) const DONE: u8 = 0;
/// It failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage or configuration.
pub(crate) const USAGE: u8 = 2;
/// A safety check refuses it.
pub(crate) const REFUSED: u8 = 3;
/// Nobody reads its output any more: what a shell reports of a tool that SIGPIPE has ended.
const UNREAD: i32 = 128 + 13;

/// A record's place as a person writes it.
pub(crate) fn place(text: &str) -> Result<(i32, i64), String> {
    let parts = text.split_once(':');
    let parsed =
        parts.and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parsed.ok_or_else(|| "write it like 3:4711, the partition and the offset".to_owned())
}

/// Whether a person agrees on a terminal, or has agreed beforehand.
pub(crate) fn agreed(question: &str, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        eprintln!("{question} There is no terminal to ask on: add --yes, or --dry-run to preview");
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush().context("asking")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("reading the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints a line to stdout. Where nobody reads any more, as behind `| head`, the process ends
/// quietly. Rust ignores SIGPIPE, and so must we: it would end a `replay` over TLS, too.
pub(crate) fn print_line(line: fmt::Arguments<'_>) {
    if let Err(error) = writeln!(std::io::stdout(), "{line}") {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(UNREAD);
        }
        eprintln!("error: writing to stdout: {error}");
        std::process::exit(i32::from(FAILED));
    }
}
