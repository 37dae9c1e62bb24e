//! A real broker in a container, reached directly by the tests and through a proxy by workers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use testcontainers::core::{ExecCommand, IntoContainerPort, WaitFor};
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use crate::containers::{self, Container};
use crate::kafka_wire::KafkaWire;
use crate::wait::{PATIENCE, Seen, until};

/// The broker. Its container is removed when it is dropped.
#[derive(Debug)]
pub struct Kafka {
    container: Container,
    direct: u16,
    wire: KafkaWire,
}

impl Kafka {
    /// Starts a broker that has no topics yet, and waits until it answers.
    pub async fn start() -> Result<Self> {
        let wire = KafkaWire::listening().await?;
        let proxied = wire.port();
        let (container, [direct, behind]) =
            containers::start(|[direct, behind]| request(direct, proxied, behind)).await?;
        wire.forward_to(behind);
        let kafka = Self { container, direct, wire };
        answers(&kafka.bootstrap()).await?;
        Ok(kafka)
    }

    /// The container's id.
    pub fn container(&self) -> &str {
        self.container.id()
    }

    /// The CPU time that it has taken so far.
    pub async fn cpu(&self) -> Result<Duration> {
        containers::cpu(&self.container).await
    }

    /// Where tests connect.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.direct)
    }

    /// Where workers connect when a test wants to stand in their way.
    pub fn bootstrap_through_wire(&self) -> String {
        format!("127.0.0.1:{}", self.wire.port())
    }

    /// The proxy between the workers and the broker.
    pub fn wire(&self) -> &KafkaWire {
        &self.wire
    }

    /// Creates a topic and waits until every partition has a leader.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        create_topic(&self.bootstrap(), name, partitions, 1).await
    }

    /// Runs a shell script inside the broker's container, with `input` as its `$1`, and returns
    /// what it printed.
    pub async fn shell(&self, script: &str, input: &str) -> Result<String> {
        command(&self.container, ExecCommand::new(["bash", "-c", script, "bash", input]))
            .await
            .with_context(|| format!("{script:?} in Kafka's container"))
    }
}

/// Runs a command in a container, and returns what it printed.
pub(crate) async fn command(container: &Container, command: ExecCommand) -> Result<String> {
    let mut run = container.exec(command).await?;
    let output = run.stdout_to_vec().await?;
    let complaint = run.stderr_to_vec().await?;
    let code = run.exit_code().await?;
    let complaint = String::from_utf8_lossy(&complaint);
    ensure!(code == Some(0), "it ended with {code:?}: {complaint}");
    Ok(String::from_utf8(output)?)
}

/// Waits until the broker there answers.
pub(crate) async fn answers(bootstrap: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    until("the broker to answer", PATIENCE, async || {
        let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(2));
        Ok(match metadata {
            Ok(metadata) if !metadata.brokers().is_empty() => Seen::Done(()),
            Ok(_) => Seen::NotYet("no broker in its metadata".to_owned()),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
    .await
    .context("Kafka")
}

/// Creates a topic and waits until every partition has a leader.
pub(crate) async fn create_topic(
    bootstrap: &str,
    name: &str,
    partitions: i32,
    replicas: i32,
) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
    let results = admin.create_topics([&topic], &AdminOptions::new()).await?;
    for result in results {
        result.map_err(|(topic, code)| anyhow::anyhow!("topic {topic}: {code}"))?;
    }
    let client = admin.inner();
    until(&format!("leaders of {name}"), PATIENCE, async || {
        let metadata = client.fetch_metadata(Some(name), Duration::from_secs(5))?;
        let leaders =
            metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
        let led = leaders.filter(|partition| partition.leader() >= 0).count();
        Ok(Seen::when(led == partitions as usize, || format!("{led} of {partitions}")))
    })
    .await
}

/// Gives a topic these properties, and no others but the defaults.
pub(crate) async fn configure_topic(
    bootstrap: &str,
    name: &str,
    properties: &[(&str, &str)],
) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let topic = AlterConfig::new(ResourceSpecifier::Topic(name));
    let topic = properties.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    for result in admin.alter_configs([&topic], &AdminOptions::new()).await? {
        result.map_err(|(topic, code)| anyhow::anyhow!("topic {topic:?}: {code}"))?;
    }
    Ok(())
}

/// What every broker here is made of, alone or in a cluster.
pub(crate) fn image() -> ContainerRequest<GenericImage> {
    GenericImage::new("apache/kafka", "4.1.1")
        .with_wait_for(WaitFor::message_on_stdout("Kafka Server started"))
        .with_startup_timeout(PATIENCE)
        .with_env_var("KAFKA_PROCESS_ROLES", "broker,controller")
        .with_env_var("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER")
        .with_env_var("KAFKA_INTER_BROKER_LISTENER_NAME", "INSIDE")
        .with_env_var("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "5")
        .with_env_var("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        // A killed worker is given up after its session, so sessions must be allowed to be short.
        .with_env_var("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", "1000")
        .with_env_var("KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS", "1000")
        .with_env_var("KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS", "3000")
        .with_env_var("KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS", "100")
        .with_env_var("KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS", "500")
        .with_env_var("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
        // On a few cores the compiler of the virtual machine costs more than it gains in a test.
        .with_env_var("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")
}

fn request(direct: u16, proxied: u16, behind: u16) -> ContainerRequest<GenericImage> {
    let advertised = format!(
        "PLAINTEXT://127.0.0.1:{direct},PROXIED://127.0.0.1:{proxied},INSIDE://localhost:9093"
    );
    let protocols = "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT";
    single()
        .with_mapped_port(direct, 9092.tcp())
        .with_mapped_port(behind, 9095.tcp())
        .with_env_var(
            "KAFKA_LISTENERS",
            "PLAINTEXT://:9092,INSIDE://:9093,CONTROLLER://:9094,PROXIED://:9095",
        )
        .with_env_var("KAFKA_ADVERTISED_LISTENERS", advertised)
        .with_env_var("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", protocols)
}

/// A broker that is alone, without its listeners.
pub(crate) fn single() -> ContainerRequest<GenericImage> {
    image()
        .with_env_var("KAFKA_NODE_ID", "1")
        .with_env_var("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9094")
        .with_env_var("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1")
        .with_env_var("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1")
        .with_env_var("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1")
        .with_env_var("KAFKA_HEAP_OPTS", "-Xmx512m -Xms256m")
}
