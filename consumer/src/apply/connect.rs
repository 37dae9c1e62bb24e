//! Opens a worker's connection.

use crate::store::{AnyStore, Database, Store, StoreError, Timeouts};

/// Creates connections.
pub trait Connect: Send + Sync + 'static {
    /// The kind of connection.
    type Store: Store;

    /// Creates one connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Store, StoreError>> + Send;
}

impl Connect for (Database, Timeouts) {
    type Store = AnyStore;

    async fn connect(&self) -> Result<AnyStore, StoreError> {
        let (database, timeouts) = self;
        database.connect(timeouts).await
    }
}
