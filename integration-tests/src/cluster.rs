//! Three real brokers in containers, each of which can be killed, frozen and started again.
//!
//! Every topic has a replica on each and takes a write once two have it, so one broker may be away
//! and nothing acknowledged is lost. Each is also one of three controllers: any two go on without
//! the third.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataPartition;
use testcontainers::core::IntoContainerPort;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use uuid::Uuid;

use crate::containers::{self, Container, free_port, in_background, port_was_taken, start_once};
use crate::kafka;
use crate::wait::{PATIENCE, Seen, until};

/// How many brokers there are.
pub const BROKERS: usize = 3;
const SOON: Duration = Duration::from_secs(5);

/// The brokers, numbered from 0. Their containers are removed when they are dropped.
#[derive(Debug)]
pub struct Cluster {
    brokers: [Broker; BROKERS],
    asking: Asking,
}

#[derive(Debug)]
struct Broker {
    container: Container,
    port: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Frozen,
    Dead,
}

/// The client that asks for metadata.
#[derive(Clone)]
struct Asking(Arc<BaseConsumer>);

/// The brokers that all tests of this binary share, one test at a time, all of them running.
pub async fn cluster() -> Result<MutexGuard<'static, Cluster>> {
    static CLUSTER: OnceCell<Mutex<Cluster>> = OnceCell::const_new();
    let shared = CLUSTER
        .get_or_try_init(async || in_background(Cluster::start).await.map(Mutex::new))
        .await?;
    let mut cluster = shared.lock().await;
    // A test that failed has left them as they were then.
    cluster.restore_all().await?;
    Ok(cluster)
}

impl Cluster {
    /// Starts three brokers that have no topics yet, and waits until they are one cluster.
    pub async fn start() -> Result<Self> {
        let mut tries = 0;
        let (containers, ports) = loop {
            tries += 1;
            let (name, ports) = (Uuid::new_v4().simple().to_string(), free_ports()?);
            let start = |broker: usize| start_once(request(&name[..8], broker, ports[broker]));
            match tokio::try_join!(start(0), start(1), start(2)) {
                Ok((first, second, third)) => break ([first, second, third], ports),
                Err(error) if tries < 3 && port_was_taken(&error) => {}
                Err(error) => return Err(error),
            }
        };
        let mut ports_left = ports.into_iter();
        let brokers = containers.map(|container| Broker {
            container,
            port: ports_left.next().unwrap_or_default(),
            state: State::Running,
        });
        let asking = Asking::new(&bootstrap(ports))?;
        let cluster = Self { brokers, asking };
        cluster.all_are_registered().await?;
        Ok(cluster)
    }

    /// Where clients connect.
    pub fn bootstrap(&self) -> String {
        bootstrap(self.brokers.each_ref().map(|broker| broker.port))
    }

    /// Creates a topic with a replica on each broker, and waits until all have it.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        kafka::create_topic(&self.bootstrap(), name, partitions, BROKERS as i32).await?;
        self.in_sync(name).await
    }

    /// Gives a topic these properties, and no others but the defaults.
    pub async fn configure_topic(&self, name: &str, properties: &[(&str, &str)]) -> Result<()> {
        kafka::configure_topic(&self.bootstrap(), name, properties).await
    }

    /// Which broker leads a partition now.
    pub async fn leader_of(&self, topic: &str, partition: i32) -> Result<usize> {
        until(&format!("a leader of {topic}/{partition}"), PATIENCE, async || {
            let leader = self.asking.partitions(topic, move |all| {
                let of = all.iter().find(|one| one.id() == partition);
                of.map_or(-1, MetadataPartition::leader)
            });
            Ok(match leader.await {
                Ok(leader @ 1..) => Seen::Done(leader as usize - 1),
                other => Seen::NotYet(format!("{other:?}")),
            })
        })
        .await
    }

    /// Waits until every partition of the topic is led by another broker than this one.
    pub async fn led_by_others(&self, topic: &str, broker: usize) -> Result<()> {
        until(&format!("{topic} to be led by others than {broker}"), PATIENCE, async || {
            let leaders = self.asking.partitions(topic, |all| {
                all.iter().map(MetadataPartition::leader).collect::<Vec<_>>()
            });
            let other = |leader: &i32| *leader > 0 && *leader != broker as i32 + 1;
            Ok(match leaders.await {
                Ok(leaders) if leaders.iter().all(other) => Seen::Done(()),
                seen => Seen::NotYet(format!("{seen:?}")),
            })
        })
        .await
    }

    /// Waits until every replica of the topic's partitions is in sync.
    pub async fn in_sync(&self, topic: &str) -> Result<()> {
        until(&format!("all replicas of {topic} to be in sync"), PATIENCE, async || {
            let in_sync = self.asking.partitions(topic, |all| {
                let whole =
                    |one: &MetadataPartition| one.leader() > 0 && one.isr().len() == BROKERS;
                (all.iter().filter(|one| whole(one)).count(), all.len())
            });
            Ok(match in_sync.await {
                Ok((whole, all)) if whole == all && all > 0 => Seen::Done(()),
                other => Seen::NotYet(format!("{other:?}")),
            })
        })
        .await
    }

    /// Kills a broker, as a crash of its machine would.
    pub async fn kill(&mut self, broker: usize) -> Result<()> {
        let broker = self.running(broker)?;
        containers::kill(&broker.container).await?;
        broker.state = State::Dead;
        Ok(())
    }

    /// Freezes a broker: its connections stay, and it answers nothing.
    pub async fn pause(&mut self, broker: usize) -> Result<()> {
        let broker = self.running(broker)?;
        containers::pause(&broker.container).await?;
        broker.state = State::Frozen;
        Ok(())
    }

    /// Lets a frozen broker go on where it was, or starts a killed one with its data.
    pub async fn restore(&mut self, broker: usize) -> Result<()> {
        let broker = &mut self.brokers[broker];
        match broker.state {
            State::Running => {}
            State::Frozen => containers::unpause(&broker.container).await?,
            State::Dead => containers::restart(&broker.container).await?,
        }
        broker.state = State::Running;
        Ok(())
    }

    /// Kills all of them.
    pub async fn kill_all(&mut self) -> Result<()> {
        for broker in 0..BROKERS {
            self.kill(broker).await?;
        }
        Ok(())
    }

    /// Freezes all of them.
    pub async fn pause_all(&mut self) -> Result<()> {
        for broker in 0..BROKERS {
            self.pause(broker).await?;
        }
        Ok(())
    }

    /// Restores whichever is away, and waits until they are one cluster again.
    pub async fn restore_all(&mut self) -> Result<()> {
        for broker in 0..BROKERS {
            self.restore(broker).await?;
        }
        self.all_are_registered().await
    }

    fn running(&mut self, broker: usize) -> Result<&mut Broker> {
        let found = &mut self.brokers[broker];
        ensure!(found.state == State::Running, "broker {broker} is {:?}", found.state);
        Ok(found)
    }

    async fn all_are_registered(&self) -> Result<()> {
        until("three brokers to be one cluster", PATIENCE, async || {
            let asked = self.asking.brokers().await;
            Ok(match asked {
                Ok(BROKERS) => Seen::Done(()),
                other => Seen::NotYet(format!("{other:?}")),
            })
        })
        .await
        .context("the cluster")
    }
}

