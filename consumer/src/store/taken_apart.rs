//! How a transaction's rows are taken apart, once the database has refused something: behind
//! savepoints, in halves, to the single record.

use crate::core::parents_first::{has_cycle, in_halves, in_two};
use crate::core::record::DeadLetter;
use crate::core::row_by_row;
use crate::core::table::row::Row;
use crate::core::verdict::{self, OnUncertain};
use crate::core::writes::runs;
use crate::store::classify::{Failure, Rejection};
use crate::store::fenced::{Open, Wrote, is_out_of_turn};
use crate::store::session::{Session, TransactionCommand};
use crate::store::{StoreError, Transaction, codes};

/// What rows at these places are written as; `None`: take them apart.
type Fold<'f> = dyn Fn(&[usize]) -> Option<Vec<Row<'static>>> + Send + Sync + 'f;

/// A refusal of rows, or of one.
struct Refusal {
    rejection: Rejection,
    /// Whether its code says that the rows are at fault.
    is_certain: bool,
}

impl<S: Session> Open<'_, S> {
    /// Tries a few rows alone, and leaves none written. Returns why one was refused, if none can be
    /// written and that is not certainly their own fault: taking thousands apart would tell no more.
    pub(super) async fn sample(
        mut self,
        tx: &Transaction<'_>,
    ) -> Result<(Self, Option<Rejection>), StoreError> {
        let mut doubt = None;
        if tx.rows.len() <= verdict::SAMPLE {
            return Ok((self, doubt));
        }
        for place in verdict::sample(tx.rows.len()) {
            let outcome;
            (self, outcome) = self.try_rows(tx, &[&tx.rows[place]]).await?;
            self.end_savepoint(false).await?;
            match outcome {
                Ok(wrote) if wrote.has_written => return Ok((self, None)),
                Err(refusal) if !refusal.is_certain => doubt = Some(refusal.rejection),
                Ok(_) | Err(_) => {}
            }
        }
        Ok((self, doubt))
    }

    /// Writes the rows, or finds those that are refused, by their place.
    ///
    /// A part that fails is halved until the refused rows stand alone; the good ones stay written.
    /// So each refused row costs about 2 log2(rows) statements.
    pub(super) async fn write_bisected(
        self,
        tx: &Transaction<'_>,
    ) -> Result<(Self, Vec<usize>), StoreError> {
        let rows: Vec<&Row<'_>> = tx.rows.iter().collect();
        let (open, refused) = {
            let in_two = |part: &[usize]| in_two(tx.table, &rows, part);
            self.write_parts(tx, &rows, vec![(0..rows.len()).collect()], None, in_two).await?
        };
        Ok((open, refused.into_iter().map(|(place, _)| place).collect()))
    }

    /// Writes single records in log order, and makes dead letters of the refused ones. Records that
    /// can't be in each other's way are written together, as long as none is refused; or, with
    /// [`folds_records`](crate::store::WriteOptions::folds_records), any that follow each other, folded.
    pub(super) async fn write_row_by_row(
        self,
        tx: &Transaction<'_>,
    ) -> Result<(Self, Vec<DeadLetter>), StoreError> {
        let rows: Vec<&Row<'_>> = tx.row_by_row.iter().map(|(_, row)| row).collect();
        let (mut open, refused) = {
            // In log order, except that rows of a cycle are only taken together.
            let in_two = |part: &[usize]| {
                if has_cycle(tx.table, &rows, part) {
                    in_two(tx.table, &rows, part)
                } else {
                    in_halves(part)
                }
            };
            if tx.options.folds_records {
                let fold = |part: &[usize]| row_by_row::folded(tx.table, tx.row_by_row, part);
                let all = vec![(0..rows.len()).collect()];
                self.write_parts(tx, &rows, all, Some(&fold), in_two).await?
            } else {
                self.write_parts(tx, &rows, runs(&rows), None, in_two).await?
            }
        };
        let doubt = refused.iter().find(|(_, refusal)| !refusal.is_certain);
        if open.doubt.is_none() {
            open.doubt = doubt.map(|(_, refusal)| refusal.rejection.clone());
        }
        // If it were set aside, every record of that day would be. A record that takes another
        // row's unique value is refused for that, and its row may exist.
        let lacks = |(place, refusal): &(usize, Refusal)| {
            let is_taken = codes::is_taken(refusal.rejection.code());
            if is_taken { None } else { rows[*place].lacks(tx.newly_required) }
        };
        open.demanded = open.demanded.or_else(|| refused.iter().find_map(lacks));
        let letter = |(place, refusal): (usize, Refusal)| DeadLetter {
            record: tx.row_by_row[place].0.clone(),
            reason: refusal.rejection.reason,
            sqlstate: refusal.rejection.sqlstate,
        };
        Ok((open, refused.into_iter().map(letter).collect()))
    }

    /// Writes `parts` of `rows`, by their places, in this order; takes each that is refused in two,
    /// until the refused rows stand alone. `fold` says what several of them are written as.
    async fn write_parts(
        mut self,
        tx: &Transaction<'_>,
        rows: &[&Row<'_>],
        mut parts: Vec<Vec<usize>>,
        fold: Option<&Fold<'_>>,
        in_two: impl Fn(&[usize]) -> (Vec<usize>, Vec<usize>) + Send,
    ) -> Result<(Self, Vec<(usize, Refusal)>), StoreError> {
        let mut refused = Vec::new();
        parts.reverse();
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let folded = fold.filter(|_| part.len() > 1).map(|fold| fold(&part));
            let of_part: Vec<&Row<'_>> = match &folded {
                Some(None) => {
                    let (first, second) = in_two(&part);
                    parts.extend([second, first]);
                    continue;
                }
                Some(Some(rows)) => rows.iter().collect(),
                None => part.iter().map(|place| rows[*place]).collect(),
            };
            let outcome;
            (self, outcome) = self.attempt(tx, &of_part).await?;
            match outcome {
                Ok(()) => {}
                Err(refusal) if part.len() == 1 => {
                    self.is_out_of_turn |= is_out_of_turn(tx, &refusal.rejection);
                    refused.push((part[0], refusal));
                }
                Err(_) => {
                    // The earlier half is tried first.
                    let (first, second) = in_two(&part);
                    parts.extend([second, first]);
                }
            }
        }
        refused.sort_unstable_by_key(|(place, _)| *place);
        Ok((self, refused))
    }

    /// Writes all of `rows`, or none of them. Those that exist are updated, never proposed as
    /// inserts: a row is refused only by the statement that would store it.
    async fn attempt(
        self,
        tx: &Transaction<'_>,
        rows: &[&Row<'_>],
    ) -> Result<(Self, Result<(), Refusal>), StoreError> {
        let (mut open, outcome) = self.try_rows(tx, rows).await?;
        open.end_savepoint(outcome.is_ok()).await?;
        let outcome = outcome.map(|wrote| open.wrote.add(wrote));
        Ok((open, outcome))
    }

    /// Writes `rows` behind a savepoint, which stays.
    async fn try_rows(
        mut self,
        tx: &Transaction<'_>,
        rows: &[&Row<'_>],
    ) -> Result<(Self, Result<Wrote, Refusal>), StoreError> {
        self.session.command(TransactionCommand::Savepoint).await.map_err(Failure::of_no_row)?;
        let refused = |rejection, is_certain| Err(Refusal { rejection, is_certain });
        let outcome = match self.write(tx, rows, true).await {
            Ok(wrote) => Ok(wrote),
            Err(Failure::Data(rejection)) => refused(rejection, true),
            // Of several rows one may be in another's way: alone each has its turn.
            Err(Failure::MissingReference(rejection))
                if tx.options.refuse_missing_references || rows.len() > 1 =>
            {
                refused(rejection, true)
            }
            Err(Failure::MissingReference(rejection)) => {
                return Err(StoreError::MissingReference(rejection.reason));
            }
            Err(Failure::Twice) if rows.len() > 1 => {
                refused(Rejection::twice("two keys are one row to the database"), true)
            }
            // A row alone can't be the same as another: a trigger's statement found two.
            Err(Failure::Twice) => {
                refused(Rejection::twice("more than one row where there may be one"), false)
            }
            Err(Failure::Uncertain(rejection)) => refused(rejection, false),
            Err(failure) => return Err(failure.of_no_row()),
        };
        match outcome {
            Err(Refusal { rejection, is_certain: false })
                if tx.options.on_uncertain == OnUncertain::Fail =>
            {
                Err(rejection.uncertain())
            }
            outcome => Ok((self, outcome)),
        }
    }

    /// Ends the savepoint, and keeps what came after it, or not. Postgres keeps each open one as a
    /// subtransaction, and thousands of them slow the whole server down.
    pub(super) async fn end_savepoint(&mut self, keep: bool) -> Result<(), StoreError> {
        let end = if keep {
            TransactionCommand::Release
        } else {
            TransactionCommand::RollBackToSavepoint
        };
        self.session.command(end).await.map_err(Failure::of_no_row)
    }
}
