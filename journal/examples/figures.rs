//! Figures of a journal on this machine's disk: what a call costs, when an entry is recorded, how
//! fast entries are found again.
//!
//! `cargo run --release -p write-behind-journal --example figures -- DIRECTORY`

use std::error::Error;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use write_behind_journal::{Crash, Journal};

/// A row of a service: a key and a small document.
const ENTRY_BYTES: usize = 200;
const PACED_PER_SECOND: u32 = 50_000;
const PACED: Duration = Duration::from_secs(4);
/// Entries that are appended at once, a thousand times a second.
const TICK: Duration = Duration::from_millis(1);
const REPLAYED: u64 = 2_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = env::args().nth(1).ok_or("usage: figures DIRECTORY (it must not exist)")?;
    let directory = Path::new(&directory);
    fs::create_dir(directory)?;
    for crash in [Crash::Process, Crash::Host] {
        paced(&directory.join(format!("{crash:?}")), crash)?;
    }
    replay(&directory.join("replay"))?;
    fs::remove_dir_all(directory)?;
    Ok(())
}

/// Entries at a steady pace, released a second later: the cost of a call, and the time until an
/// entry is recorded.
fn paced(directory: &Path, crash: Crash) -> Result<(), Box<dyn Error>> {
    let opened = Journal::at(directory).max_bytes(1 << 30).survives(crash).open()?;
    let (tell, told) = mpsc::channel();
    let recorder = opened.start(move |progress| {
        // The receiver is gone once all is measured.
        let _ = tell.send((progress.recorded, Instant::now()));
    })?;
    let entry = [b'x'; ENTRY_BYTES];
    let (start, mut ticks, mut calls) = (Instant::now(), Vec::new(), Vec::new());
    while start.elapsed() < PACED {
        let due = start + TICK * ticks.len() as u32;
        thread::park_timeout(due.saturating_duration_since(Instant::now()));
        let before = Instant::now();
        let mut last = 0;
        for _ in 0..PACED_PER_SECOND / 1_000 {
            last = recorder.append_when_there_is_room(&entry)?;
        }
        calls.push(before.elapsed() / (PACED_PER_SECOND / 1_000));
        ticks.push((last + 1, before));
        recorder.release((last + 1).saturating_sub(u64::from(PACED_PER_SECOND)));
    }
    let progress = recorder.close()?;
    let mut steps = told.into_iter().peekable();
    let mut recorded = Vec::new();
    for (end, before) in ticks {
        while steps.peek().is_some_and(|(recorded, _)| *recorded < end) {
            steps.next();
        }
        recorded.extend(steps.peek().map(|(_, at)| at.duration_since(before)));
    }
    println!(
        "{crash:?}: {} entries of {ENTRY_BYTES} bytes at {PACED_PER_SECOND}/s; a call p50 {:?}, p99 {:?}; \
         recorded after p50 {:?}, p99 {:?}; {} batches, {:?} each",
        progress.recorded,
        quantile(&mut calls, 50),
        quantile(&mut calls, 99),
        quantile(&mut recorded, 50),
        quantile(&mut recorded, 99),
        progress.batches,
        progress.batch_time / (progress.batches.max(1) as u32),
    );
    Ok(())
}

/// As many entries as the disk takes, and the time in which the next process finds them.
fn replay(directory: &Path) -> Result<(), Box<dyn Error>> {
    let journal = Journal::at(directory).max_bytes(2 << 30);
    let recorder = journal.clone().open()?.start(|_| {})?;
    let start = Instant::now();
    for _ in 0..REPLAYED {
        recorder.append_when_there_is_room(&[b'x'; ENTRY_BYTES])?;
    }
    recorder.close()?;
    let written = start.elapsed();
    let start = Instant::now();
    let (mut opened, mut found) = (journal.open()?, 0_u64);
    opened.entries(|_, _| found += 1)?;
    let read = start.elapsed();
    let rate = |time: Duration| found as f64 / time.as_secs_f64();
    println!(
        "Host: {found} entries of {ENTRY_BYTES} bytes written at {:.0}/s, found again at {:.0}/s",
        rate(written),
        rate(read)
    );
    Ok(())
}

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get(times.len() * percent / 100).copied().unwrap_or_default()
}
