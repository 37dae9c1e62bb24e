//! The preflight: inspects everything that a consumer depends on, and changes nothing.

use std::collections::BTreeMap;

use write_behind_shared::Partition;

use crate::apply::Target;
use crate::check::report::counted;
use crate::config::{Config, Route, transport};
use crate::core::assign::{PartitionFacts, Verdict, judge};
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::core::record::RawRecord;
use crate::core::row_by_row::would_be_set_aside;
use crate::core::table::Table;
use crate::kafka::broker::KafkaBroker;
use crate::kafka::letter_topic::LetterTopic;
use crate::kafka::partition_facts::facts_with;
use crate::kafka::questions::Questions as _;
use crate::kafka::settings::{Configuration, compaction, topic_configurations};
use crate::store::{AnyStore, BookkeepingState, Known, Store as _, StoreError};

pub(crate) mod database;
pub(crate) mod topic;
mod init;
mod listener;
pub mod draft;
mod report;
pub mod positions;

pub use crate::kafka::client::BrokerError;
pub use crate::kafka::properties::check as check_properties;
pub use crate::kafka::properties::fit_together;
pub use init::{InitError, init};
pub use report::{CheckReport, Finding, Grade};

/// Judges the configuration alone, and connects to nothing.
pub fn lint(config: &Config) -> CheckReport {
    let mut report = CheckReport::default();
    configuration(config, &mut report);
    report
}

fn configuration(config: &Config, report: &mut CheckReport) {
    report.add(Grade::Ok, "configuration", counted(config.routes.len(), "route"));
    for warning in transport::in_the_clear(config) {
        report.add(Grade::Warning, "configuration", warning);
    }
}

/// Inspects everything. `adopt_offsets`: as for `run`.
pub async fn check(config: &Config, adopt_offsets: bool) -> CheckReport {
    let mut report = CheckReport::default();
    configuration(config, &mut report);
    listener::check(config, &mut report).await;
    let broker = check_broker(config, &mut report).await;
    let asked = tokio::spawn(configurations(config.clone(), broker.is_some()));
    let mut store = database::connect(config, &mut report).await;
    let configurations = asked.await.unwrap_or_default();
    let bookkeeping = match &mut store {
        Some(store) => database::bookkeeping(store, &mut report).await,
        None => None,
    };
    let is_ready = bookkeeping == Some(BookkeepingState::Ready);
    let (mut targets, mut tables) = (Vec::new(), Vec::new());
    for (place, route) in config.routes.iter().enumerate() {
        let target = match &broker {
            Some((broker, cluster)) => {
                let configuration = configurations.get(place);
                let partitions = check_topic(broker, route, configuration, &mut report).await;
                partitions.map(|partitions| Target::of(config, route, cluster, partitions))
            }
            None => None,
        };
        if let Some(store) = &mut store {
            let unknown = || Target::of(config, route, "", 1);
            let target = target.clone().unwrap_or_else(unknown);
            let table = database::table(store, &target, is_ready, &mut report).await;
            tables.extend(table.map(|table| (route.topic.clone(), table)));
        }
        targets.extend(target);
    }
    if let Some(store) = &mut store {
        database::rights(store, &tables, &mut report).await;
        database::one_table_each(&tables, &mut report);
    }
    if let (Some((broker, _)), Some(topic)) = (&broker, &config.dead_letters.topic) {
        check_letter_topic(config, broker, topic, &mut report).await;
    }
    if let (Some(store), Some((broker, _)), Some(bookkeeping)) = (&mut store, &broker, bookkeeping)
    {
        for target in &targets {
            let known = known(store, &target.scope, &bookkeeping);
            check_positions(broker, known, target, adopt_offsets, &mut report).await;
        }
    }
    if let Some((broker, _)) = &broker {
        for target in &targets {
            let of_it = tables.iter().find(|(topic, _)| *topic == target.scope.topic);
            let table = of_it.map(|(_, table)| table);
            check_records(broker, target, table, &mut report).await;
        }
    }
    report
}

async fn check_broker(config: &Config, report: &mut CheckReport) -> Option<(KafkaBroker, String)> {
    let broker = match KafkaBroker::to_the_high_watermark(&config.kafka, &config.name) {
        Ok(broker) => broker,
        Err(error) => {
            report.add(Grade::Failed, "kafka", error.to_string());
            return None;
        }
    };
    match broker.cluster_id().await {
        Ok(cluster) => {
            report.add(Grade::Ok, "kafka", format!("cluster {cluster}"));
            Some((broker, cluster))
        }
        Err(error) => {
            report.add(Grade::Failed, "kafka", error.to_string());
            None
        }
    }
}

