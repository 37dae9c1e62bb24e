//! Many writes at once: admitted together, then accepted partition by partition.

use write_behind_shared::Partition;

use crate::core::priority::Priority;
use crate::core::usage::{Full, Usage};
use crate::error::{Refusal, WriteError};
use crate::partitions::admission::Limit;
use crate::writes::accept::Acceptor;
use crate::writes::encode::Prepared;
use crate::writes::permits::Permits;
use crate::writes::receipt::Receipt;

/// Why not all of many writes were accepted.
///
/// All are admitted together before the first is written, so usually none was accepted. Only a
/// handle that is closed or halted meanwhile, and a Kafka client that refuses a record, leave some
/// of them accepted and others not.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{error}", after(accepted.len()))]
#[non_exhaustive]
pub struct ManyError {
    /// Why the others were not.
    pub error: WriteError,
    /// Those that were accepted, each with its place in the batch.
    pub accepted: Vec<(usize, Receipt)>,
}

fn after(accepted: usize) -> String {
    if accepted == 0 { String::new() } else { format!("after {accepted} writes were accepted: ") }
}

impl From<WriteError> for ManyError {
    /// None was accepted.
    fn from(error: WriteError) -> Self {
        Self { error, accepted: Vec::new() }
    }
}

impl Acceptor {
    /// Takes all writes, or none if there is no room for all.
    pub(crate) async fn write_many(
        &self,
        prepared: Result<Vec<Prepared>, Refusal>,
    ) -> Result<Vec<Receipt>, ManyError> {
        let result = match prepared {
            Ok(mut writes) => self.accept_many(&mut writes).await,
            Err(refusal) => Err(WriteError::from(refusal).into()),
        };
        self.metrics.written(None, &result.as_ref().map_err(|many| many.error.clone()));
        result
    }

    async fn accept_many(&self, writes: &mut [Prepared]) -> Result<Vec<Receipt>, ManyError> {
        let mut permits = Permits::default();
        self.admit(writes, &mut permits).await?;
        let partitions = writes.iter().map(|write| write.partition);
        let mut places: Vec<(Partition, usize)> = partitions.zip(0..).collect();
        // Stable: the writes of one row stay in their order.
        places.sort_by_key(|(partition, _)| *partition);
        let mut accepted = Vec::with_capacity(writes.len());
        for same in places.chunk_by(|one, next| one.0 == next.0) {
            // A few under each lock: others want it too.
            for some in same.chunks(self.partitions.bounds.rows_at_once) {
                let before = accepted.len();
                loop {
                    let left = some.get(accepted.len() - before..).unwrap_or_default();
                    let left = (&mut *writes, left);
                    match self.accept_some(left, &mut permits, &mut accepted) {
                        Ok(()) => break,
                        // The others have their permits, and wait for the journal where they are.
                        Err(WriteError::Overloaded(Full::Journal)) if self.waits_for_room() => {
                            let (lacking, needed) = (Full::Journal, Usage::default());
                            self.wait_for_room(lacking, needed, &mut Permits::default()).await;
                        }
                        Err(error) => return Err(ManyError { error, accepted }),
                    }
                }
            }
        }
        // The last of them is the last in the journal.
        if let Some((_, last)) = accepted.last() {
            let recorded = self.recorded(last).await;
            recorded.map_err(|error| ManyError { error, accepted: accepted.clone() })?;
        }
        accepted.sort_by_key(|(place, _)| *place);
        Ok(accepted.into_iter().map(|(_, receipt)| receipt).collect())
    }

    /// Permits for all writes.
    async fn admit<'g>(
        &'g self,
        writes: &[Prepared],
        permits: &mut Permits<'g>,
    ) -> Result<(), WriteError> {
        let Some(first) = writes.first().map(|write| write.partition) else { return Ok(()) };
        let one = |write: &Prepared| Usage::of_write(write.cost);
        let needed = writes.iter().map(one).fold(Usage::default(), |sum, one| sum + one);
        for which in Full::ALL {
            if let Some(limit) = self.partitions.limits.of(which).map(Limit::max)
                && needed[which] > limit
            {
                let takes = needed[which];
                return Err(Refusal::BatchTooLarge { which, takes, limit }.into());
            }
        }
        match self.admit_now(first, needed, permits) {
            Err(WriteError::Overloaded(full)) if self.waits_for_room() => {
                self.in_time(self.admit_when_there_is_room(first, needed, full, permits)).await
            }
            result => result,
        }
    }

    async fn admit_when_there_is_room<'g>(
        &'g self,
        first: Partition,
        needed: Usage,
        mut lacking: Full,
        permits: &mut Permits<'g>,
    ) -> Result<(), WriteError> {
        loop {
            self.wait_for_room(lacking, needed, permits).await;
            match self.admit_now(first, needed, permits) {
                Err(WriteError::Overloaded(full)) => lacking = full,
                result => return result,
            }
        }
    }

    fn admit_now<'g>(
        &'g self,
        first: Partition,
        needed: Usage,
        permits: &mut Permits<'g>,
    ) -> Result<(), WriteError> {
        self.check_open()?;
        // The order in which single writes take them, so that nobody waits for one who waits for it.
        for which in Full::TAKEN {
            while let Err(overloaded) = permits.take_now(&self.partitions.limits, which, needed) {
                let is_freed = matches!(which, Full::PendingBytes | Full::PendingRows);
                let bytes = needed[Full::PendingBytes];
                if !is_freed || !self.partitions.make_room(first, bytes) {
                    return Err(overloaded);
                }
            }
        }
        Ok(())
    }

    /// Accepts writes of one partition, under one lock.
    fn accept_some(
        &self,
        (writes, places): (&mut [Prepared], &[(Partition, usize)]),
        permits: &mut Permits<'_>,
        accepted: &mut Vec<(usize, Receipt)>,
    ) -> Result<(), WriteError> {
        self.check_open()?;
        let partition = places.first().map(|(partition, _)| *partition);
        let pending = partition
            .and_then(|partition| self.partitions.of(partition))
            .ok_or(WriteError::Closed)?;
        let state = pending.lock();
        // Under the lock, as for a single write.
        if state.closed {
            return Err(WriteError::Closed);
        }
        let mut hurries = None;
        let result = self.partitions.change(state, |state, cache| {
            for (_, place) in places {
                let write = &mut writes[*place];
                let one = self.accept_locked(write, pending, (state, cache))?;
                state.granted = state.granted + permits.use_some(Usage::of_write(write.cost));
                accepted.push((*place, Receipt::new(pending, one)));
                hurries = hurries.max((write.priority == Priority::High).then_some(one.sequence));
            }
            Ok(())
        });
        if let Some(sequence) = hurries
            && pending.has_waiting()
        {
            self.partitions.hurry(pending, sequence);
        }
        result
    }
}
