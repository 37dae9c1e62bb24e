//! The client that asks a broker how the topic is configured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::config::ClientConfig;
use tokio::runtime::Handle;
use tracing::{debug, warn};
use write_behind_shared::kafka::KafkaSettings;

use crate::core::topic_config::TopicConfig;
use crate::error::BuildError;
use crate::kafka::connection::Connection;
use crate::kafka::settings::{QuietContext, client_refused, suits_a_consumer};

/// Asks how a topic is configured.
pub(crate) struct TopicQuestion {
    admin: AdminClient<QuietContext>,
    topic: String,
    runtime: Handle,
    compressed: bool,
}

/// How long the answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

impl TopicQuestion {
    pub(crate) fn new(
        connection: &Connection,
        topic: &str,
        runtime: &Handle,
    ) -> Result<Self, BuildError> {
        let settings = &connection.settings;
        let properties = settings.with(&[], &[]).filter(|(name, _)| suits_a_consumer(name));
        let config: ClientConfig = properties.collect();
        let admin = config.create_with_context(QuietContext::of(connection));
        let admin = admin.map_err(|error| client_refused(&error))?;
        let (topic, compressed) = (topic.to_owned(), compresses(settings));
        Ok(Self { admin, topic, runtime: runtime.clone(), compressed })
    }

    /// Asks on a thread of its own, so that no start waits for it: a cluster may have no controller,
    /// and the right to ask may be missing. What endangers a promise is logged; the limits are
    /// lowered to what the topic takes. Until then brokers find out what is too large.
    pub(crate) fn ask_on_a_thread(
        self,
        replicas: Option<usize>,
        smaller_batches: impl FnOnce(usize) + Send + 'static,
        record_bytes: Arc<AtomicUsize>,
    ) -> Result<(), BuildError> {
        Builder::new().name("write-behind-topic".to_owned()).spawn(move || {
            let (properties, compressed) = (self.ask(), self.compressed);
            let config = TopicConfig { properties, replicas, compressed };
            for danger in config.dangers() {
                warn!(topic = self.topic, "{danger}");
            }
            if let Some(bytes) = config.batch_bytes_max() {
                smaller_batches(bytes);
            }
            if let Some(bytes) = config.record_bytes_max() {
                record_bytes.fetch_min(bytes, Ordering::Relaxed);
            }
        })?;
        Ok(())
    }

    fn ask(&self) -> BTreeMap<String, String> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
        let topic = [ResourceSpecifier::Topic(&self.topic)];
        let answer = self.runtime.block_on(self.admin.describe_configs(&topic, &options));
        match answer.map(|mut resources| resources.pop()) {
            Ok(Some(Ok(resource))) => {
                let entries = resource.entries.into_iter();
                entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()
            }
            other => {
                debug!(topic = self.topic, answer = ?other, "kafka does not tell the configuration");
                BTreeMap::new()
            }
        }
    }
}

/// Whether the client compresses its batches.
fn compresses(settings: &KafkaSettings) -> bool {
    let codecs = ["compression.type", "compression.codec"].map(|name| settings.get(name));
    codecs.into_iter().flatten().any(|codec| codec.trim() != "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_compresses_if_a_codec_is_set_by_either_of_its_names() {
        for (name, value, expected) in [
            ("linger.ms", "5", false),
            ("compression.type", "none", false),
            ("compression.codec", "none", false),
            ("compression.type", "zstd", true),
            ("compression.codec", "lz4", true),
        ] {
            let properties = [("bootstrap.servers", "localhost"), (name, value)];
            let settings = KafkaSettings::new(properties, &[]).unwrap();
            assert_eq!(compresses(&settings), expected, "{name} = {value}");
        }
    }
}
