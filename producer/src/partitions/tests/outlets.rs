//! A Kafka client that ends, seen from the partitions that it was the outlet of.

use std::sync::{Mutex, Weak};

use write_behind_shared::WriteId;

use super::setup::setup;
use super::*;
use crate::partitions::outlet::{Content, NotTaken};

/// A client that reports what it has not sent when it ends, as librdkafka's does.
#[derive(Debug, Default)]
struct Ends(Mutex<Weak<Partitions>>);

impl Outlet for Ends {
    fn enqueue(&self, _: Partition, _: WriteId, _: Content<'_>) -> Result<(), NotTaken> {
        Ok(())
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        let partitions = self.0.lock().unwrap().upgrade().expect("the partitions are there");
        let is_free = partitions.of(Partition(0)).unwrap().is_unlocked();
        assert!(is_free, "its reports would wait for the lock for ever");
    }
}

#[test]
fn a_client_ends_under_no_partitions_lock() {
    let partitions = Arc::new(Partitions::new(setup()));
    let outlet: Arc<dyn Outlet> = Arc::new(Ends(Mutex::new(Arc::downgrade(&partitions))));
    partitions.set_outlet(Some(&outlet));
    drop(outlet);
    partitions.set_outlet(None);
}
