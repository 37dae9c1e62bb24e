//! Where a pipeline stands when nobody is there to tell: asks Kafka for the ends of the logs and the
//! group's offsets, and the database for its own. Changes nothing, and joins no group.

use std::collections::BTreeMap;
use std::sync::Arc;

use write_behind_shared::{NextOffset, Partition};

use crate::apply::Target;
use crate::config::{Config, Route};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::kafka::broker::Broker;
use crate::kafka::client::BrokerError;
use crate::kafka::partition_facts::ask;
use crate::status::report::{self, Flow, OutageReport, ReportSource, SCHEMA, StatusReport};
use crate::status::unix_ms;
use crate::store::{AnyStore, Position, Store, StoreError, Timeouts};

/// The report on the pipeline of `config`. What the database does not tell is unknown in it.
///
/// # Errors
/// Kafka does not answer: then nothing at all is known.
pub async fn report(config: &Config) -> Result<StatusReport, BrokerError> {
    let broker = Broker::new(&config.kafka, &config.name)
        .map_err(|error| BrokerError::Unreachable(error.to_string()))?;
    let broker = Arc::new(broker);
    let cluster = ask(&broker, Broker::cluster_id).await?;
    let mut report = StatusReport {
        schema: SCHEMA,
        source: ReportSource::KafkaAndDatabase,
        pipeline: config.name.clone(),
        time_ms: unix_ms(),
        process: None,
        troubles: Vec::new(),
        routes: Vec::new(),
    };
    let mut store = match config.database.target.connect(&Timeouts::STANDARD).await {
        Ok(store) => Some(store),
        Err(error) => {
            report.troubles.push(outage("the database", &error));
            None
        }
    };
    for route in &config.routes {
        let scope = Target::of(config, route, &cluster, 0).scope;
        let known = match &mut store {
            Some(store) => positions(store, &broker, &scope).await,
            None => Ok(None),
        };
        let known = known.unwrap_or_else(|error| {
            report.troubles.push(outage(&format!("topic {}", route.topic), &error));
            None
        });
        let looked = look_at(&broker, &scope.topic, known.as_deref()).await;
        let (partitions, error) = match looked {
            Ok(partitions) => (partitions, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        report.routes.push(of_route(route, partitions, error));
    }
    Ok(report)
}

async fn positions(
    store: &mut AnyStore,
    broker: &Arc<Broker>,
    scope: &BookkeepingKey,
) -> Result<Option<Vec<Position>>, StoreError> {
    let topic = scope.topic.clone();
    let Ok(count) = ask(broker, move |broker| broker.partitions(&topic)).await else {
        return Ok(None);
    };
    let partitions: Vec<Partition> = (0..count).map(Partition).collect();
    store.positions(scope, &partitions).await.map(Some)
}

/// `known`: what the database says; `None`: it does not.
async fn look_at(
    broker: &Arc<Broker>,
    topic: &str,
    known: Option<&[Position]>,
) -> Result<Vec<report::PartitionReport>, BrokerError> {
    let topic = topic.to_owned();
    let (logs, committed) = ask(broker, move |broker| {
        let partitions: Vec<Partition> = (0..broker.partitions(&topic)?).map(Partition).collect();
        let logs = broker.logs(&topic, &partitions)?;
        let committed = broker.committed(&topic, &partitions)?;
        Ok((partitions.into_iter().zip(logs.ends), committed))
    })
    .await?;
    let partition = |(partition, log)| stands(partition, log, &committed, known);
    Ok(logs.map(partition).collect())
}

fn stands(
    partition: Partition,
    log: Result<(NextOffset, NextOffset), BrokerError>,
    committed: &BTreeMap<Partition, NextOffset>,
    known: Option<&[Position]>,
) -> report::PartitionReport {
    let position = known.and_then(|known| known.iter().find(|one| one.partition == partition));
    let next = position.map(|position| position.next);
    let (log, error) = match log {
        Ok(log) => (Some(log), None),
        Err(error) => (None, Some(error.to_string())),
    };
    // A partition that the database does not know begins at the log's beginning.
    let lag = |(low, high): (NextOffset, NextOffset)| {
        known.map(|_| next.unwrap_or(low).distance_to(high))
    };
    report::PartitionReport {
        partition: partition.0,
        state: "unknown".to_owned(),
        error,
        log_end: log.map(|(_, high)| high.0),
        read_offset: None,
        database_offset: next.map(|next| next.0),
        committed_offset: committed.get(&partition).map(|next| next.0),
        flow: Flow { lag_records: log.and_then(lag), ..Flow::default() },
    }
}

fn of_route(
    route: &Route,
    partitions: Vec<report::PartitionReport>,
    error: Option<String>,
) -> report::RouteReport {
    report::RouteReport {
        topic: route.topic.clone(),
        table: route.table.clone(),
        priority: route.priority.name().to_owned(),
        state: "unknown".to_owned(),
        doing: None,
        error,
        last_error: None,
        records_written: None,
        rows_written: None,
        dead_letters: None,
        target_rows: None,
        fold: None,
        flow: Flow::over(partitions.iter().map(|partition| &partition.flow)),
        partitions,
    }
}

fn outage(about: &str, error: &StoreError) -> OutageReport {
    OutageReport {
        about: about.to_owned(),
        message: error.to_string(),
        since_ms: unix_ms(),
        attempts: 1,
    }
}
