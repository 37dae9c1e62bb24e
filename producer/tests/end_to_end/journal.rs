//! A handle with a journal: what it recorded gets to Kafka though its process ends.
//!
//! A process that is killed leaves its directory as it is at that moment: these tests copy it, and
//! begin another life on the copy.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use write_behind_producer::{
    BuildError, Builder, Crash, DeliveryError, Full, Halt, Journal, JournalError, Receipt,
    WhenFull, WriteBehind, WriteError, WriteId,
};

use crate::embedded::{DEADLINE, Kafka, Score, TOPIC, score, soon, until};

type Handle = WriteBehind<i64, Score>;

const SOON: Duration = Duration::from_millis(200);

fn journal(directory: &Path) -> Journal {
    Journal::at(directory).max_bytes(8 << 20).survives(Crash::Process)
}

/// The directory as a process that is killed now leaves it.
fn as_it_is(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

fn number_of(kafka: &Kafka, id: i64) -> Option<i64> {
    kafka.fold().get(&id.to_string())?.as_ref()?["score"].as_i64()
}

/// The ids in the log. A broker that goes away may have taken records without a word, which are
/// then there twice.
fn writes_in_the_log(kafka: &Kafka) -> HashSet<(i32, WriteId)> {
    kafka.log().iter().map(|record| (record.partition, record.write_id)).collect()
}

/// Writes of every kind: 20 rows of which ten are deleted, and the others have 7.
async fn write(scores: &Handle) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for id in 0..20 {
        receipts.push(scores.put(&id, &score("x", 2)).await.unwrap());
        receipts.push(scores.add(&id, "score", 5).await.unwrap());
        if id % 2 == 0 {
            receipts.push(scores.delete(&id).await.unwrap());
        }
    }
    receipts
}

/// The journal of those writes as it was before it was known that Kafka has them, which it then had.
async fn recorded_and_sent(builder: &Builder<i64, Score>) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let first: Handle = builder.clone().journal(journal(directory.path())).build().await.unwrap();
    write(&first).await;
    first.recorded_all().await.unwrap();
    let copy = as_it_is(directory.path());
    first.close(DEADLINE).await.unwrap();
    copy
}

