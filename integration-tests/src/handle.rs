//! A handle under test, and what its metrics say of it.

use anyhow::{Context, Result};
use prometheus::Registry;
use write_behind_producer::{Builder, WriteBehind};
use write_behind_shared::metrics::render;

use crate::load::{Cache, Row};
use crate::wait::PATIENCE;

/// A handle whose metrics can be looked at.
#[derive(Debug)]
pub struct Handle {
    /// The handle itself.
    pub cache: Cache,
    registry: Registry,
}

impl Handle {
    /// A builder for the rows of `topic`, whose sink group has the same name.
    pub fn builder(bootstrap: &str, topic: &str) -> Builder<String, Row> {
        let kafka = [
            ("bootstrap.servers", bootstrap),
            ("reconnect.backoff.max.ms", "1000"),
            // How long a broker that is silent is believed to be slow.
            ("socket.timeout.ms", "10000"),
            // What it holds comes on top of what is pending.
            ("queue.buffering.max.kbytes", "16384"),
        ];
        let builder = WriteBehind::builder(topic, kafka).sink_group(topic);
        // A busy machine is no failure of Kafka's or of the database's.
        builder.start_timeout(PATIENCE).load_timeout(PATIENCE)
    }

    /// Builds it.
    pub async fn new(builder: Builder<String, Row>) -> Result<Self> {
        let registry = Registry::new();
        Ok(Self { cache: builder.metrics(&registry).build().await?, registry })
    }

    /// All of its metrics, as Prometheus reads them.
    pub fn page(&self) -> Result<String> {
        Ok(render(&self.registry)?)
    }

    /// A metric by its name without the prefix, as of the last tenth of a second.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let wanted = format!("write_behind_producer_{name}{{");
        let page = render(&self.registry)?;
        let line = page.lines().find(|line| line.starts_with(&wanted));
        let value = line.and_then(|line| line.rsplit(' ').next());
        Ok(value.with_context(|| format!("no metric {name}"))?.parse()?)
    }

    /// How many writes Kafka has answered.
    pub fn answered(&self) -> Result<u64> {
        // In this order: writes that come in between make it less, not more.
        let writes = self.metric("writes_total")?;
        Ok((writes - self.metric("in_flight")?).max(0.0) as u64)
    }
}
