//! Which of the records that the group has committed past are dead letters, as the loader knows
//! them.
//!
//! A dead letter stands in the database since the transaction that moved the offset past its
//! record, so one question after each commit finds all. It is asked before the committed offset
//! counts: so `persisted()` never says of a refused write that it is in the table.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::{info, warn};
use write_behind_shared::{NextOffset, Partition};

use crate::error::LoadError;
use crate::load::{AnyLoader, DeadLetter, LogRange};
use crate::partitions::Partitions;

/// Asks for dead letters, on behalf of the thread that polls the group's offsets.
pub(crate) struct Letters {
    ask: Ask,
    /// Up to where each partition was asked for.
    asked: HashMap<Partition, NextOffset>,
    healthy: bool,
}

type Ask = Box<dyn Fn(Vec<LogRange>) -> Result<Vec<DeadLetter>, LoadError> + Send>;

/// How long the loader may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

impl Letters {
    /// `None` if the loader cannot read dead letters. Must be called on a tokio runtime.
    pub(crate) fn of<K: Send + Sync + 'static>(loader: &Arc<dyn AnyLoader<K>>) -> Option<Self> {
        if !loader.knows_dead_letters() {
            return None;
        }
        let (loader, runtime) = (Arc::clone(loader), Handle::current());
        let ask = move |ranges: Vec<LogRange>| {
            let (answer, answered) = sync_channel(1);
            let loader = Arc::clone(&loader);
            runtime.spawn(async move {
                // Nobody waits for it any more when this fails.
                let _ = answer.send(loader.dead_letters_boxed(&ranges).await);
            });
            let no_answer = |_| Err(LoadError::new("the loader did not answer"));
            answered.recv_timeout(ANSWER_TIMEOUT).unwrap_or_else(no_answer)
        };
        Some(Self { ask: Box::new(ask), asked: HashMap::new(), healthy: true })
    }

    /// Where the group stood before the handle took its first write.
    pub(crate) fn start_at(&mut self, committed: Vec<(Partition, NextOffset)>) {
        self.asked.extend(committed);
    }

    /// Tells the partitions of the dead letters below the offsets that the group has just
    /// committed. False, if they are not known; it will be asked again.
    pub(crate) fn tell(
        &mut self,
        committed: &[(Partition, NextOffset)],
        partitions: &Partitions,
    ) -> bool {
        let range = |(partition, to): &(Partition, NextOffset)| {
            let from = self.asked.get(partition).copied().unwrap_or_default();
            (from < *to).then(|| LogRange { partition: *partition, from: from.offset(), to: *to })
        };
        let ranges: Vec<LogRange> = committed.iter().filter_map(range).collect();
        let letters = if ranges.is_empty() { Ok(Vec::new()) } else { (self.ask)(ranges) };
        if letters.is_ok() != self.healthy {
            self.healthy = letters.is_ok();
            match &letters {
                Ok(_) => info!("the dead letters can be asked for again"),
                Err(error) => {
                    warn!(%error, "the dead letters cannot be asked for, so nothing is persisted");
                }
            }
        }
        let Ok(letters) = letters else { return false };
        for (partition, next) in committed {
            let of_partition = |letter: &&DeadLetter| letter.partition == *partition;
            partitions.dead_letters(letters.iter().filter(of_partition), *next);
            self.asked.insert(*partition, *next);
        }
        true
    }
}

impl std::fmt::Debug for Letters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letters").field("asked", &self.asked).finish_non_exhaustive()
    }
}
