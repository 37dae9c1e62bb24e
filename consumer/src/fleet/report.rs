//! The report on all members: what `status --fleet --json` prints and `/fleet` serves.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::status::report::StatusReport;

/// What all members of a pipeline say.
#[derive(Clone, Debug, Serialize)]
pub struct FleetReport {
    /// The pipeline's name.
    pub pipeline: String,
    /// When they were asked, in milliseconds since 1970.
    pub time_ms: u64,
    /// How many members Kafka knows; `None`: `http.members` names them.
    pub members_of_group: Option<usize>,
    /// Each address that was asked.
    pub members: Vec<MemberReport>,
    /// The partitions that none of them has, by topic.
    pub unread: BTreeMap<String, Vec<i32>>,
    /// Why the members could not be found.
    pub error: Option<String>,
}

/// What one member says.
#[derive(Clone, Debug, Serialize)]
pub struct MemberReport {
    /// Where it was asked.
    pub url: String,
    /// Its report.
    pub report: Option<StatusReport>,
    /// Why there is none.
    pub error: Option<String>,
}

impl MemberReport {
    pub(super) fn of(url: String, answer: Result<StatusReport, String>) -> Self {
        match answer {
            Ok(report) => Self { url, report: Some(report), error: None },
            Err(why) => Self { url, report: None, error: Some(why) },
        }
    }
}

/// The partitions of each topic that no member has. A topic whose size no member knows is left out.
pub(super) fn unread(members: &[MemberReport]) -> BTreeMap<String, Vec<i32>> {
    let mut topics: BTreeMap<&str, (usize, BTreeSet<i32>)> = BTreeMap::new();
    let routes = members.iter().filter_map(|member| member.report.as_ref());
    for route in routes.flat_map(|report| &report.routes) {
        let (all, read) = topics.entry(&route.topic).or_default();
        *all = route.topic_partitions.unwrap_or(0).max(*all);
        read.extend(route.partitions.iter().map(|partition| partition.partition));
    }
    let unread = |(topic, (all, read)): (&str, (usize, BTreeSet<i32>))| {
        let unread: Vec<i32> = (0..all as i32).filter(|one| !read.contains(one)).collect();
        (!unread.is_empty()).then(|| (topic.to_owned(), unread))
    };
    topics.into_iter().filter_map(unread).collect()
}
