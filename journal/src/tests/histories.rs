//! Random histories of a journal over a disk that fails and crashes: what was recorded is there.
//!
//! `JOURNAL_HISTORIES` sets how many, `JOURNAL_SEED` the first seed. A failure names its seed.

use std::env;
use std::thread;

use crate::core::bytes::Position;
use crate::core::tail::{Layout, Work};
use crate::error::OpenError;
use crate::store::{Store, perform, write_head};
use crate::tests::simulated::{End, Numbers, SECTOR, SimulatedDisk};

pub(crate) const SEGMENT: u64 = 1024;
const SEGMENTS_MAX: u64 = 6;
const ID: [u8; 16] = [7; 16];

pub(crate) fn layout(syncs: bool) -> Layout {
    Layout {
        segment_bytes: SEGMENT,
        align: if syncs { SECTOR } else { 8 },
        bytes_max: SEGMENT * SEGMENTS_MAX,
        buffer_max: 600,
        batch_bytes: 200,
        syncs,
    }
}

/// What the journal has promised.
#[derive(Debug, Default)]
struct Promised {
    /// Every entry by its position.
    entries: Vec<Vec<u8>>,
    /// Entries below survive the end of the process.
    recorded: Position,
    /// Entries below survive the end of the machine.
    durable: Position,
    released: Position,
}

