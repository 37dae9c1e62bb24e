//! The replay of dead letters: each open letter meets its fate.
//!
//! What later records did to a letter's row is read from the log before the transaction, and then,
//! up to where the database stands, while the transaction holds the partition's lock. So it is
//! never older than the row. The consumer may run meanwhile; its next transaction on the partition
//! waits for ours.

use std::sync::Arc;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::apply::claim::judged;
use crate::apply::log::RereadError;
use crate::apply::{Connect, Target};
use crate::clock::Clock;
use crate::core::batch::Span;
use crate::core::dead_letters::effective_change::{EffectiveChange, effective_change};
use crate::core::dead_letters::later_changes::{LaterChanges, change_of};
use crate::core::dead_letters::{DeadLetterState, Filter, StoredDeadLetter};
use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::core::table::version::VersionColumn;
use crate::dead_letters::fate::Fate;
use crate::kafka::reread::Scan;
use crate::store::replay::{Decision, ReplayPoint, Replayed};
use crate::store::session::Session;
use crate::store::{Store as _, StoreError, letters, replay};

/// How many offsets may be read while the partition's lock is held.
const UNDER_LOCK_MAX: u64 = 10_000;
/// How many bytes the later changes of the letters' rows may occupy.
const BYTES_MAX: usize = 256 << 20;
/// How often a letter is tried when the database or the log does not answer.
const ATTEMPTS: u32 = 5;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why replaying ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Log(#[from] RereadError),
}

/// How to replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Replays also letters whose later records the log no longer has, as if there were none.
    pub force: bool,
    /// Changes nothing, and tells what would become of each letter, as far as that is known.
    pub dry_run: bool,
}

/// Replays the letters of one topic.
pub(crate) struct Replayer<C, L, T> {
    pub(crate) connect: C,
    pub(crate) clock: T,
    /// The topic and its table.
    pub(crate) target: Target,
    pub(crate) log: Arc<L>,
    pub(crate) options: ReplayOptions,
}

