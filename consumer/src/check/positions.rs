//! The status report without a consumer: Kafka knows the ends of the logs and the group's offsets, the
//! database its own. It changes nothing, and joins no group.

use std::collections::BTreeMap;

use write_behind_shared::{NextOffset, Partition};

use crate::apply::Target;
use crate::config::Config;
use crate::core::dead_letters::Filter;
use crate::kafka::broker::KafkaBroker;
use crate::kafka::client::BrokerError;
use crate::kafka::questions::Questions as _;
use crate::status::report::{
    Flow, OutageReport, PartitionReport, PartitionStatus, ReportSource, RouteReport, SCHEMA,
    StatusReport,
};
use crate::status::told::open_letters;
use crate::status::unix_ms;
use crate::store::{Known, Store as _, StoreError, Timeouts, letters};

/// The report on the pipeline of `config`. What the database does not tell is unknown in it.
///
/// # Errors
/// Kafka does not answer, so nothing at all is known.
pub async fn report(config: &Config) -> Result<StatusReport, BrokerError> {
    let broker = KafkaBroker::to_the_high_watermark(&config.kafka, &config.name)
        .map_err(|error| BrokerError::Unreachable(error.to_string()))?;
    let cluster = broker.cluster_id().await?;
    let mut troubles = Vec::new();
    let mut routes = Vec::with_capacity(config.routes.len());
    let mut store = match config.database.target.connect(&Timeouts::STANDARD).await {
        Ok(store) => Some(store),
        Err(error) => {
            troubles.push(outage("the database".to_owned(), &error));
            None
        }
    };
    let letters = match &mut store {
        Some(store) => letters::tally(store, &config.name, &Filter::default()).await.ok(),
        None => None,
    };
    for route in &config.routes {
        let known = match &mut store {
            Some(store) => {
                store.known(&Target::of(config, route, &cluster, 0).scope).await.map(Some)
            }
            None => Ok(None),
        };
        let known = known.unwrap_or_else(|error| {
            troubles.push(outage(format!("topic {}", route.topic), &error));
            None
        });
        let partitions = partitions(&broker, &route.topic, known.as_deref()).await;
        let (partitions, error) = match partitions {
            Ok(partitions) => (partitions, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let open_dead_letters = letters.as_ref().map(|letters| open_letters(letters, &route.topic));
        let topic_partitions = error.is_none().then_some(partitions.len());
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

/// The partitions of a topic. `known`: what the database says of them; `None`: it does not answer.
async fn partitions(
    broker: &KafkaBroker,
    topic: &str,
    known: Option<&[Known]>,
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
    committed: &BTreeMap<Partition, NextOffset>,
    known: Option<&[Known]>,
) -> PartitionReport {
    let position = known.and_then(|known| known.iter().find(|one| one.partition == partition));
    let next = position.map(|position| position.next);
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
        committed_offset: committed.get(&partition).map(|next| next.0),
        flow: Flow { lag_records: log.and_then(lag), ..Flow::default() },
    }
}

fn outage(about: String, error: &StoreError) -> OutageReport {
    OutageReport { about, message: error.to_string(), since_ms: unix_ms(), attempts: 1 }
}
