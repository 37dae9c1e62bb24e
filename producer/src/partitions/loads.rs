//! The loads under way in a partition: the latest of each row, which reads join.

use ahash::HashMap;
use tokio::sync::watch;

use crate::core::cache::Cache;
use crate::core::ledger::{Key, Sequence};
use crate::core::loaded::{Loaded, Reading, Validity};
use crate::core::pending::Pending;
use crate::error::ReadError;

/// Tells the reads that wait for a load; it stands for the load.
pub(crate) type LoadSender = watch::Sender<Option<Result<Reading, ReadError>>>;
/// What the reads that wait for a load look at.
pub(crate) type LoadReceiver = watch::Receiver<Option<Result<Reading, ReadError>>>;

/// The latest load of each row.
#[derive(Debug, Default)]
pub(crate) struct Loads(HashMap<Key, LoadReceiver>);

impl Loads {
    /// The load of the row that is under way, if there is one.
    pub(crate) fn join(&self, key: &Key) -> Option<LoadReceiver> {
        self.0.get(key).cloned()
    }

    /// A load of the row begins. What an earlier one that is still under way finds is not kept.
    pub(crate) fn begins(&mut self, core: &mut Pending, key: &Key) -> (LoadSender, LoadReceiver) {
        let (sender, receiver) = watch::channel(None);
        self.0.insert(Key::clone(key), receiver.clone());
        core.load_begins(key);
        (sender, receiver)
    }

    /// The load found `found`, before the write `horizon` was accepted. `Err`: offer it again when
    /// Kafka has answered the write of this sequence.
    pub(crate) fn found(
        &mut self,
        core: &mut Pending,
        (key, load): (&Key, &LoadSender),
        found: &Loaded,
        horizon: Sequence,
        cache: &impl Cache,
    ) -> Result<Reading, Sequence> {
        let is_latest = self.is_latest(key, load);
        let validity = if is_latest { Validity::Valid } else { Validity::Invalidated };
        let reading = core.loaded(key, found, (horizon, validity), cache)?;
        if is_latest {
            // In the same step: a read that begins after the next write must not join this load,
            // whose answer does not have that write.
            self.0.remove(key);
        }
        Ok(reading)
    }

    /// The load ended without an answer.
    pub(crate) fn fails(
        &mut self,
        core: &mut Pending,
        (key, load): (&Key, &LoadSender),
        cache: &impl Cache,
    ) {
        if self.is_latest(key, load) {
            self.0.remove(key);
        }
        core.load_ends(key, cache);
    }

    /// The database may hold another row than is known here: no load under way is kept.
    pub(crate) fn invalidate(&mut self, core: &mut Pending, key: &Key) {
        self.0.remove(key);
        core.invalidate(key);
    }

    /// The same for every row.
    pub(crate) fn invalidate_all(&mut self, core: &mut Pending) {
        self.0.clear();
        core.invalidate_all();
    }

    fn is_latest(&self, key: &Key, load: &LoadSender) -> bool {
        self.0.get(key).is_some_and(|latest| latest.same_channel(&load.subscribe()))
    }
}
