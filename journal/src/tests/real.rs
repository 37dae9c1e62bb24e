//! Journals in real directories.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::file_system::DirectoryLock;
use crate::store::Store;
use crate::tests::histories::layout;
use crate::tests::simulated::{Numbers, SimulatedDisk};
use crate::{
    AppendError, Crash, Ended, Journal, NoRoom, OpenError, OpenedJournal, Recorder, Refused,
};

fn journal(directory: &Path) -> Journal {
    Journal::at(directory).max_bytes(1 << 20)
}

fn open(journal: Journal) -> (Vec<(u64, Vec<u8>)>, OpenedJournal) {
    let mut opened = journal.open().expect("it is opened");
    let mut found = Vec::new();
    opened.entries(|position, entry| found.push((position, entry.to_vec()))).expect("it is read");
    (found, opened)
}

fn start(journal: Journal) -> Recorder {
    open(journal).1.start(|_| {}).expect("a thread")
}

fn append(recorder: &Recorder, entry: &[u8]) -> u64 {
    recorder.append_when_there_is_room(entry).expect("a good disk")
}

/// Appends until there is no room, and says why there is none and how many were taken.
fn fill(recorder: &Recorder, entry: &[u8]) -> (NoRoom, u64) {
    let mut taken = 0;
    loop {
        match recorder.append(entry) {
            Ok(position) => taken = position + 1,
            Err(AppendError::NoRoom(NoRoom::Busy)) => std::thread::yield_now(),
            Err(AppendError::NoRoom(why)) => return (why, taken),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_one_process_records_the_next_one_finds_until_it_is_released() {
    for crash in [Crash::Host, Crash::Process] {
        let directory = tempdir().expect("a directory");
        let recorder = start(journal(directory.path()).survives(crash));
        for n in 0..1_000_u32 {
            append(&recorder, &n.to_le_bytes());
        }
        recorder.wait_recorded(1_000).expect("a good disk");
        recorder.release(400);
        let progress = recorder.close().expect("a good disk");
        assert_eq!((progress.next, progress.recorded, progress.released), (1_000, 1_000, 400));
        let (found, opened) = open(journal(directory.path()).survives(crash));
        let expected = (400..1_000_u32).map(|n| (u64::from(n), n.to_le_bytes().to_vec()));
        assert_eq!(found, expected.collect::<Vec<_>>());
        assert_eq!(opened.cut().bytes, 0);
    }
}

#[test]
fn writers_on_many_threads_share_writes_and_each_finds_its_entries_in_order() {
    let directory = tempdir().expect("a directory");
    let recorder = start(Journal::at(directory.path()).max_bytes(8 << 20));
    std::thread::scope(|scope| {
        for writer in 0..8_u32 {
            let recorder = &recorder;
            scope.spawn(move || {
                for n in 0..500_u32 {
                    let position = append(recorder, format!("{writer} {n}").as_bytes());
                    if n % 50 == 0 {
                        recorder.wait_recorded(position + 1).expect("a good disk");
                    }
                }
            });
        }
    });
    let progress = recorder.close().expect("a good disk");
    assert!(progress.batches < 4_000, "{} batches for 4,000 entries", progress.batches);
    let (found, _) = open(journal(directory.path()));
    assert_eq!(found.len(), 4_000);
    for writer in 0..8 {
        let of_writer = found.iter().filter_map(|(_, entry)| {
            let text = std::str::from_utf8(entry).ok()?;
            text.strip_prefix(&format!("{writer} "))?.parse::<u32>().ok()
        });
        assert!(of_writer.eq(0..500_u32), "the entries of writer {writer} are in its order");
    }
}

#[test]
fn the_disk_is_given_back_as_entries_are_released() {
    let directory = tempdir().expect("a directory");
    let recorder = start(journal(directory.path()));
    let files = || fs::read_dir(directory.path()).expect("it is there").count();
    let (why, taken) = fill(&recorder, &[7; 3_000]);
    assert_eq!(why, NoRoom::Limit, "at its largest size it says so");
    assert!(recorder.progress().bytes <= 1 << 20);
    let full = files();
    recorder.wait_recorded(taken).expect("a good disk");
    recorder.release(taken);
    append(&recorder, b"there is room again");
    let progress = recorder.close().expect("a good disk");
    assert!(progress.bytes <= 3 * (128 << 10), "{} bytes are left", progress.bytes);
    assert!(files() + 4 <= full, "{} files of {full} are left", files());
}

#[test]
fn a_second_process_is_told_the_pid_of_the_first() {
    let directory = tempdir().expect("a directory");
    let first = start(journal(directory.path()));
    match journal(directory.path()).open() {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("it is locked: {other:?}"),
    }
    // Told to wait, the second one has it as soon as the first has ended.
    std::thread::scope(|scope| {
        let patient = journal(directory.path()).waits(Duration::MAX);
        let second = scope.spawn(|| start(patient));
        append(&first, b"from the first");
        drop(first);
        assert_eq!(second.join().expect("it is opened").progress().next, 1);
    });
}

#[test]
fn the_age_of_the_oldest_entry_is_told_until_it_is_released() {
    let directory = tempdir().expect("a directory");
    let recorder = start(journal(directory.path()));
    assert_eq!(recorder.progress().oldest, None);
    let before = Instant::now();
    recorder.wait_recorded(append(&recorder, b"an entry") + 1).expect("a good disk");
    let oldest = recorder.progress().oldest.expect("it is not released");
    assert!(oldest <= before.elapsed() + Duration::from_secs(1), "{oldest:?}");
    recorder.release(1);
    assert_eq!(recorder.progress().oldest, None);
}

#[test]
fn an_entry_is_recorded_though_nobody_waits_for_it_and_no_other_comes() {
    for crash in [Crash::Host, Crash::Process] {
        let directory = tempdir().expect("a directory");
        let (tell, told) = std::sync::mpsc::channel();
        let (_, opened) = open(journal(directory.path()).survives(crash));
        let recorder = opened.start(move |progress| {
            // The receiver may be gone by then.
            let _ = tell.send(progress.recorded);
        });
        let recorder = recorder.expect("a thread");
        for n in 0..200 {
            append(&recorder, b"an entry");
            assert!(told.iter().any(|recorded| recorded > n), "the journal goes on");
        }
    }
}

#[test]
fn a_journal_that_is_refused_is_salvaged_but_for_what_is_damaged() {
    let directory = tempdir().expect("a directory");
    let recorder = start(journal(directory.path()));
    for n in 0..100_u64 {
        let position = append(&recorder, &n.to_le_bytes());
        recorder.wait_recorded(position + 1).expect("a good disk");
    }
    recorder.close().expect("a good disk");
    // The batch behind the header's sector, and a few more.
    let path = directory.path().join("00000000000000000001.segment");
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[3 * 4_096 + 50] ^= 1;
    fs::write(&path, bytes).expect("it is written");
    let refused = journal(directory.path()).open();
    assert!(matches!(refused, Err(OpenError::Refused(Refused::Damaged { position: 2, .. }))));
    let mut found = Vec::new();
    let salvaged = journal(directory.path()).salvage(|position, _| found.push(position));
    let salvaged = salvaged.expect("it is read");
    assert_eq!(salvaged.entries, 99);
    assert_eq!(salvaged.missing, std::slice::from_ref(&(2..3)));
    assert!(found.into_iter().eq((0..2).chain(3..100)));
}

#[test]
fn what_is_recorded_is_for_the_owner_of_the_process_alone() {
    let directory = tempdir().expect("a directory");
    let made = directory.path().join("above").join("journal");
    let recorder = start(journal(&made));
    append(&recorder, b"an entry");
    recorder.close().expect("a good disk");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&made), 0o700);
    for entry in fs::read_dir(&made).expect("it is there").flatten() {
        let is_open = mode(&entry.path()) & 0o077 != 0 && entry.file_name() != "lock";
        assert!(!is_open, "others can read {}", entry.path().display());
    }
}

#[test]
fn a_label_is_found_by_the_next_process() {
    let directory = tempdir().expect("a directory");
    let (_, mut opened) = open(journal(directory.path()));
    assert_eq!(opened.label(), b"");
    opened.set_label(b"scores, 8 partitions").expect("a good disk");
    drop(opened.start(|_| {}).expect("a thread"));
    let (_, mut opened) = open(journal(directory.path()));
    assert_eq!(opened.label(), b"scores, 8 partitions");
    assert!(matches!(opened.set_label(&[0; 3_000]), Err(OpenError::Setting { .. })));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let directory = tempdir().expect("a directory");
    let at = || Journal::at(directory.path());
    for journal in [
        at().max_bytes(1_000),
        at().segment_bytes(10),
        at().segment_bytes(1 << 40),
        at().max_bytes(1 << 20).segment_bytes(1 << 20),
    ] {
        assert!(matches!(journal.open(), Err(OpenError::Setting { .. })));
    }
    let recorder = start(journal(directory.path()));
    let too_large = recorder.append(&vec![0; 1 << 20]);
    assert!(matches!(too_large, Err(AppendError::TooLarge { .. })), "{too_large:?}");
}

#[test]
fn a_directory_is_free_although_a_process_that_is_being_started_has_a_copy_of_its_lock() {
    let directory = tempdir().expect("a directory");
    let lock = DirectoryLock::take(directory.path()).expect("nobody has it");
    let _copy = lock.file.try_clone().expect("a copy, as fork makes one");
    assert!(DirectoryLock::take(directory.path()).is_err(), "it is taken");
    drop(lock);
    DirectoryLock::take(directory.path()).expect("it is free");
}

#[test]
fn an_error_of_the_disk_ends_the_journal_for_good() {
    let directory = tempdir().expect("a directory");
    for seed in 0..30 {
        let mut disk = SimulatedDisk::new(Numbers::new(seed));
        let store = Store::open(&mut disk, layout(true), ([1; 16], [1; 16])).expect("a good disk");
        disk.fails_one_in = 20;
        let lock = DirectoryLock::take(directory.path()).expect("nobody has it");
        let recorder = Recorder::start(store, disk, lock, Box::new(|_| {})).expect("a thread");
        let ended = loop {
            match recorder.append_when_there_is_room(b"an entry") {
                Ok(position) => recorder.release(position),
                Err(AppendError::Ended(ended)) => break ended,
                Err(error) => panic!("{error}"),
            }
        };
        let Ended::Disk { recorded, .. } = &ended else { panic!("{ended}") };
        assert_eq!(recorder.progress().recorded, *recorded);
        assert_eq!(recorder.wait_recorded(u64::MAX), Err(ended.clone()));
        assert!(matches!(recorder.append(b"more"), Err(AppendError::Ended(_))));
        assert_eq!(recorder.close(), Err(ended));
    }
}

#[test]
fn a_listener_that_panics_ends_the_journal_and_nobody_waits_for_ever() {
    let directory = tempdir().expect("a directory");
    let (_, opened) = open(journal(directory.path()));
    let (tell, told) = std::sync::mpsc::channel();
    let recorder = opened.start(move |progress| match &progress.ended {
        None => assert_eq!(progress.recorded, 0, "it is told of a recorded entry, and panics"),
        Some(ended) => tell.send(ended.clone()).expect("the test waits for it"),
    });
    let recorder = recorder.expect("a thread");
    append(&recorder, b"an entry");
    assert_eq!(recorder.wait_recorded(2), Err(Ended::Panicked));
    assert!(matches!(recorder.append(b"more"), Err(AppendError::Ended(Ended::Panicked))));
    assert_eq!(recorder.close(), Err(Ended::Panicked));
    assert_eq!(told.recv(), Ok(Ended::Panicked), "the listener hears of the end, too");
    // What was recorded before is there, and the lock is free.
    assert_eq!(open(journal(directory.path())).0.len(), 1);
}

/// The child of the next test: fills a journal on a disk of 1 MiB.
#[test]
fn child_on_a_small_disk() {
    let Ok(directory) = std::env::var("JOURNAL_SMALL_DISK") else { return };
    let recorder = start(Journal::at(&directory).max_bytes(64 << 20).segment_bytes(128 << 10));
    let (why, taken) = fill(&recorder, &[5; 2_000]);
    assert_eq!(why, NoRoom::Disk(std::io::ErrorKind::StorageFull));
    recorder.wait_recorded(taken).expect("what was taken is recorded");
    drop(recorder);
    // A process starts on the full disk, and goes on once something is released.
    let (found, opened) =
        open(Journal::at(&directory).max_bytes(64 << 20).segment_bytes(128 << 10));
    assert_eq!(found.len() as u64, taken);
    let recorder = opened.start(|_| {}).expect("a thread");
    recorder.release(taken);
    append(&recorder, b"there is room again");
    recorder.close().expect("a good disk");
}

#[test]
fn a_full_disk_is_told_and_loses_nothing_and_a_process_starts_on_it() {
    let directory = tempdir().expect("a directory");
    let program = std::env::current_exe().expect("this program");
    let script = "mount -t tmpfs -o size=1m none \"$JOURNAL_SMALL_DISK\" || exit 77; exec \"$0\" --exact tests::real::child_on_a_small_disk --nocapture";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "--user", "sh", "-c", script]).arg(program);
    let output = command.env("JOURNAL_SMALL_DISK", directory.path()).output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) => output,
        // Containers may not mount; there the simulated disk is the only one that is full.
        other => return eprintln!("no file system can be mounted here: {other:?}"),
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
