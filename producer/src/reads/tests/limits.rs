//! How long a read may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use prometheus::Registry;
use write_behind_shared::{Change, NextOffset, Partition};

use crate::core::delta::Delta;
use crate::core::ledger::Key;
use crate::error::{LoadError, ReadError};
use crate::load::{Loaded, Loader};
use crate::metrics::Metrics;
use crate::partitions::setup::setup;
use crate::partitions::{Partitions, Setup};
use crate::reads::reader::Reader;
use crate::writes::accept::Acceptor;

/// A database that has every record of the log already.
struct Ahead;

impl Loader<i32> for Ahead {
    async fn load(&self, _: &i32) -> Result<Loaded, LoadError> {
        Ok(Loaded::json(br#"{"n":1}"#)?.at(NextOffset(1)))
    }
}

#[tokio::test]
async fn a_read_that_needs_kafkas_answer_waits_no_longer_than_a_load_may_take() {
    let partitions = Arc::new(Partitions::new(Setup { loads: true, ..setup() }));
    let key = Key::from(*b"7");
    let pending = Arc::clone(partitions.of(Partition(0)).unwrap());
    let sequence = partitions.change(pending.lock(), |state, cache| {
        let add = Delta::Change(Box::new(Change::new().add("n", 1)));
        let sequence = state.core.accept(&key, add, cache);
        state.core.mark_sent(sequence);
        sequence
    });
    let reader = Reader {
        partitions: Arc::clone(&partitions),
        loader: Some(Arc::new(Ahead)),
        load_timeout: Duration::from_millis(20),
        metrics: Arc::new(Metrics::new(&Registry::new(), "scores").unwrap().0),
        runtime: None,
        tail: None,
    };
    let read = tokio::time::timeout(Duration::from_secs(5), reader.read(&7, Key::clone(&key)));
    let read = read.await.expect("the read ends though kafka is silent");
    assert!(matches!(read, Err(ReadError::NoAnswerInTime)), "{read:?}");
    // With the answer, the next read knows: the row holds the increment.
    partitions.answered(Partition(0), std::iter::once((sequence as usize, Ok(0))));
    let read = reader.read(&7, key).await.unwrap();
    assert_eq!(read.row.as_deref(), Some(&br#"{"n":1}"#[..]));
}

/// A database whose row is invalidated while it is loaded for the first time.
struct Invalidated {
    partitions: Arc<Partitions>,
    loads: AtomicU32,
}

impl Loader<i32> for Invalidated {
    async fn load(&self, _: &i32) -> Result<Loaded, LoadError> {
        if self.loads.fetch_add(1, Ordering::SeqCst) == 0 {
            let pending = self.partitions.of(Partition(0)).unwrap();
            self.partitions.change(pending.lock(), |state, _| {
                state.loads.invalidate(&mut state.core, &Key::from(*b"7"));
            });
        }
        Ok(Loaded::missing().at(NextOffset(0)))
    }
}

#[tokio::test]
async fn a_modification_does_not_wait_for_writes_of_other_rows_to_be_persisted() {
    let partitions = Arc::new(Partitions::new(Setup { loads: true, ..setup() }));
    let metrics = Arc::new(Metrics::new(&Registry::new(), "scores").unwrap().0);
    let loader = Invalidated { partitions: Arc::clone(&partitions), loads: AtomicU32::new(0) };
    // Nobody commits this write.
    partitions.change(partitions.of(Partition(0)).unwrap().lock(), |state, cache| {
        state.core.accept(b"8", Delta::Delete, cache);
        state.core.mark_sent(0);
    });
    let reader = Reader {
        partitions: Arc::clone(&partitions),
        loader: Some(Arc::new(loader)),
        load_timeout: Duration::from_hours(1),
        metrics: Arc::clone(&metrics),
        runtime: None,
        tail: None,
    };
    let (write_timeout, waits_recorded) = (None, false);
    let acceptor = Acceptor { partitions, write_timeout, waits_recorded, metrics };
    let key = Key::from(*b"7");
    let modified = reader.modify(&acceptor, (&7, &key), |row| Ok((row.cloned(), None)));
    let modified = tokio::time::timeout(Duration::from_secs(30), modified).await;
    assert_eq!(modified.expect("it ends").unwrap().0, None, "there is no such row");
}