impl Asking {
    fn new(bootstrap: &str) -> Result<Self> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "the-tests-themselves")
            .set("reconnect.backoff.max.ms", "1000")
            // A broker that is frozen keeps its connections; another one is asked then.
            .set("socket.timeout.ms", "5000")
            .create()?;
        Ok(Self(Arc::new(client)))
    }

    async fn brokers(&self) -> Result<usize> {
        let Self(client) = self.clone();
        let asked =
            tokio::task::spawn_blocking(move || client.fetch_metadata(Some("none-such"), SOON));
        Ok(asked.await??.brokers().len())
    }

    async fn partitions<T: Send + 'static>(
        &self,
        topic: &str,
        look: impl FnOnce(&[MetadataPartition]) -> T + Send + 'static,
    ) -> Result<T> {
        let (Self(client), topic) = (self.clone(), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = client.fetch_metadata(Some(&topic), SOON)?;
            match metadata.topics().first() {
                Some(found) => Ok(look(found.partitions())),
                None => bail!("no topic {topic}"),
            }
        });
        asked.await?
    }
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

fn free_ports() -> Result<[u16; BROKERS]> {
    let mut ports = [0; BROKERS];
    for port in &mut ports {
        *port = free_port()?;
    }
    Ok(ports)
}

fn bootstrap(ports: [u16; BROKERS]) -> String {
    ports.map(|port| format!("127.0.0.1:{port}")).join(",")
}

fn request(name: &str, broker: usize, port: u16) -> ContainerRequest<GenericImage> {
    // The names under which the brokers find each other on a network of their own.
    let host = |id: usize| format!("write-behind-test-{name}-{id}");
    let voters: Vec<String> = (1..=BROKERS).map(|id| format!("{id}@{}:9094", host(id))).collect();
    let id = broker + 1;
    let advertised = format!("PLAINTEXT://127.0.0.1:{port},INSIDE://{}:9093", host(id));
    kafka::image()
        .with_mapped_port(port, 9092.tcp())
        .with_network(format!("write-behind-test-{name}"))
        .with_container_name(host(id))
        .with_env_var("KAFKA_NODE_ID", id.to_string())
        .with_env_var("KAFKA_CONTROLLER_QUORUM_VOTERS", voters.join(","))
        .with_env_var("KAFKA_LISTENERS", "PLAINTEXT://:9092,INSIDE://:9093,CONTROLLER://:9094")
        .with_env_var("KAFKA_ADVERTISED_LISTENERS", advertised)
        .with_env_var(
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        )
        .with_env_var("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "3")
        .with_env_var("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "3")
        .with_env_var("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "2")
        .with_env_var("KAFKA_MIN_INSYNC_REPLICAS", "2")
        // A broker that says nothing is given up after three seconds, as short as a busy machine
        // bears.
        .with_env_var("KAFKA_BROKER_SESSION_TIMEOUT_MS", "3000")
        .with_env_var("KAFKA_BROKER_HEARTBEAT_INTERVAL_MS", "500")
        // A broker repeats a request to one that went away after three seconds. By default that takes
        // half a minute each, one after the other, and no write gets through until then.
        .with_env_var("KAFKA_REPLICA_LAG_TIME_MAX_MS", "5000")
        .with_env_var("KAFKA_REPLICA_SOCKET_TIMEOUT_MS", "3000")
        .with_env_var("KAFKA_CONTROLLER_SOCKET_TIMEOUT_MS", "3000")
        .with_env_var("KAFKA_HEAP_OPTS", "-Xmx256m -Xms128m")
}
