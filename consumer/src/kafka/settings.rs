//! Topics' configurations as the broker has them, defaults included.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use write_behind_shared::kafka::KafkaSettings;

use crate::kafka::client;
use crate::kafka::client::ANSWER_WITHIN;

/// A topic's configuration: values by property.
pub(crate) type Configuration = BTreeMap<String, String>;

/// Asks the broker how each of `topics` is configured, in one question.
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
        Err(error) => topics.iter().map(|_| Err(error.to_string())).collect(),
    }
}

/// The broker answers in the order of `topics`.
async fn answers(
    settings: &KafkaSettings,
    group: &str,
    topics: &[&str],
) -> Result<Vec<Result<Configuration, String>>, KafkaError> {
    let admin: AdminClient<DefaultClientContext> =
        client::client_config(settings, group).create()?;
    let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN));
    let answers = admin.describe_configs(&asked, &options).await?.into_iter();
    let entries = |answer: ConfigResource| {
        let entries = answer.entries.into_iter();
        entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()
    };
    Ok(answers.map(|answer| answer.map(entries).map_err(|code| code.to_string())).collect())
}
