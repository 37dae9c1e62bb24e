//! A loader that is prepared after its handle was built: what is loaded before then waits.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::LoadError;
use crate::load::{AnyLoader, DeadLetter, Loaded, Loader, LogRange};

/// A loader whose readiness others are told of.
pub(crate) struct LateLoader<K> {
    loader: Arc<dyn AnyLoader<K>>,
    is_ready: watch::Receiver<bool>,
}

impl<K> LateLoader<K> {
    /// The loader, and what is told once it is ready.
    pub(crate) fn new(loader: Arc<dyn AnyLoader<K>>) -> (Self, watch::Sender<bool>) {
        let (ready, is_ready) = watch::channel(false);
        (Self { loader, is_ready }, ready)
    }

    async fn ready(&self) -> Result<&dyn AnyLoader<K>, LoadError> {
        let told = self.is_ready.clone().wait_for(|is_ready| *is_ready).await.map(drop);
        told.map_err(|_| LoadError::new("the handle was closed before Kafka had answered"))?;
        Ok(&*self.loader)
    }
}

impl<K: Send + Sync + 'static> Loader<K> for LateLoader<K> {
    async fn load(&self, key: &K) -> Result<Loaded, LoadError> {
        self.ready().await?.load_boxed(key).await
    }

    async fn load_many(&self, keys: &[K]) -> Result<Vec<Loaded>, LoadError> {
        self.ready().await?.load_many_boxed(keys).await
    }

    fn knows_dead_letters(&self) -> bool {
        self.loader.knows_dead_letters()
    }

    async fn dead_letters(&self, ranges: &[LogRange]) -> Result<Vec<DeadLetter>, LoadError> {
        self.ready().await?.dead_letters_boxed(ranges).await
    }
}
