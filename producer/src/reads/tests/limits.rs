//! How long a read may take.

use std::sync::Arc;
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
        let sequence = state.core.accept(Key::clone(&key), add, cache);
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
