//! The preflight: looks at everything a consumer depends on, changes nothing, and gives a verdict
//! a line.

use std::sync::Arc;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde::Serialize;
use write_behind_shared::Partition;

use crate::apply::Target;
use crate::config::{Config, Route};
use crate::kafka::assign::{Verdict, judge};
use crate::kafka::broker::{self, Broker};
use crate::kafka::locate::{self, Unknown};
use crate::store::{AnyStore, Store, StoreError, Timeouts};

/// How something was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// `run` would work, but a person should know.
    Warning,
    /// `run` would not work.
    Failed,
    /// `run` would refuse: the data would not be safe.
    Refused,
}

/// One line of the preflight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is.
    pub grade: Grade,
    /// What was looked at.
    pub what: String,
    /// What was found, and what to do.
    pub found: String,
}

/// Everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Line by line.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of all.
    pub fn grade(&self) -> Grade {
        let has = |grade| self.findings.iter().any(|finding| finding.grade == grade);
        let worst = [Grade::Refused, Grade::Failed, Grade::Warning].into_iter().find(|g| has(*g));
        worst.unwrap_or(Grade::Ok)
    }

    fn add(&mut self, grade: Grade, what: impl Into<String>, found: impl Into<String>) {
        self.findings.push(Finding { grade, what: what.into(), found: found.into() });
    }
}

/// Looks at everything. `adopt_offsets` as it would be given to `run`.
pub async fn check(config: &Config, adopt_offsets: bool) -> Report {
    let mut report = Report::default();
    report.add(Grade::Ok, "configuration", format!("{} routes", config.routes.len()));
    let broker = check_broker(config, &mut report).await;
    let mut store = check_database(config, &mut report).await;
    let mut targets = Vec::new();
    if let Some((broker, cluster)) = &broker {
        for route in &config.routes {
            if let Some(partitions) = check_topic(config, broker, route, &mut report).await {
                targets.push(route.target(config, cluster, partitions));
            }
        }
    }
    if let Some(store) = &mut store {
        for route in &config.routes {
            check_table(store, &route.target(config, "", 1), &mut report).await;
        }
        if let Some((broker, _)) = &broker {
            for target in &targets {
                check_positions(broker, store, target, adopt_offsets, &mut report).await;
            }
        }
    }
    report
}

async fn check_broker(config: &Config, report: &mut Report) -> Option<(Arc<Broker>, String)> {
    let broker = match Broker::new(&config.kafka, &config.name) {
        Ok(broker) => Arc::new(broker),
        Err(error) => {
            report.add(Grade::Failed, "kafka", error.to_string());
            return None;
        }
    };
    match locate::ask(&broker, Broker::cluster_id).await {
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

async fn check_database(config: &Config, report: &mut Report) -> Option<AnyStore> {
    let target = &config.database.target;
    match target.connect(&Timeouts::STANDARD).await {
        Ok(store) => {
            report.add(Grade::Ok, "database", format!("{target:?}"));
            Some(store)
        }
        Err(error) => {
            report.add(Grade::Failed, "database", error.to_string());
            None
        }
    }
}

async fn check_topic(
    config: &Config,
    broker: &Arc<Broker>,
    route: &Route,
    report: &mut Report,
) -> Option<i32> {
    let what = format!("topic {}", route.topic);
    let topic = route.topic.clone();
    let partitions = match locate::ask(broker, move |broker| broker.partitions(&topic)).await {
        Ok(partitions) => partitions,
        Err(error) => {
            report.add(Grade::Failed, what, error.to_string());
            return None;
        }
    };
    report.add(Grade::Ok, &*what, format!("{partitions} partitions"));
    match cleanup_policy(config, &route.topic).await {
        Ok(policy) if policy == "delete" => {
            report.add(Grade::Ok, what, "cleanup.policy is delete");
        }
        Ok(policy) => report.add(
            Grade::Refused,
            what,
            format!(
                "cleanup.policy is {policy}: a compaction takes away increments and columns that \
                 only earlier records name. Set it to delete"
            ),
        ),
        Err(error) => report.add(
            Grade::Warning,
            what,
            format!("cleanup.policy can't be read ({error}); make sure that it is delete"),
        ),
    }
    Some(partitions)
}

/// The topic's `cleanup.policy`.
async fn cleanup_policy(config: &Config, topic: &str) -> Result<String, String> {
    let admin: AdminClient<DefaultClientContext> =
        broker::client_config(&config.kafka, &config.name).create().map_err(|e| e.to_string())?;
    let options = AdminOptions::new().request_timeout(Some(broker::ANSWER_WITHIN));
    let answers = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    let answers = answers.map_err(|error| error.to_string())?;
    let answer = answers.into_iter().next().ok_or_else(|| "no answer".to_owned())?;
    let resource = answer.map_err(|error| error.to_string())?;
    let entry = resource.get("cleanup.policy").and_then(|entry| entry.value.clone());
    entry.ok_or_else(|| "it is not told".to_owned())
}

async fn check_table(store: &mut AnyStore, target: &Target, report: &mut Report) {
    let what = format!("table {}", target.table);
    match target.describe(store).await {
        Ok(table) => {
            let key: Vec<&str> = table.key.iter().map(|column| &*column.name).collect();
            let found = format!("{} columns, key {}", table.columns.len(), key.join(", "));
            report.add(Grade::Ok, what, found);
        }
        Err(error) => report.add(Grade::Failed, what, error.to_string()),
    }
}

async fn check_positions(
    broker: &Arc<Broker>,
    store: &mut AnyStore,
    target: &Target,
    adopt_offsets: bool,
    report: &mut Report,
) {
    let scope = &target.scope;
    let partitions: Vec<Partition> = (0..target.partitions).map(Partition).collect();
    let standings = match locate::stand(broker, store, scope, partitions.clone()).await {
        Ok(standings) => standings,
        Err(Unknown::Store(StoreError::Stop(error))) => {
            let found = format!("{error} (`init` creates them, and so does `run`)");
            report.add(Grade::Warning, "bookkeeping tables", found);
            return;
        }
        Err(error) => {
            report.add(Grade::Failed, format!("topic {}", scope.topic), error.to_string());
            return;
        }
    };
    for (partition, stood) in partitions.iter().zip(standings) {
        let what = format!("topic {}, partition {partition}", scope.topic);
        let standing = match stood {
            Ok((standing, _)) => standing,
            Err(error) => {
                report.add(Grade::Failed, what, error.to_string());
                continue;
            }
        };
        match judge(&standing, adopt_offsets) {
            Verdict::Begin(next) if next > standing.low || next.0 == 0 => {
                report.add(Grade::Ok, what, format!("would begin at offset {next}"));
            }
            Verdict::Begin(next) => {
                let found = format!("would begin at offset {next}: the log's beginning is gone");
                report.add(Grade::Warning, what, found);
            }
            Verdict::Continue(next) => {
                let lag = next.distance_to(standing.high);
                report.add(Grade::Ok, what, format!("would go on at {next}, {lag} records behind"));
            }
            Verdict::Refuse(refusal) => report.add(Grade::Refused, what, refusal.to_string()),
        }
    }
}

/// Creates the bookkeeping tables where they are missing.
///
/// # Errors
/// What the database says.
pub async fn init(config: &Config) -> Result<(), StoreError> {
    config.database.target.connect(&Timeouts::STANDARD).await?.init().await
}