#[tokio::test]
async fn what_kafka_did_not_get_is_pending_again_and_sent_under_its_old_ids() {
    let kafka = Kafka::start(3);
    let directory = tempfile::tempdir().unwrap();
    let builder = kafka.builder(&[]).journal(journal(directory.path()));
    let first: Handle = builder.clone().build().await.unwrap();
    first.put(&100, &score("before", 1)).await.unwrap().replicated().await.unwrap();
    let first_writer = kafka.log()[0].write_id.writer;
    kafka.broker.brokers_down().unwrap();
    for receipt in write(&first).await {
        soon("a write to be recorded", receipt.recorded()).await.unwrap();
    }
    first.recorded_all().await.unwrap();
    let undelivered = first.close(SOON).await.unwrap_err();
    assert_eq!((undelivered.writes, undelivered.journaled), (50, 50));
    assert!(undelivered.to_string().contains("50 of them are in the journal"), "{undelivered}");

    kafka.broker.brokers_up().unwrap();
    let second: Handle = builder.build().await.unwrap();
    assert_eq!(second.stats().replayed, 50, "what kafka had was released");
    for id in 0..20 {
        let row = (id % 2 == 1).then(|| score("x", 7));
        assert_eq!(second.get(&id).await.unwrap(), row, "row {id}, before kafka has it");
    }
    second.put(&101, &score("after", 1)).await.unwrap();
    soon("all to be replicated", second.replicated_all()).await.unwrap();
    assert_eq!(writes_in_the_log(&kafka).len(), 52);
    let log = kafka.log();
    let new: Vec<_> = log.iter().filter(|one| one.write_id.writer != first_writer).collect();
    assert_eq!((new.len(), &*new[0].key, new[0].write_id.sequence), (1, "101", 0));
    let later = log.iter().filter(|one| one.partition == new[0].partition);
    assert!(later.into_iter().all(|one| one.offset <= new[0].offset), "what is new comes last");
    assert_eq!((number_of(&kafka, 3), number_of(&kafka, 4)), (Some(7), None));
    kafka.commit_all();
    soon("all to be persisted", second.persisted_all()).await.unwrap();
    second.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_journal_whose_writes_kafka_has_is_replayed_without_harm() {
    let kafka = Kafka::start(2);
    let builder: Builder<i64, Score> = kafka.builder(&[("linger.ms", "300")]);
    let copy = recorded_and_sent(&builder).await;
    assert_eq!(kafka.log().len(), 50);

    for life in 1..3 {
        let directory = as_it_is(copy.path());
        let builder = builder.clone().journal(journal(directory.path()));
        let again: Handle = builder.build().await.unwrap();
        assert_eq!(again.stats().replayed, 50);
        soon("all to be replicated", again.replicated_all()).await.unwrap();
        again.close(DEADLINE).await.unwrap();
        assert_eq!(kafka.log().len(), 50 * (life + 1));
        assert_eq!((number_of(&kafka, 3), number_of(&kafka, 4)), (Some(7), None));
    }
}

#[tokio::test]
async fn a_handle_that_follows_does_not_send_again_what_it_finds_in_the_log() {
    let kafka = Kafka::start(2);
    let builder: Builder<i64, Score> = kafka.builder(&[("linger.ms", "300")]);
    let copy = recorded_and_sent(&builder).await;

    let builder = builder.journal(journal(copy.path())).follow(true);
    let second: Handle = builder.build().await.unwrap();
    assert_eq!((second.stats().replayed, second.stats().in_flight), (50, 0));
    assert_eq!(second.get(&3).await.unwrap(), Some(score("x", 7)));
    second.add(&3, "score", 1).await.unwrap();
    soon("the new write", second.replicated_all()).await.unwrap();
    assert_eq!(second.get(&3).await.unwrap(), Some(score("x", 8)));
    assert_eq!(kafka.log().len(), 51);
    assert_eq!(number_of(&kafka, 3), Some(8));
    kafka.commit_all();
    soon("all to be persisted", second.persisted_all()).await.unwrap();
    second.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn gathered_increments_are_recorded_one_by_one_and_replayed_as_one_record() {
    let kafka = Kafka::start(1);
    let directory = tempfile::tempdir().unwrap();
    let builder = kafka.builder(&[]).coalesce(Duration::from_secs(30));
    let builder = builder.journal(journal(directory.path()));
    let first: Handle = builder.clone().build().await.unwrap();
    first.put(&1, &score("counter", 0)).await.unwrap();
    for _ in 0..500 {
        first.add(&1, "score", 1).await.unwrap();
    }
    first.recorded_all().await.unwrap();
    let copy = as_it_is(directory.path());
    let second = kafka.builder(&[]).journal(journal(copy.path()));
    let second: Handle = second.build().await.unwrap();
    assert_eq!(second.get(&1).await.unwrap(), Some(score("counter", 500)));
    soon("the record", second.replicated_all()).await.unwrap();
    assert_eq!((kafka.log().len(), number_of(&kafka, 1)), (1, Some(500)));
    // The first life was not dead at all: the consumer drops what it sends.
    first.close(DEADLINE).await.unwrap();
    assert_eq!((kafka.log().len(), number_of(&kafka, 1)), (2, Some(500)));
    second.close(DEADLINE).await.unwrap();
}

/// Writes until the journal has all of its room; says how many it took.
async fn fill(scores: &Handle) -> i64 {
    let row = score(&"x".repeat(4_000), 1);
    for id in 0..10_000 {
        let mut is_full = false;
        until("the row is taken or the journal full", || match scores.try_put(&id, &row) {
            Ok(_) => true,
            // Its disk may just be slower than this loop.
            Err(WriteError::Overloaded(Full::Journal)) => {
                is_full = scores.stats().journal_bytes >= JOURNAL_BYTES;
                is_full
            }
            Err(error) => panic!("{error}"),
        })
        .await;
        if is_full {
            return id;
        }
    }
    panic!("the journal is never full");
}

const JOURNAL_BYTES: u64 = 1 << 20;

#[tokio::test]
async fn a_full_journal_rejects_or_waits_and_goes_on_once_kafka_has_its_writes() {
    let kafka = Kafka::start(2);
    for when_full in [WhenFull::Reject, WhenFull::Wait] {
        let directory = tempfile::tempdir().unwrap();
        let builder = kafka.builder(&[]).max_pending(64 << 20, when_full);
        let builder = builder.journal(journal(directory.path()).max_bytes(JOURNAL_BYTES));
        let scores: Handle = builder.build().await.unwrap();
        kafka.broker.brokers_down().unwrap();
        let taken = fill(&scores).await;
        assert!((100..300).contains(&taken), "{taken} of 4 KB in 1 MiB");
        assert!(scores.stats().journal_bytes <= JOURNAL_BYTES + 12_288);
        let (waiting, row) = (scores.clone(), score(&"y".repeat(4_000), 1));
        let waiting = tokio::spawn(async move {
            let many = waiting.put_many([(&70_001, &row), (&70_002, &row)]).await;
            many.map_err(|error| error.error)
        });
        if when_full == WhenFull::Reject {
            let rejected = soon("the answer", waiting).await.unwrap();
            assert!(matches!(rejected, Err(WriteError::Overloaded(Full::Journal))));
            kafka.broker.brokers_up().unwrap();
        } else {
            until("the writes wait", || scores.stats().waiting_writes == 1).await;
            kafka.broker.brokers_up().unwrap();
            let receipts = soon("the writes that waited", waiting).await.unwrap().unwrap();
            soon("them to be replicated", Receipt::all_replicated(&receipts)).await.unwrap();
        }
        soon("all to be replicated", scores.replicated_all()).await.unwrap();
        until("there is room again", || scores.try_put(&1, &score("z", 1)).is_ok()).await;
        scores.close(DEADLINE).await.unwrap();
    }
}

#[tokio::test]
async fn a_directory_has_one_handle_at_a_time_of_its_own_topic() {
    let kafka = Kafka::start(1);
    let directory = tempfile::tempdir().unwrap();
    let builder = kafka.builder(&[]).start_timeout(SOON).journal(journal(directory.path()));
    let first: Handle = builder.clone().build().await.unwrap();
    let error = builder.clone().build().await.map(drop::<Handle>).unwrap_err();
    assert!(error.may_pass());
    let BuildError::Journal(error) = error else { panic!("{error}") };
    let JournalError::InUse { pid, .. } = &*error else { panic!("{error}") };
    assert_eq!(*pid, Some(std::process::id()));
    first.close(DEADLINE).await.unwrap();
    let second: Handle = builder.start_timeout(DEADLINE).build().await.unwrap();
    drop(second);

    let _other = kafka.broker.clone().topic("others", 1).unwrap();
    let builder = WriteBehind::<i64, Score>::builder("others", kafka.properties());
    let builder = builder.sink_group("sink").journal(journal(directory.path()));
    let error = builder.build().await.map(drop).unwrap_err();
    assert!(matches!(&error, BuildError::JournalEntry(_)) && !error.may_pass());
    assert!(error.to_string().contains(&format!("{TOPIC:?}")), "{error}");
}

#[tokio::test]
async fn a_handle_starts_without_kafka_where_its_directory_knows_the_topic() {
    let kafka = Kafka::start(2);
    let directory = tempfile::tempdir().unwrap();
    let builder = kafka.builder(&[]).journal(journal(directory.path()));
    kafka.broker.brokers_down().unwrap();
    let error = builder.clone().start_timeout(SOON).build().await.map(drop::<Handle>).unwrap_err();
    assert!(matches!(error, BuildError::NoAnswer(_)), "a new directory knows nothing: {error}");
    kafka.broker.brokers_up().unwrap();
    let first: Handle = builder.clone().build().await.unwrap();
    kafka.broker.brokers_down().unwrap();
    write(&first).await;
    first.close(SOON).await.unwrap_err();

    let second: Handle = builder.clone().start_timeout(SOON).build().await.unwrap();
    assert_eq!(second.get(&3).await.unwrap(), Some(score("x", 7)));
    second.add(&3, "score", 1).await.unwrap();
    kafka.broker.brokers_up().unwrap();
    soon("all to be replicated", second.replicated_all()).await.unwrap();
    assert_eq!(number_of(&kafka, 3), Some(8));
    assert_eq!(writes_in_the_log(&kafka).len(), 51);
    second.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn writes_for_another_partition_count_are_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let first = Kafka::start(2);
    let builder = first.builder(&[]).journal(journal(directory.path()));
    let scores: Handle = builder.build().await.unwrap();
    first.broker.brokers_down().unwrap();
    write(&scores).await;
    scores.close(SOON).await.unwrap_err();

    let other = Kafka::start(3);
    let builder = other.builder(&[]).journal(journal(directory.path()));
    let error = builder.clone().build().await.map(drop::<Handle>).unwrap_err();
    assert!(matches!(error, BuildError::JournalEntry(_)), "{error}");
    // Known only when it answers.
    other.broker.brokers_down().unwrap();
    let scores: Handle = builder.start_timeout(SOON).build().await.unwrap();
    other.broker.brokers_up().unwrap();
    until("the handle to be halted", || scores.halted().is_some()).await;
    let halted = scores.halted();
    let is_foreign = |halt: &Halt| {
        matches!(halt, Halt::Repartitioned { was: 2, now: 3 } | Halt::AnotherCluster { .. })
    };
    assert!(halted.as_ref().is_some_and(is_foreign), "{halted:?}");
    let undelivered = scores.close(SOON).await.unwrap_err();
    assert_eq!((undelivered.journaled, other.log().len()), (50, 0));
}

#[tokio::test]
async fn a_write_returns_once_it_is_recorded_if_that_is_asked_for() {
    let kafka = Kafka::start(1);
    let directory = tempfile::tempdir().unwrap();
    let builder = kafka.builder(&[]).max_pending(1 << 20, WhenFull::Wait);
    let error = builder.clone().wait_recorded(true).build().await.map(drop::<Handle>).unwrap_err();
    assert!(matches!(error, BuildError::Limit(_)), "{error}");
    let plain: Handle = builder.clone().build().await.unwrap();
    let receipt = plain.put(&1, &score("x", 1)).await.unwrap();
    assert!(matches!(receipt.recorded().await, Err(DeliveryError::NotRecorded(_))));
    assert!(matches!(plain.recorded_all().await, Err(DeliveryError::NotRecorded(_))));
    plain.close(DEADLINE).await.unwrap();

    let journal = Journal::at(directory.path()).max_bytes(8 << 20).survives(Crash::Host);
    let scores: Handle = builder.journal(journal).wait_recorded(true).build().await.unwrap();
    kafka.broker.brokers_down().unwrap();
    let rows = [(1, score("a", 1)), (2, score("b", 2))];
    scores.put_many(rows.iter().map(|(id, row)| (id, row))).await.unwrap();
    scores.add(&1, "score", 4).await.unwrap();
    scores.modify(&2, |row| row.map(|row| Score { score: row.score * 10, ..row })).await.unwrap();
    let copy = as_it_is(directory.path());
    let builder = kafka.builder(&[]).start_timeout(SOON);
    let second: Handle = builder.journal(self::journal(copy.path())).build().await.unwrap();
    let mut seen = BTreeSet::new();
    for id in 1..3 {
        seen.insert((id, second.get(&id).await.unwrap().map(|row| row.score)));
    }
    assert_eq!(seen, BTreeSet::from([(1, Some(5)), (2, Some(20))]));
    drop((scores, second));
}
