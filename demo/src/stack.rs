//! Where the demo runs: on embedded parts, or on a real Kafka and a real database that it is
//! pointed at. Nothing after this file knows which.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use write_behind_producer::testing;

/// Kafka and the database.
pub(crate) struct Stack {
    /// Where Kafka is.
    pub(crate) bootstrap: String,
    /// The database's URL.
    pub(crate) database: String,
    /// The Kafka cluster's id.
    pub(crate) cluster: String,
    /// How many partitions the topic has.
    pub(crate) partitions: i32,
    /// What to call the two in a sentence.
    pub(crate) described: String,
    /// What to call the database alone.
    pub(crate) described_database: String,
    /// Kept alive: the embedded broker ends with it.
    _embedded: Option<testing::Broker>,
}

/// The embedded broker keeps about 5 MB of each partition, so a year of flights takes a few.
const PARTITIONS: i32 = 16;
const TIMEOUT: Duration = Duration::from_secs(20);

impl Stack {
    /// Takes what `kafka` and `database` point at, and embedded parts for what they leave open.
    pub(crate) async fn open(
        kafka: Option<String>,
        database: Option<String>,
        file: &Path,
        topic: &str,
    ) -> Result<Self> {
        let (embedded, bootstrap) = if let Some(bootstrap) = kafka {
            (None, bootstrap)
        } else {
            let kafka = testing::Broker::start()?.topic(topic, PARTITIONS)?;
            let bootstrap = kafka.bootstrap_servers();
            (Some(kafka), bootstrap)
        };
        let described_kafka = if embedded.is_some() { "an embedded broker" } else { "Kafka" };
        let (database, described_database) = if let Some(url) = database {
            (url, "the database given".to_owned())
        } else {
            let url = format!("sqlite://{}?mode=rwc", file.display());
            (url, format!("SQLite in {}", file.display()))
        };
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &bootstrap).create()?;
        if embedded.is_none() {
            create_topic(&admin, topic).await?;
        }
        let (cluster, partitions) = tokio::task::spawn_blocking({
            let topic = topic.to_owned();
            move || look_up(&admin, &topic)
        })
        .await??;
        let described = format!("{described_kafka} and {described_database}");
        Ok(Self {
            bootstrap,
            database,
            cluster,
            partitions,
            described,
            described_database,
            _embedded: embedded,
        })
    }
}

/// Creates the topic on a real broker, unless it is there.
async fn create_topic(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<()> {
    // -1: as many replicas as the broker's own default.
    let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    for result in admin.create_topics([&new], &options).await.context("can't reach Kafka")? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => bail!("can't create the topic `{topic}`: {error}"),
        }
    }
    Ok(())
}

fn look_up(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<(String, i32)> {
    let client = admin.inner();
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT).context("can't reach Kafka")?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if partitions == 0 {
        bail!("the topic `{topic}` has no partitions yet; run the demo again");
    }
    let cluster =
        client.fetch_cluster_id(TIMEOUT).context("the broker does not tell its cluster's id")?;
    Ok((cluster, i32::try_from(partitions)?))
}
