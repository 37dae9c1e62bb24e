//! The HTTP side of a consumer: what its rooms answer, put together.

use std::net::SocketAddr;

use tokio::task::JoinSet;

use crate::dead_letters::actions;
use crate::fleet;
use crate::run::{Consumer, RunError};
use crate::status::http;

impl Consumer {
    /// Listens, if it is to, and answers from then on. Returns the address.
    pub(super) async fn listen(
        &self,
        tasks: &mut JoinSet<String>,
    ) -> Result<Option<SocketAddr>, RunError> {
        let Some(address) = self.config.http else { return Ok(None) };
        let listener = http::listen(address).await.map_err(RunError::Failed)?;
        let page = listener.local_addr().ok();
        let (status, registry) = (self.status(), self.options.registry.clone());
        let more = actions::router(&self.config).merge(fleet::http::router(&self.config));
        tasks.spawn(async move { match http::serve(listener, status, registry, more).await {} });
        Ok(page)
    }
}
