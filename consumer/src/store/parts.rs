//! A transaction's single records, written part by part.

use std::time::Duration;

use crate::core::record::DeadLetter;
use crate::store::classify::Failure;
use crate::store::fenced::Open;
use crate::store::more_records::{Part, PartFuture, Unread};
use crate::store::session::{Session, TransactionCommand};
use crate::store::{StoreError, Transaction};

/// How long a transaction waits for a part before it shows the server that it is alive. Shorter than
/// [`Timeouts::idle_in_transaction`](crate::store::Timeouts).
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

impl<S: Session> Open<'_, S> {
    /// Writes all single records, part by part. [`Unread`]: one could not be read.
    pub(super) async fn write_all_row_by_row(
        self,
        tx: &Transaction<'_>,
    ) -> Result<(Self, Result<Vec<DeadLetter>, Unread>), StoreError> {
        let (mut open, mut set_aside) = self.write_row_by_row(tx).await?;
        let Some(more) = tx.more_records else { return Ok((open, Ok(set_aside))) };
        let mut is_first = true;
        while tx.dead_letters.len() + set_aside.len() <= tx.options.set_aside_max {
            let part = match open.wait_for(more.next_part(is_first)).await? {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(unread) => return Ok((open, Err(unread))),
            };
            is_first = false;
            set_aside.extend(part.dead_letters);
            let part = Transaction { row_by_row: &part.records, ..*tx };
            let refused;
            (open, refused) = open.write_row_by_row(&part).await?;
            set_aside.extend(refused);
        }
        Ok((open, Ok(set_aside)))
    }

    /// Waits for a part. Meanwhile the server must not end the transaction for being idle.
    async fn wait_for(
        &mut self,
        mut part: PartFuture<'_>,
    ) -> Result<Result<Option<Part>, Unread>, StoreError> {
        loop {
            tokio::select! {
                biased;
                part = &mut part => return Ok(part),
                () = self.session().wait(SIGN_OF_LIFE) => {}
            }
            for command in [TransactionCommand::Savepoint, TransactionCommand::Release] {
                self.session().command(command).await.map_err(Failure::of_no_row)?;
            }
        }
    }
}