async fn check_letter_topic(
    config: &Config,
    broker: &KafkaBroker,
    topic: &str,
    report: &mut CheckReport,
) {
    let what = format!("topic {topic} for dead letters");
    if let Err(error) = LetterTopic::new(&config.kafka, topic) {
        return report.add(Grade::Failed, what, error.to_string());
    }
    match broker.partitions(topic).await {
        Ok(partitions) => report.add(Grade::Ok, what, counted(partitions as usize, "partition")),
        Err(error) => report.add(Grade::Failed, what, error.to_string()),
    }
}

async fn check_topic(
    broker: &KafkaBroker,
    route: &Route,
    configuration: Option<&Result<Configuration, String>>,
    report: &mut CheckReport,
) -> Option<i32> {
    let what = format!("topic {}", route.topic);
    let partitions = match broker.partitions(&route.topic).await {
        Ok(partitions) => partitions,
        Err(error) => {
            report.add(Grade::Failed, what, error.to_string());
            return None;
        }
    };
    report.add(Grade::Ok, &*what, counted(partitions as usize, "partition"));
    let replicas = broker.replicas(&route.topic).await.ok().flatten();
    match configuration {
        Some(Ok(configuration)) => {
            for (grade, found) in topic::judge(configuration, replicas) {
                report.add(grade, &*what, found);
            }
        }
        Some(Err(error)) => report.add(
            Grade::Warning,
            &*what,
            format!(
                "its configuration can't be read ({error}); make sure that cleanup.policy is delete"
            ),
        ),
        None => {}
    }
    Some(partitions)
}

/// What the database knows of a topic: nothing, before its bookkeeping is there.
async fn known(
    store: &mut AnyStore,
    scope: &BookkeepingKey,
    bookkeeping: &BookkeepingState,
) -> Result<Vec<Known>, StoreError> {
    match bookkeeping {
        BookkeepingState::Missing => Ok(Vec::new()),
        _ => store.known(scope).await,
    }
}

async fn check_positions(
    broker: &KafkaBroker,
    known: impl Future<Output = Result<Vec<Known>, StoreError>>,
    target: &Target,
    adopt_offsets: bool,
    report: &mut CheckReport,
) {
    let scope = &target.scope;
    let partitions: Vec<Partition> = (0..target.partitions).map(Partition).collect();
    let all_facts = match facts_with(broker, known, scope, &partitions, &BTreeMap::new()).await {
        Ok(all_facts) => all_facts,
        Err(error) => {
            report.add(Grade::Failed, format!("topic {}", scope.topic), error.to_string());
            return;
        }
    };
    for (partition, stood) in partitions.iter().zip(&all_facts) {
        let what = format!("topic {}, partition {partition}", scope.topic);
        let (grade, found) = match stood {
            Ok(facts) => verdict(facts, adopt_offsets),
            Err(error) => (Grade::Failed, error.to_string()),
        };
        report.add(grade, what, found);
    }
}

/// Whether the newest records of a topic can be read, fit its table, and lie where their keys belong.
async fn check_records(
    broker: &KafkaBroker,
    target: &Target,
    table: Option<&Table>,
    report: &mut CheckReport,
) {
    let topic = &target.scope.topic;
    let what = format!("topic {topic}");
    let newest = match broker.newest_records(topic, target.partitions).await {
        Ok(newest) => newest,
        Err(error) => return report.add(Grade::Failed, what, error.to_string()),
    };
    if let Some(first) = newest.unread.first() {
        let found = format!(
            "no record can be read of {}, the first is {first}: does it have a leader, and may this \
             user read the topic?",
            counted(newest.unread.len(), "partition")
        );
        report.add(Grade::Failed, &*what, found);
    }
    if let Some(found) = table.and_then(|table| set_aside(table, &newest.records)) {
        report.add(Grade::Warning, &*what, found);
    }
    if let Some((partition, offset, belongs_to)) = newest.misplaced.first() {
        let found = format!(
            "{} of its newest {} in another partition than the key's: the one at offset {offset} of \
             partition {partition} belongs to {belongs_to}. Records of one row have an order only in \
             one partition: set the producer's partitioner as docs/wire.md says",
            newest.misplaced.len(),
            if newest.seen == 1 {
                "record lies".to_owned()
            } else {
                format!("{} records lie", newest.seen)
            },
        );
        report.add(Grade::Warning, what, found);
    } else if newest.seen > 0 {
        report.add(Grade::Ok, what, "its newest records lie in the partitions of their keys");
    }
}

