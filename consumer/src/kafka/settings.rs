//! A topic's configuration: takes its name, gives what the broker says of it, the defaults included.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use write_behind_shared::kafka::KafkaSettings;

use super::broker::{self, ANSWER_WITHIN};

/// Asks the broker how `topic` is configured.
///
/// # Errors
/// Why that can't be read: a missing right, or no answer within ten seconds.
pub(crate) async fn topic_configuration(
    settings: &KafkaSettings,
    group: &str,
    topic: &str,
) -> Result<BTreeMap<String, String>, String> {
    let admin: AdminClient<DefaultClientContext> =
        broker::client_config(settings, group).create().map_err(|error| error.to_string())?;
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN));
    let answers = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    let answers = answers.map_err(|error| error.to_string())?;
    let answer = answers.into_iter().next().ok_or_else(|| "no answer".to_owned())?;
    let entries = answer.map_err(|error| error.to_string())?.entries.into_iter();
    Ok(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect())
}
