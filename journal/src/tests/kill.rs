//! A process that is killed at any moment has what it was told is recorded.
//!
//! `JOURNAL_KILLS` sets how many processes are killed.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::tempdir;

use crate::tests::simulated::Numbers;
use crate::{AppendError, Crash, Journal};

fn journal(directory: &Path, crash: Crash) -> Journal {
    Journal::at(directory).max_bytes(1 << 20).survives(crash)
}

fn entry(position: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(position);
    let length = numbers.below(2_000);
    (0..length).map(|_| numbers.next() as u8).collect()
}

/// The process that is killed: says how far it has recorded, again and again.
#[test]
fn child_that_is_killed() {
    let Ok(directory) = env::var("JOURNAL_CHILD") else { return };
    let crash = if env::var("JOURNAL_CRASH").is_ok_and(|crash| crash == "process") {
        Crash::Process
    } else {
        Crash::Host
    };
    let mut opened = journal(Path::new(&directory), crash).open().expect("it is opened");
    let mut next = None;
    opened
        .entries(|position, bytes| {
            assert_eq!(bytes, entry(position), "entry {position} is what was written");
            assert_eq!(next.unwrap_or(position), position, "no entry is missing");
            next = Some(position + 1);
        })
        .expect("it is read");
    let recorder = opened.start(|_| {}).expect("a thread");
    loop {
        let progress = recorder.progress();
        println!("recorded {}", progress.recorded);
        std::io::stdout().flush().expect("the parent reads");
        for _ in 0..20 {
            match recorder.append(&entry(recorder.progress().next)) {
                Ok(_) | Err(AppendError::NoRoom(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        recorder.wait_recorded(recorder.progress().next).expect("a good disk");
        recorder.release(recorder.progress().recorded.saturating_sub(50));
    }
}

/// Starts a child, kills it after some lines, and says how far it had recorded by the last.
fn kill_one(directory: &Path, crash: Crash, lines: u64) -> u64 {
    let program = env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "tests::kill::child_that_is_killed", "--nocapture"])
        .env("JOURNAL_CHILD", directory)
        .env("JOURNAL_CRASH", if crash == Crash::Process { "process" } else { "host" })
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let (mut last, mut seen) = (None, 0);
    for line in output.lines() {
        let line = line.expect("a line");
        // The harness writes on the same lines.
        let Some((_, recorded)) = line.split_once("recorded ") else { continue };
        last = Some(recorded.parse().expect("a number"));
        seen += 1;
        if seen == lines {
            child.kill().expect("it is killed");
        }
    }
    child.wait().expect("it ends");
    assert!(seen >= lines, "the child found what it should, and was killed");
    last.expect("at least one line")
}

#[test]
fn a_killed_process_has_every_entry_that_was_recorded() {
    let kills = env::var("JOURNAL_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let seed = u64::from(std::process::id());
    println!("the seed is {seed}");
    let mut numbers = Numbers::new(seed);
    for crash in [Crash::Host, Crash::Process] {
        let directory = tempdir().expect("a directory");
        for _ in 0..kills {
            let recorded = kill_one(directory.path(), crash, 1 + numbers.below(12));
            let mut opened = journal(directory.path(), crash).open().expect("it is opened");
            let mut found = Vec::new();
            opened.entries(|position, _| found.push(position)).expect("it is read");
            let end = found.last().map_or(0, |last| last + 1);
            assert!(end >= recorded, "recorded below {recorded}, found up to {end}");
            // The child releases all but fifty.
            assert!(found.len() as u64 >= end.min(50), "{} are left of {end}", found.len());
            assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no entry is missing");
        }
    }
}
