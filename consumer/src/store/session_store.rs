//! Every session is a store.

use write_behind_shared::Partition;

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::table::Table;
use crate::store::session::Session;
use crate::store::{
    Known, Outcome, Position, Store, StoreError, Transaction, fenced, inspect, positions,
};

impl<S: Session + 'static> Store for S {
    async fn init(&mut self) -> Result<(), StoreError> {
        self.create_bookkeeping().await
    }

    async fn describe(&mut self, table: &str, key: &[String]) -> Result<Table, StoreError> {
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

    async fn owner(&mut self, table: &Table) -> Result<Option<BookkeepingKey>, StoreError> {
        inspect::owner(self, table).await
    }

    async fn claim(
        &mut self,
        table: &Table,
        scope: &BookkeepingKey,
    ) -> Result<BookkeepingKey, StoreError> {
        inspect::claim(self, table, scope).await
    }

    async fn apply(&mut self, transaction: &Transaction<'_>) -> Result<Outcome, StoreError> {
        fenced::apply(self, transaction).await
    }
}
