//! Tests of acceptance behind writes that wait: they go first, and a new one helps them on.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use prometheus::Registry;
use write_behind_shared::{Partition, WriteId};

use super::*;
use crate::partitions::outlet::Outlet;
use crate::partitions::setup::setup;
use crate::writes::encode::KeyText;

const PARTITION: Partition = Partition(0);

/// A client that keeps what it is given, in order, unless it is full.
#[derive(Debug, Default)]
struct Client {
    taken: Mutex<Vec<Sequence>>,
    is_full: AtomicBool,
}

impl Outlet for Client {
    fn enqueue(&self, _: Partition, id: WriteId, _: Content<'_>) -> Result<(), NotTaken> {
        if self.is_full.load(Ordering::Acquire) {
            return Err(NotTaken::Yet);
        }
        self.taken.lock().unwrap().push(id.sequence);
        Ok(())
    }
}

fn write(acceptor: &Acceptor) {
    let prepared = Prepared {
        key: KeyText::from_slice(b"7"),
        partition: PARTITION,
        delta: Delta::Put(Row::from(*b"{}")),
        changed: None,
        add: None,
        headers: None,
        priority: Priority::Normal,
        cost: 400,
        joined_bytes_max: 0,
    };
    acceptor.try_write(None, Ok(prepared)).expect("there is room");
}

#[test]
fn writes_that_wait_go_ahead_of_a_new_one_which_soon_finds_none() {
    let client = Arc::<Client>::default();
    let partitions = Arc::new(Partitions::new(setup()));
    let outlet: Arc<dyn Outlet> = Arc::<Client>::clone(&client);
    partitions.set_outlet(Some(&outlet));
    let metrics = Arc::new(Metrics::new(&Registry::new(), "scores").unwrap().0);
    let (write_timeout, waits_recorded) = (None, false);
    let acceptor =
        Acceptor { partitions: Arc::clone(&partitions), write_timeout, waits_recorded, metrics };
    write(&acceptor);
    partitions.answered(PARTITION, std::iter::once((0, Ok(0))));
    client.is_full.store(true, Ordering::Release);
    (0..30).for_each(|_| write(&acceptor));
    assert_eq!(*client.taken.lock().unwrap(), [0]);
    client.is_full.store(false, Ordering::Release);
    let mut rounds = 0;
    while !partitions.of(PARTITION).unwrap().lock().core.ledger().all_are_sent() {
        write(&acceptor);
        rounds += 1;
        assert!(rounds <= 10, "the backlog does not end");
    }
    let taken = client.taken.lock().unwrap().clone();
    assert!(taken.iter().copied().eq(0..taken.len() as u64), "in order, each once: {taken:?}");
    assert_eq!(taken.len(), 31 + rounds);
}