struct History {
    numbers: Numbers,
    disk: SimulatedDisk,
    promised: Promised,
    boot: u8,
    /// Whether the disk may be full; else it may fail.
    has_limit: bool,
    events: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let disk = SimulatedDisk::new(Numbers::new(numbers.next()));
        let has_limit = numbers.one_in(3);
        let promised = Promised::default();
        Self { numbers, disk, promised, boot: 1, has_limit, events: Vec::new() }
    }

    fn note(&mut self, event: String) {
        self.events.push(event);
    }

    fn run(&mut self) {
        for _ in 0..=self.numbers.below(5) {
            self.life();
        }
        self.gives_back();
    }

    /// One process, from its start to its end.
    fn life(&mut self) {
        let syncs = !self.numbers.one_in(4);
        if !self.numbers.one_in(4) {
            self.disk.operations_left = self.numbers.below(60);
        }
        if self.has_limit {
            self.disk.capacity = 9_000 + self.numbers.below(SEGMENT * SEGMENTS_MAX + 2_000);
        } else if self.numbers.one_in(3) {
            self.disk.fails_one_in = 5 + self.numbers.below(40);
        }
        self.note(format!("starts, syncs: {syncs}"));
        if let Some(mut store) = self.open(syncs) {
            let is_whole = self.work(&mut store);
            if is_whole && self.numbers.one_in(2) {
                let closed = write_head(&mut self.disk, &store.tail.head());
                self.note(format!("closes: {closed:?}"));
            }
        }
        let end = if self.numbers.one_in(2) { End::Host } else { End::Process };
        self.note(format!("ends: {end:?}"));
        if end == End::Host {
            self.boot += 1;
            self.promised.recorded = self.promised.durable;
        }
        self.disk.restart(end);
    }

    /// Opens the journal and holds what it finds against what it has promised.
    fn open(&mut self, syncs: bool) -> Option<Store> {
        let opened = Store::open(&mut self.disk, layout(syncs), (ID, [self.boot; 16]));
        let store = match opened {
            Ok(store) => store,
            Err(OpenError::Io(error)) => {
                let may_fail = self.disk.has_crashed || self.disk.has_failed || self.has_limit;
                assert!(may_fail, "a good disk is opened: {error}");
                self.note(format!("is not opened: {error}"));
                return None;
            }
            Err(error) => panic!("nothing rots here: {error}"),
        };
        let mut found = Vec::new();
        let read =
            store.entries(&mut self.disk, |position, entry| found.push((position, entry.to_vec())));
        if read.is_err() {
            assert!(self.disk.has_crashed || self.disk.has_failed, "a good disk is read");
            return None;
        }
        let next = store.tail.next();
        self.note(format!(
            "is opened at {next}, with {} entries, cut {:?}",
            found.len(),
            store.cut
        ));
        let promised = &mut self.promised;
        let first = found.first().map_or(next, |(position, _)| *position);
        let nothing_is_left = found.is_empty() && promised.released >= promised.recorded;
        assert!(
            first <= promised.released || nothing_is_left,
            "entries before {first} are missing, released below {}",
            promised.released
        );
        assert!(
            next >= promised.recorded,
            "recorded below {}, found up to {next}",
            promised.recorded
        );
        for ((position, entry), expected) in found.iter().zip(first..) {
            assert_eq!(*position, expected, "entries follow each other without a gap");
            let written = promised.entries.get(*position as usize);
            assert_eq!(Some(entry), written, "entry {position} is what was written");
        }
        assert_eq!(first + found.len() as u64, next, "the next entry follows the last");
        promised.entries.truncate(next as usize);
        // Of entries that a crash of the machine took, some had been released.
        promised.released = promised.released.min(next);
        promised.recorded = next;
        if syncs {
            promised.durable = next;
        }
        Some(store)
    }

    /// Appends, records and releases. Says whether the disk was good to the end.
    fn work(&mut self, store: &mut Store) -> bool {
        for _ in 0..self.numbers.below(60) {
            match self.numbers.below(8) {
                0..4 => self.append(store),
                4..7 => {
                    if !self.step(store) {
                        return false;
                    }
                }
                _ => {
                    let open = self.promised.recorded - self.promised.released;
                    self.promised.released += self.numbers.below(open + 1);
                    store.tail.release(self.promised.released);
                    let released = self.promised.released;
                    self.note(format!("releases below {released}"));
                }
            }
        }
        while store.tail.recorded() < store.tail.next() {
            if !self.step(store) {
                return false;
            }
        }
        true
    }

    fn append(&mut self, store: &mut Store) {
        let length_max = if self.numbers.one_in(6) { 700 } else { 60 };
        let length = self.numbers.below(length_max);
        let entry: Vec<u8> = (0..length).map(|_| self.numbers.next() as u8).collect();
        match store.tail.append(&entry).expect("it is small enough") {
            Ok(position) => {
                assert_eq!(position, self.promised.entries.len() as u64);
                self.promised.entries.push(entry);
            }
            Err(why) => self.note(format!("has no room: {why:?}")),
        }
    }

    /// One thing on the disk. False: the journal has ended.
    fn step(&mut self, store: &mut Store) -> bool {
        if self.has_limit && self.numbers.one_in(4) {
            store.tail.retry();
        }
        let Some(mut work) = store.tail.work() else { return true };
        // A writer may look at any moment: what it is told now must hold, whatever the disk does next.
        self.told(store);
        let layout = store.tail.layout;
        let performed = perform(&mut self.disk, &mut work, (store.id, store.boot), &layout);
        let what = match &work {
            Work::Batch { batch, .. } => {
                format!("batch {}..{} in {}", batch.first, batch.end(), batch.segment)
            }
            Work::Create { number } => format!("segment {number}"),
            Work::Head { head, removed } => format!("head {head:?}, removes {removed:?}"),
        };
        self.note(format!("{what}: {performed:?}"));
        let Ok(step) = performed else { return false };
        if self.disk.has_crashed {
            return false;
        }
        store.tail.done(work, step);
        assert!(store.tail.bytes() <= layout.bytes_max, "the limit is kept");
        self.told(store);
        true
    }

    /// Writers are told how far the journal has recorded.
    fn told(&mut self, store: &Store) {
        self.promised.recorded = store.tail.recorded();
        if store.tail.layout.syncs {
            self.promised.durable = self.promised.recorded;
        }
    }

    /// On a good disk, everything that was taken is recorded, and what is released is given back.
    fn gives_back(&mut self) {
        self.disk.capacity = u64::MAX;
        let Some(mut store) = self.open(true) else { panic!("a good disk is opened") };
        for _ in 0..20 {
            self.append(&mut store);
            assert!(self.step(&mut store), "a good disk works");
        }
        for _ in 0..3 {
            self.promised.released = store.tail.recorded();
            store.tail.release(self.promised.released);
            for _ in 0..40 {
                assert!(self.step(&mut store), "a good disk works");
            }
        }
        assert_eq!(store.tail.recorded(), store.tail.next(), "what was taken is recorded");
        assert!(store.tail.bytes() <= 2 * SEGMENT, "one segment is written, one is ready");
        let head = crate::core::head::HEAD_BYTES as u64;
        assert_eq!(
            self.disk.used(),
            store.tail.bytes() + head,
            "the disk has what the journal says"
        );
        self.append(&mut store);
        assert_eq!(store.tail.next(), self.promised.entries.len() as u64, "there is room again");
    }
}

fn run_all(first: u64, count: u64) {
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (first..first + count).skip(thread as usize).step_by(threads as usize) {
                    let mut history = History::new(seed);
                    let run = std::panic::AssertUnwindSafe(|| history.run());
                    if let Err(panic) = std::panic::catch_unwind(run) {
                        eprintln!("seed {seed}:\n  {}", history.events.join("\n  "));
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}

#[test]
fn what_was_recorded_is_there_after_any_crash_and_what_was_released_is_given_back() {
    let number = |name, default| {
        env::var(name).ok().and_then(|text: String| text.parse().ok()).unwrap_or(default)
    };
    let (first, count) = (number("JOURNAL_SEED", 1), number("JOURNAL_HISTORIES", 3_000));
    println!("histories of the seeds {first}..{}", first + count);
    run_all(first, count);
}