/// A letter judged by what came after it.
enum Judgement {
    Write(Row<'static>, Vec<String>),
    Nothing,
    No(Fate),
}

/// How far one attempt came.
enum Step {
    Told(Fate),
    /// The database is so far ahead of what was read that reading the rest under the lock would
    /// take too long.
    Behind(NextOffset),
    /// A letter that was passed over has been replayed since.
    Stale,
}

impl<C: Connect<Store: Session>, L: Scan, T: Clock> Replayer<C, L, T> {
    /// Replays `letters`, which are of one partition and in log order, and calls `tell` with each
    /// one's fate.
    ///
    /// # Errors
    /// [`ReplayError`]. The letters not told of may have been replayed or not; replaying them again
    /// is safe.
    pub(crate) async fn replay(
        &self,
        letters: &[StoredDeadLetter],
        mut tell: impl FnMut(&StoredDeadLetter, &Fate),
    ) -> Result<(), ReplayError> {
        let mut rest = letters;
        let mut attempts = 0;
        while !rest.is_empty() {
            let mut done = 0;
            let mut count = |letter: &StoredDeadLetter, fate: &Fate| {
                done += 1;
                tell(letter, fate);
            };
            let outcome = self.pass(rest, &mut count).await;
            rest = &rest[done..];
            attempts = if done > 0 { 0 } else { attempts + 1 };
            match outcome {
                Ok(()) => {}
                Err(error) if passes(&error) && attempts < ATTEMPTS => {
                    tracing::warn!(%error, "trying again");
                    self.clock.sleep(RETRY_AFTER).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads the log once and replays as many letters as it can with that.
    async fn pass(
        &self,
        letters: &[StoredDeadLetter],
        tell: &mut impl FnMut(&StoredDeadLetter, &Fate),
    ) -> Result<(), ReplayError> {
        let mut store = self.connect.connect().await?;
        let table = self.target.describe(&mut store).await?;
        // A letter of one table is never written to another.
        judged(&mut store, &self.target, &table).await?;
        let begins = self.begins(letters).await?;
        let mut later_changes = LaterChanges::with_version(letters, VersionColumn::of(&table));
        later_changes.skip_to(begins);
        let next = self.next(&mut store, letters).await?;
        for letter in letters {
            // Nothing was folded yet that this could contradict.
            let _ = later_changes.learn(letter, letters::behind(&mut store, letter).await?);
        }
        later_changes = self.read_on(later_changes, letters, next).await?;
        for letter in letters {
            let behind = letter.offset().next();
            let gone = begins > behind && next > behind;
            let fate = if gone && !self.options.force {
                Fate::Gone
            } else if self.options.dry_run {
                match judge(&table, letter, &later_changes) {
                    Judgement::Write(_, left_out) => Fate::Replayed(left_out),
                    Judgement::Nothing => Fate::Superseded,
                    Judgement::No(fate) => fate,
                }
            } else {
                match self.until_told(&mut store, &table, letter, &mut later_changes).await? {
                    Some(fate) => fate,
                    None => return Ok(()),
                }
            };
            tell(letter, &fate);
        }
        Ok(())
    }

    /// Replays one letter; `None`: the fold of later changes is out of date.
    async fn until_told(
        &self,
        store: &mut C::Store,
        table: &Table,
        letter: &StoredDeadLetter,
        later_changes: &mut LaterChanges,
    ) -> Result<Option<Fate>, ReplayError> {
        loop {
            match self.attempt(store, table, letter, later_changes).await? {
                Step::Told(fate) => return Ok(Some(fate)),
                Step::Stale => return Ok(None),
                Step::Behind(next) => {
                    let read = std::mem::replace(later_changes, LaterChanges::of([]));
                    *later_changes = self.read_on(read, std::slice::from_ref(letter), next).await?;
                }
            }
        }
    }

    async fn attempt(
        &self,
        store: &mut C::Store,
        table: &Table,
        letter: &StoredDeadLetter,
        later_changes: &mut LaterChanges,
    ) -> Result<Step, ReplayError> {
        let mut step = Step::Stale;
        let decide = async |point: ReplayPoint| {
            if !later_changes.learn(letter, point.behind) {
                return Ok(Decision::LeaveIt);
            }
            if later_changes.next().distance_to(point.next) > UNDER_LOCK_MAX {
                step = Step::Behind(point.next);
                return Ok(Decision::LeaveIt);
            }
            let read = std::mem::replace(later_changes, LaterChanges::of([]));
            // Under the lock: a record applied between the read before and the lock would be
            // missing, and the letter would overwrite what it set.
            *later_changes = self.read_on(read, std::slice::from_ref(letter), point.next).await?;
            Ok::<_, ReplayError>(match judge(table, letter, later_changes) {
                Judgement::Write(row, left_out) => {
                    step = Step::Told(Fate::Replayed(left_out));
                    Decision::Write(row)
                }
                Judgement::Nothing => {
                    step = Step::Told(Fate::Superseded);
                    Decision::Supersede
                }
                Judgement::No(fate) => {
                    step = Step::Told(fate);
                    Decision::LeaveIt
                }
            })
        };
        match replay::replay(store, table, letter, decide).await? {
            // The row turned out to have a newer version.
            Replayed::Closed(DeadLetterState::Superseded) => step = Step::Told(Fate::Superseded),
            Replayed::Closed(_) => {}
            Replayed::Left => {
                if let Step::Told(Fate::Rejected { reason, sqlstate }) = &step {
                    letters::refused_again(store, letter, reason, sqlstate.as_deref()).await?;
                }
            }
            Replayed::Rejected(rejected) => {
                let (reason, sqlstate) = (rejected.reason, rejected.sqlstate);
                letters::refused_again(store, letter, &reason, sqlstate.as_deref()).await?;
                step = Step::Told(Fate::Rejected { reason, sqlstate });
            }
            Replayed::NotOpen => step = Step::Told(Fate::Closed(state_of(store, letter).await?)),
        }
        Ok(step)
    }

    async fn next(
        &self,
        store: &mut C::Store,
        letters: &[StoredDeadLetter],
    ) -> Result<NextOffset, ReplayError> {
        let partition = letters[0].partition();
        let positions = store.positions(&self.target.scope, &[partition]).await?;
        let next = positions.first().map(|position| position.next);
        next.ok_or_else(|| {
            let why = format!("the database does not know partition {partition} of the topic");
            StoreError::Stop(why).into()
        })
    }

    async fn begins(&self, letters: &[StoredDeadLetter]) -> Result<NextOffset, ReplayError> {
        let (log, partition) = (Arc::clone(&self.log), letters[0].partition());
        let topic = self.target.scope.topic.clone();
        let asking = tokio::task::spawn_blocking(move || log.begins(&topic, partition));
        Ok(asking.await.map_err(|error| RereadError::Unavailable(error.to_string()))??)
    }

    async fn read_on(
        &self,
        mut later_changes: LaterChanges,
        letters: &[StoredDeadLetter],
        next: NextOffset,
    ) -> Result<LaterChanges, ReplayError> {
        if later_changes.next() >= next {
            return Ok(later_changes);
        }
        let log = Arc::clone(&self.log);
        let topic = self.target.scope.topic.clone();
        let span =
            Span { partition: letters[0].partition(), start: later_changes.next(), end: next };
        let reading = tokio::task::spawn_blocking(move || {
            log.scan(&topic, span, &mut |record| {
                later_changes.take(record);
                if later_changes.bytes() > BYTES_MAX {
                    let why = "the later changes of these letters' rows take too much memory; replay \
                               fewer at a time (`--limit`)";
                    return Err(RereadError::Stop(why.to_owned()));
                }
                Ok(())
            })?;
            later_changes.reached(next);
            Ok::<_, RereadError>(later_changes)
        });
        Ok(reading.await.map_err(|error| RereadError::Unavailable(error.to_string()))??)
    }
}

/// What is left to do of a letter, as its table takes it.
fn judge(table: &Table, letter: &StoredDeadLetter, later_changes: &LaterChanges) -> Judgement {
    let record = &letter.dead_letter.record;
    let change = match change_of(record) {
        Ok(change) => change,
        Err(reason) => return Judgement::No(Fate::Undecodable(reason)),
    };
    if later_changes.is_another_log(letter) {
        return Judgement::No(Fate::AnotherLog);
    }
    let (change, left_out) =
        match effective_change(&change, &later_changes.behind(letter), table.version_member()) {
            EffectiveChange::Whole(change) => (change, Vec::new()),
            EffectiveChange::Part(change, left_out) => (change, left_out),
            EffectiveChange::Nothing => return Judgement::Nothing,
        };
    match Row::judge(table, record.key.as_deref().unwrap_or_default(), &change) {
        Ok(row) => Judgement::Write(row.into_owned(), left_out),
        Err(misfit) => Judgement::No(Fate::Rejected { reason: misfit.to_string(), sqlstate: None }),
    }
}

async fn state_of<S: Session>(
    store: &mut S,
    letter: &StoredDeadLetter,
) -> Result<DeadLetterState, StoreError> {
    let filter = Filter {
        cluster: Some(letter.scope.cluster.clone()),
        topic: Some(letter.scope.topic.clone()),
        partition: Some(letter.partition().0),
        from: Some(letter.offset().0),
        to: Some(letter.offset().0),
        ..Filter::default()
    };
    let found = letters::find(store, &letter.scope.pipeline, &filter, None, 1).await?;
    let gone = || StoreError::Stop("a letter was deleted while it was replayed".to_owned());
    found.first().map(|letter| letter.state).ok_or_else(gone)
}

fn passes(error: &ReplayError) -> bool {
    let passing =
        |error: &StoreError| !matches!(error, StoreError::Stop(_) | StoreError::Refused(_));
    match error {
        ReplayError::Store(error) => passing(error),
        ReplayError::Log(error) => matches!(error, RereadError::Unavailable(_)),
    }
}
