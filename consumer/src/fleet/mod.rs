//! All members of a pipeline, each asked for its report.
//!
//! Who they are, Kafka knows: the group's coordinator names the host of each member, and they listen at
//! the port of this configuration's `http.listen`. Where that does not hold (several processes on
//! one machine, addresses translated on the way, a group whose broker assigns), `http.members` lists
//! their URLs.

pub mod report;
pub mod table;
pub(crate) mod http;

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::fleet::report::{FleetReport, MemberReport};
use crate::kafka::broker::KafkaBroker;
use crate::kafka::client::BrokerError;
use crate::status::ask;
use crate::status::unix_ms;

/// How many members are asked at most.
const MEMBERS_MAX: usize = 100;

/// The members of one pipeline.
pub struct Fleet {
    config: Config,
    broker: OnceCell<KafkaBroker>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("pipeline", &self.config.name).finish_non_exhaustive()
    }
}

impl Fleet {
    /// The members of the pipeline of `config`. Asks nobody yet.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { config: config.clone(), broker: OnceCell::new() }
    }

    /// Finds all members and asks each; takes ten seconds and five at most.
    pub async fn report(&self) -> FleetReport {
        let (urls, in_group, error) = match self.find().await {
            Ok((urls, in_group)) => (urls, in_group, None),
            Err(why) => (BTreeSet::new(), None, Some(why)),
        };
        let mut asking = JoinSet::new();
        for url in urls.into_iter().take(MEMBERS_MAX) {
            let wanted = self.config.name.clone();
            asking.spawn(async move {
                let answer = ask::ask_of(&url, Some(&wanted)).await;
                MemberReport::of(url, answer.map_err(|error| error.to_string()))
            });
        }
        let mut members = asking.join_all().await;
        members.sort_by(|a, b| a.url.cmp(&b.url));
        FleetReport {
            pipeline: self.config.name.clone(),
            time_ms: unix_ms(),
            members_of_group: in_group,
            unread: report::unread(&members),
            members,
            error,
        }
    }

    /// The members' URLs, and how many members Kafka knows.
    async fn find(&self) -> Result<(BTreeSet<String>, Option<usize>), String> {
        if !self.config.page.members.is_empty() {
            return Ok((self.config.page.members.iter().cloned().collect(), None));
        }
        let Some(listens) = self.config.http else {
            return Err("`http.listen` is \"off\": name the members in `http.members`".to_owned());
        };
        if listens.ip().is_loopback() {
            return Err(format!(
                "`http.listen` is {listens}, which no other machine reaches: set it to an address that \
                 the members reach, or name them in `http.members`"
            ));
        }
        let hosts = self.hosts().await.map_err(|error| error.to_string())?;
        let Some(hosts) = hosts else {
            return Err("Kafka does not name the members of a group whose broker assigns \
                        (group.protocol=consumer): name them in `http.members`"
                .to_owned());
        };
        let urls = hosts.iter().filter_map(|host| url(host, listens.port())).collect();
        Ok((urls, Some(hosts.len())))
    }

    /// The hosts of the group's members; `None`: Kafka does not tell.
    async fn hosts(&self) -> Result<Option<Vec<String>>, BrokerError> {
        let made = || async {
            KafkaBroker::new(&self.config.kafka, &self.config.name)
                .map_err(|error| BrokerError::Unreachable(error.to_string()))
        };
        self.broker.get_or_try_init(made).await?.member_hosts(&self.config.name).await
    }
}

/// The URL of a member, from the host that a broker names: `/10.0.0.7`, or `name/10.0.0.7`.
fn url(host: &str, port: u16) -> Option<String> {
    let host = host.rsplit('/').next().filter(|host| !host.is_empty())?;
    Some(match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("http://[{ip}]:{port}"),
        _ => format!("http://{host}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LEAST;

    #[test]
    fn a_member_listens_at_the_host_that_the_broker_names() {
        for (host, expected) in [
            ("/10.0.0.7", Some("http://10.0.0.7:9464")),
            ("worker-1/10.0.0.7", Some("http://10.0.0.7:9464")),
            ("/0:0:0:0:0:0:0:1", Some("http://[::1]:9464")),
            ("10.0.0.7", Some("http://10.0.0.7:9464")),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(url(host, 9464).as_deref(), expected, "{host:?}");
        }
    }

    #[tokio::test]
    async fn members_that_can_not_be_found_are_told_with_the_mend() {
        for (listen, told) in [("off", "is \"off\""), ("127.0.0.1:1", "no other machine reaches")] {
            let text = format!("{LEAST}[http]\nlisten = \"{listen}\"\n");
            let config = Config::read(&text, &std::collections::BTreeMap::new()).unwrap();
            let report = Fleet::of(&config).report().await;
            let error = report.error.unwrap();
            assert!(error.contains(told) && error.contains("`http.members`"), "{error}");
        }
    }
}
