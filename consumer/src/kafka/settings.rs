//! Topics' configurations as the broker has them, defaults included.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataBroker;
use write_behind_shared::kafka::KafkaSettings;

use crate::kafka::client;
use crate::kafka::client::ANSWER_WITHIN;

/// A topic's configuration: values by property.
pub(crate) type Configuration = BTreeMap<String, String>;

/// Why the topic's records can't be applied exactly, if its `cleanup.policy` says so.
pub(crate) fn compaction(configuration: &Configuration) -> Option<String> {
    let policy = configuration.get("cleanup.policy")?;
    policy.split(',').any(|policy| policy.trim() == "compact").then(|| {
        format!(
            "cleanup.policy is {policy}: a compaction takes away increments, deletes, and columns \
             that only earlier records name, before they are written. Set it to delete"
        )
    })
}

/// Asks a broker how each of `topics` is configured, in one question.
///
/// In the place of a configuration that can't be read stands the reason: a missing right, or no
/// answer within ten seconds.
pub(crate) async fn topic_configurations(
    settings: &KafkaSettings,
    group: &str,
    topics: &[&str],
) -> Vec<Result<Configuration, String>> {
    match answers(settings, group, topics).await {
        Ok(answers) => answers,
        Err(error) => topics.iter().map(|_| Err(error.clone())).collect(),
    }
}

/// The broker answers in the order of `topics`.
async fn answers(
    settings: &KafkaSettings,
    group: &str,
    topics: &[&str],
) -> Result<Vec<Result<Configuration, String>>, String> {
    let config = client::client_config(settings, group);
    let some_topic = topics.first().copied().map(str::to_owned);
    let broker = tokio::task::spawn_blocking(move || some_broker(&config, some_topic.as_deref()));
    let broker = broker.await.map_err(|error| error.to_string())?;
    let (admin, broker) = broker.map_err(|error| error.to_string())?;
    let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN)).broker_id(broker);
    let answers = admin.describe_configs(&asked, &options).await;
    let answers = answers.map_err(|error| error.to_string())?.into_iter();
    let entries = |answer: ConfigResource| {
        let entries = answer.entries.into_iter();
        entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()
    };
    Ok(answers.map(|answer| answer.map(entries).map_err(|code| code.to_string())).collect())
}

/// A client, and a broker that is up. Every broker answers. Without a name, librdkafka asks the
/// controller, and if the cluster has none, waits for one until the timeout. Blocks.
fn some_broker(
    config: &ClientConfig,
    topic: Option<&str>,
) -> Result<(AdminClient<DefaultClientContext>, Option<i32>), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let metadata = admin.inner().fetch_metadata(topic, ANSWER_WITHIN)?;
    let broker = metadata.brokers().first().map(MetadataBroker::id);
    Ok((admin, broker))
}