/// How many of the newest records would be set aside for what they say, and why the first.
fn set_aside(table: &Table, records: &[RawRecord]) -> Option<String> {
    let why = |record| Some((record, would_be_set_aside(table, record)?));
    let bad: Vec<(&RawRecord, String)> = records.iter().filter_map(why).collect();
    let (first, why) = bad.iter().min_by_key(|(record, _)| (record.partition, record.offset))?;
    Some(format!(
        "of its newest {}, {} would be set aside, the first at {}:{}: {why}",
        counted(records.len(), "record"),
        bad.len(),
        first.partition,
        first.offset
    ))
}

/// What `run` would do with a partition.
fn verdict(facts: &PartitionFacts, adopt_offsets: bool) -> (Grade, String) {
    match judge(facts, adopt_offsets) {
        Verdict::Begin(next) if next > facts.low || next.0 == 0 => {
            (Grade::Ok, format!("would begin at offset {next}"))
        }
        Verdict::Begin(next) => {
            (Grade::Warning, format!("would begin at offset {next}: the log's beginning is gone"))
        }
        Verdict::Continue(next) => {
            let lag = next.distance_to(facts.high);
            let found = format!("would go on at {next}, {lag} records behind");
            match facts.committed {
                Some(committed) if committed > next => (
                    Grade::Warning,
                    format!(
                        "{found}, although the group has committed {committed}: the database was \
                         restored, or the offset was moved by hand; the database counts"
                    ),
                ),
                Some(_) => (Grade::Ok, found),
                None => (Grade::Ok, format!("{found}; the group has committed nothing here")),
            }
        }
        Verdict::Refuse(refusal) => (Grade::Refused, refusal.to_string()),
    }
}

/// How each route's topic is configured, if Kafka answers at all.
async fn configurations(config: Config, answers: bool) -> Vec<Result<Configuration, String>> {
    let topics: Vec<&str> = config.routes.iter().map(|route| &*route.topic).collect();
    if answers {
        topic_configurations(&config.kafka, &config.name, &topics).await
    } else {
        Vec::new()
    }
}

/// Why `run` refuses a topic for its `cleanup.policy`; one that can't be read is a warning in the log.
pub(crate) async fn refuse_compaction(config: Config) -> Option<String> {
    let topics: Vec<&str> = config.routes.iter().map(|route| &*route.topic).collect();
    let configurations = topic_configurations(&config.kafka, &config.name, &topics).await;
    topics.iter().zip(configurations).find_map(|(topic, configuration)| match configuration {
        Ok(configuration) => compaction(&configuration).map(|why| format!("topic {topic}: {why}")),
        Err(error) => {
            tracing::warn!(
                %topic, %error,
                "the topic's configuration can't be read; make sure that cleanup.policy is delete"
            );
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use write_behind_shared::NextOffset;

    use super::*;

    /// A log from 10 up to 90, of which the database has all below 40.
    fn facts() -> PartitionFacts {
        PartitionFacts {
            database: Some(NextOffset(40)),
            partitions_then: 1,
            partitions_now: 1,
            committed: Some(NextOffset(40)),
            was_adopted: false,
            low: NextOffset(10),
            high: NextOffset(90),
            last: None,
            trace: None,
        }
    }

    #[test]
    fn a_partition_is_graded_by_what_a_start_would_do_with_it() {
        let ahead = Some(NextOffset(50));
        let unknown = PartitionFacts { database: None, committed: None, ..facts() };
        for (facts, expected, says) in [
            (facts(), Grade::Ok, "go on at 40, 50 records behind"),
            (PartitionFacts { committed: None, ..facts() }, Grade::Ok, "has committed nothing"),
            (PartitionFacts { committed: ahead, ..facts() }, Grade::Warning, "was restored"),
            (unknown, Grade::Warning, "at offset 10: the log's beginning is gone"),
            (
                PartitionFacts { low: NextOffset(0), ..unknown },
                Grade::Ok,
                "would begin at offset 0",
            ),
            (PartitionFacts { high: NextOffset(30), ..facts() }, Grade::Refused, "ends at 30"),
        ] {
            let (grade, found) = verdict(&facts, false);
            assert!(grade == expected && found.contains(says), "{grade:?}: {found}");
        }
    }
}
