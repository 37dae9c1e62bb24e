//! The records of a batch's refused rows, read again in parts that memory can hold: the first before
//! the transaction, the others within it.

use std::fmt;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};

use crate::apply::log::{Log, RereadError, gone};
use crate::core::batch::{Batch, Span, WantedKeys};
use crate::core::row_by_row::{self, Places, RowByRow};
use crate::core::table::Table;
use crate::store::{MoreRecords, Part, PartFuture, Unread};

/// How far the records have been read.
#[derive(Clone, Debug, Default)]
struct Reached {
    rest: Vec<Span>,
    /// The wanted keys of which no record has come yet.
    unseen: WantedKeys,
    /// How many records were found good, and how many bad, in the parts after the first.
    later: (usize, usize),
}

/// The records read again: the first part, and where the others begin.
#[derive(Debug, Default)]
pub(super) struct Reread {
    pub(super) first: RowByRow,
    wanted: Arc<WantedKeys>,
    after_first: Reached,
}

impl Reread {
    /// Reads the first part of the records of the rows in `fallback`.
    pub(super) async fn first<L: Log>(
        log: &L,
        table: &Table,
        batch: &Batch,
        fallback: &Places,
    ) -> Result<Self, RereadError> {
        let (wanted, spans) = row_by_row::wanted(batch, fallback);
        let mut after_first = Reached { rest: spans, unseen: wanted.clone(), later: (0, 0) };
        let wanted = Arc::new(wanted);
        let first = read_part(log, table, batch, &wanted, &mut after_first).await?;
        Ok(Self { first, wanted, after_first })
    }

    /// Whether there are parts after the first.
    pub(super) fn has_others(&self) -> bool {
        !self.after_first.rest.is_empty()
    }

    /// The parts after the first.
    pub(super) fn others<'a, L: Log>(
        &'a self,
        log: &'a L,
        table: &'a Table,
        batch: &'a Batch,
    ) -> Others<'a, L> {
        let (reached, failed) = (Mutex::default(), Mutex::default());
        Others { log, table, batch, reread: self, reached, failed }
    }
}

/// The parts after the first.
pub(super) struct Others<'a, L> {
    log: &'a L,
    table: &'a Table,
    batch: &'a Batch,
    reread: &'a Reread,
    reached: Mutex<Reached>,
    failed: Mutex<Option<RereadError>>,
}

impl<L: Log> Others<'_, L> {
    /// How many records were found good, and how many bad.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).later
    }

    /// Why a part could not be read.
    pub(super) fn failure(&self) -> RereadError {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.unwrap_or_else(|| RereadError::Unavailable("reading ended".to_owned()))
    }

    async fn next(&self, is_first: bool) -> Result<Option<Part>, RereadError> {
        let mut reached = if is_first {
            self.reread.after_first.clone()
        } else {
            take(&mut *self.reached.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let part = if reached.rest.is_empty() {
            None
        } else {
            let wanted = &self.reread.wanted;
            let part = read_part(self.log, self.table, self.batch, wanted, &mut reached).await?;
            reached.later.0 += part.records.len();
            reached.later.1 += part.dead_letters.len();
            Some(Part { records: part.records, dead_letters: part.dead_letters })
        };
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = reached;
        Ok(part)
    }
}

impl<L: Log> MoreRecords for Others<'_, L> {
    fn next_part(&self, is_first: bool) -> PartFuture<'_> {
        Box::pin(async move {
            self.next(is_first).await.map_err(|error| {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Unread
            })
        })
    }
}

async fn read_part<L: Log>(
    log: &L,
    table: &Table,
    batch: &Batch,
    wanted: &Arc<WantedKeys>,
    reached: &mut Reached,
) -> Result<RowByRow, RereadError> {
    let (topic, spans) = (Arc::clone(&batch.topic), take(&mut reached.rest));
    let part = log.records(topic, spans, Arc::clone(wanted)).await?;
    reached.rest = part.rest;
    row_by_row::see(&mut reached.unseen, &part.records);
    if reached.rest.is_empty() && !reached.unseen.is_empty() {
        return Err(gone(&batch.topic));
    }
    Ok(row_by_row::from_log(table, batch, part.records))
}

impl<L> fmt::Debug for Others<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Others").field("reached", &self.reached).finish_non_exhaustive()
    }
}
