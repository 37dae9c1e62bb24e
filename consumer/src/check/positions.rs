//! The status report without a consumer: Kafka knows the ends of the logs and the group's offsets, the
//! database its own. It changes nothing, and joins no group.

use std::collections::BTreeMap;

use write_behind_shared::{NextOffset, Partition};

use crate::apply::Target;
use crate::config::Config;
use crate::core::dead_letters::Filter;
use crate::kafka::broker::KafkaBroker;
use crate::kafka::client::BrokerError;
use crate::kafka::questions::{GroupOffset, Questions as _};
use crate::status::report::{
    Flow, OutageReport, PartitionReport, PartitionStatus, ReportSource, RouteReport, SCHEMA,
    StatusReport,
};
use crate::status::told::open_letters;
use crate::status::unix_ms;
use crate::store::{Known, Store as _, Timeouts, letters, positions_in_any_cluster};

/// The report on the pipeline of `config`. Where Kafka or the database does not answer, it has the other
/// one's half, and says so among the troubles.
///
/// # Errors
/// Neither answers, so nothing at all is known.
pub async fn report(config: &Config) -> Result<StatusReport, BrokerError> {
    let kafka = connect(config).await;
    let mut troubles = Vec::new();
    let mut store = match config.database.target.connect(&Timeouts::STANDARD).await {
        Ok(store) => Some(store),
        Err(error) => {
            troubles.push(outage("the database", &error));
            None
        }
    };
    let kafka = match (kafka, &store) {
        (Ok(kafka), _) => Some(kafka),
        (Err(error), None) => return Err(error),
        (Err(error), Some(_)) => {
            troubles.push(outage("kafka", &error));
            None
        }
    };
    let letters = match &mut store {
        Some(store) => letters::tally(store, &config.name, &Filter::default()).await.ok(),
        None => None,
    };
    let mut routes = Vec::with_capacity(config.routes.len());
    for route in &config.routes {
        let known = match (&mut store, &kafka) {
            (Some(store), Some((_, cluster))) => {
                let known = store.known(&Target::of(config, route, cluster, 0).scope).await;
                let position = |known: Known| (known.partition, known.next);
                known.map(|known| Some(known.into_iter().map(position).collect::<Vec<_>>()))
            }
            (Some(store), None) => {
                positions_in_any_cluster(store, &config.name, &route.topic).await
            }
            (None, _) => Ok(None),
        };
        let known = known.unwrap_or_else(|error| {
            troubles.push(outage(format!("topic {}", route.topic), &error));
            None
        });
        let partitions = match &kafka {
            Some((broker, _)) => partitions(broker, &route.topic, known.as_deref()).await,
            None => Ok(known.iter().flatten().map(of_the_database).collect()),
        };
        let (partitions, error) = match partitions {
            Ok(partitions) => (partitions, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let open_dead_letters = letters.as_ref().map(|letters| open_letters(letters, &route.topic));
        let is_whole = error.is_none() && kafka.is_some();
        let topic_partitions = is_whole.then_some(partitions.len());
        let known = RouteReport::of(route, partitions);
        routes.push(RouteReport { error, open_dead_letters, topic_partitions, ..known });
    }
    Ok(StatusReport {
        schema: SCHEMA,
        source: ReportSource::KafkaAndDatabase,
        pipeline: config.name.clone(),
        time_ms: unix_ms(),
        process: None,
        troubles,
        routes,
    })
}

/// A client, and the cluster's id.
async fn connect(config: &Config) -> Result<(KafkaBroker, String), BrokerError> {
    let broker = KafkaBroker::to_the_high_watermark(&config.kafka, &config.name)
        .map_err(|error| BrokerError::Unreachable(error.to_string()))?;
    let cluster = broker.cluster_id().await?;
    Ok((broker, cluster))
}

/// The partitions of a topic. `known`: what the database says of them; `None`: it does not answer.
async fn partitions(
    broker: &KafkaBroker,
    topic: &str,
    known: Option<&[(Partition, NextOffset)]>,
) -> Result<Vec<PartitionReport>, BrokerError> {
    let partitions: Vec<Partition> = (0..broker.partitions(topic).await?).map(Partition).collect();
    let logs = broker.logs(topic, &partitions).await?;
    let committed = broker.committed(topic, &partitions).await?;
    let logs = (0..).map(Partition).zip(logs.ends);
    Ok(logs.map(|(partition, log)| of_partition(partition, log, &committed, known)).collect())
}

fn of_partition(
    partition: Partition,
    log: Result<(NextOffset, NextOffset), BrokerError>,
    committed: &BTreeMap<Partition, GroupOffset>,
    known: Option<&[(Partition, NextOffset)]>,
) -> PartitionReport {
    let position = known.and_then(|known| known.iter().find(|(known, _)| *known == partition));
    let next = position.map(|(_, next)| *next);
    let (log, error) = match log {
        Ok(log) => (Some(log), None),
        Err(error) => (None, Some(error.to_string())),
    };
    // A partition that the database does not know will be read from the beginning of its log.
    let lag = |(low, high): (NextOffset, NextOffset)| {
        known.map(|_| next.unwrap_or(low).distance_to(high))
    };
    PartitionReport {
        partition: partition.0,
        state: PartitionStatus::Unknown,
        error,
        log_end: log.map(|(_, high)| high.0),
        read_offset: None,
        database_offset: next.map(|next| next.0),
        committed_offset: committed.get(&partition).map(|of_group| of_group.next.0),
        flow: Flow { lag_records: log.and_then(lag), ..Flow::default() },
    }
}

/// What the database alone knows of a partition.
fn of_the_database(&(partition, next): &(Partition, NextOffset)) -> PartitionReport {
    PartitionReport {
        partition: partition.0,
        state: PartitionStatus::Unknown,
        error: None,
        log_end: None,
        read_offset: None,
        database_offset: Some(next.0),
        committed_offset: None,
        flow: Flow::default(),
    }
}

fn outage(about: impl Into<String>, error: &impl ToString) -> OutageReport {
    let about = about.into();
    OutageReport { about, message: error.to_string(), since_ms: unix_ms(), attempts: 1 }
}
