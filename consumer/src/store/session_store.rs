//! Every session is a store.

use write_behind_shared::Partition;

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::claim::Claim;
use crate::core::table::Table;
use crate::store::session::Session;
use crate::store::{
    BookkeepingState, Known, Outcome, Position, Store, StoreError, Transaction, claims, fenced,
    inspect, positions, schema,
};

impl<S: Session + 'static> Store for S {
    async fn bookkeeping(&mut self) -> Result<BookkeepingState, StoreError> {
        schema::state(self).await
    }

    async fn init(&mut self) -> Result<BookkeepingState, StoreError> {
        let before = schema::state(self).await?;
        before.not_newer()?;
        // To create a table that is there needs the right to create one.
        if before != BookkeepingState::Ready {
            self.create_bookkeeping().await.map_err(inspect::not_created)?;
        }
        Ok(before)
    }

    async fn describe(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
        inspect::not_bookkeeping(table)?;
        self.read_catalog(table, key).await
    }

    async fn positions(
        &mut self,
        scope: &BookkeepingKey,
        partitions: &[Partition],
    ) -> Result<Vec<Position>, StoreError> {
        positions::positions(self, scope, partitions).await
    }

    async fn begin_at(
        &mut self,
        scope: &BookkeepingKey,
        at: &[Position],
    ) -> Result<(), StoreError> {
        positions::begin_at(self, scope, at).await
    }

    async fn known(&mut self, scope: &BookkeepingKey) -> Result<Vec<Known>, StoreError> {
        positions::known(self, scope).await
    }

    async fn claims(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> Result<Vec<Claim>, StoreError> {
        claims::claims(self, table, scope).await
    }

    async fn note_claim(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> Result<(), StoreError> {
        claims::note_claim(self, table, scope).await
    }

    async fn is_empty(&mut self, table: &Table) -> Result<bool, StoreError> {
        claims::is_empty(self, table).await
    }

    async fn apply(&mut self, transaction: &Transaction<'_>) -> Result<Outcome, StoreError> {
        fenced::apply(self, transaction).await
    }
}
