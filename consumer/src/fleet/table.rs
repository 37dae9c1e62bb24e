//! The report on all members as aligned lines of text.

use crate::fleet::report::{FleetReport, MemberReport};
use crate::status::report::{Flow, Process};
use crate::status::table::{
    Align, TableColumn, number, rate, table, time, unknown, without_controls, word,
};

const MEMBER: [TableColumn<MemberReport>; 10] = [
    ("ADDRESS", Align::Left, |member| member.url.clone()),
    ("STATE", Align::Left, |member| of(member, |process| word(&process.state))),
    ("READY", Align::Left, |member| {
        of(member, |process| if process.not_ready.is_empty() { "yes" } else { "no" }.to_owned())
    }),
    ("VERSION", Align::Left, |member| of(member, Process::version_told)),
    ("UP", Align::Right, |member| of(member, |process| time(Some(process.uptime_seconds as f64)))),
    ("PARTITIONS", Align::Right, |member| of(member, |process| process.partitions.to_string())),
    ("BEHIND", Align::Right, |member| number(flow(member).lag_records)),
    ("OLDEST", Align::Right, |member| time(flow(member).lag_seconds)),
    ("IN/S", Align::Right, |member| rate(flow(member).records_per_second)),
    ("OUT/S", Align::Right, |member| rate(flow(member).rows_per_second)),
];

/// The report's lines, without control characters.
pub fn lines(report: &FleetReport) -> Vec<String> {
    let asked = match report.members_of_group {
        Some(1) => "1 member in the group".to_owned(),
        Some(members) => format!("{members} members in the group"),
        None => "asked those of `http.members`".to_owned(),
    };
    let mut lines = vec![format!("{}, {asked}", report.pipeline)];
    lines.extend(report.error.iter().map(|why| format!("the members can't be found: {why}")));
    lines.push(String::new());
    lines.extend(table(&MEMBER, report.members.iter()));
    for member in &report.members {
        let url = &member.url;
        lines.extend(member.error.clone());
        let process = member.report.as_ref().and_then(|report| report.process.as_ref());
        let not_ready = process.iter().flat_map(|process| &process.not_ready);
        lines.extend(not_ready.map(|why| format!("{url} is not ready: {why}")));
    }
    for (topic, unread) in &report.unread {
        let numbers: Vec<String> = unread.iter().map(ToString::to_string).collect();
        let partitions = if unread.len() == 1 { "partition" } else { "partitions" };
        lines.push(format!("topic {topic}: no member has {partitions} {}", numbers.join(", ")));
    }
    lines.iter().map(|line| without_controls(line)).collect()
}

fn of(member: &MemberReport, tell: impl Fn(&Process) -> String) -> String {
    let process = member.report.as_ref().and_then(|report| report.process.as_ref());
    process.map_or_else(unknown, tell)
}

/// The sums over all its routes.
fn flow(member: &MemberReport) -> Flow {
    let routes = member.report.iter().flat_map(|report| &report.routes);
    Flow::over(routes.map(|route| &route.flow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::report::unread;
    use crate::status::report_tests::report;

    fn fleet(members: Vec<MemberReport>) -> FleetReport {
        let unread = unread(&members);
        FleetReport {
            pipeline: "scores".to_owned(),
            time_ms: 0,
            members_of_group: Some(members.len()),
            members,
            unread,
            error: None,
        }
    }

    #[test]
    fn each_member_has_a_line_and_what_nobody_reads_is_told() {
        let mut one = report();
        one.routes[0].topic_partitions = Some(5);
        let silent = Err("no consumer answers at http://b:1: refused".to_owned());
        let members = vec![
            MemberReport::of("http://a:1".to_owned(), Ok(one)),
            MemberReport::of("http://b:1".to_owned(), silent),
        ];
        let lines = lines(&fleet(members));
        let line = |begins: &str| lines.iter().find(|line| line.starts_with(begins)).cloned();
        assert_eq!(lines[0], "scores, 2 members in the group");
        let first =
            line("http://a:1  running  no     0.1.0 (abcdef012345)  3.0 s").unwrap_or_default();
        assert!(first.contains("123463"), "{lines:#?}");
        assert!(line("http://b:1  -        -").is_some(), "{lines:#?}");
        assert!(line("http://a:1 is not ready: no table").is_some(), "{lines:#?}");
        assert!(line("no consumer answers at http://b:1: refused").is_some(), "{lines:#?}");
        assert!(line("topic größe: no member has partitions 2, 3, 4").is_some(), "{lines:#?}");
    }

    #[test]
    fn members_that_share_all_partitions_leave_none_unread() {
        let (mut one, mut two) = (report(), report());
        one.routes[0].partitions.truncate(1);
        two.routes[0].partitions.remove(0);
        let members = [one, two].map(|report| MemberReport::of(String::new(), Ok(report)));
        assert!(unread(&members).is_empty());
        assert_eq!(unread(&members[..1])["größe"], [1]);
    }
}
