//! Records that lie in another partition than their key's.

use super::cases::{NOW, actions, reading_all, some_limits};
use super::*;
use crate::core::pipeline::placement::OnWrongPartition;

/// All partitions here belong to one route.
fn tp(partition: i32) -> RoutePartition {
    RoutePartition { route: 0, partition: Partition(partition) }
}

#[test]
fn a_misplaced_record_is_counted_each_time_and_told_once_a_route() {
    let placement = Placement { partitions: 4, on_wrong: OnWrongPartition::Tell };
    let pipeline = Pipeline::new(some_limits(), [ROUTE]).with_placements([placement]);
    let mut pipeline = reading_all(pipeline, &[tp(0), tp(1)]);
    // murmur2 of "foobar" is in partition 2 of 4, of "21" in partition 0.
    for (place, (partition, key, has_id)) in
        [(0, "foobar", true), (0, "21", false), (1, "21", false), (0, "foobar", false)]
            .into_iter()
            .enumerate()
    {
        let id = WriteId { writer: uuid::Uuid::nil(), sequence: 0 }.encode();
        let headers = [(write_behind_shared::record::WRITE_ID, Some(&id[..]))];
        let incoming = Incoming {
            partition: Partition(partition),
            offset: Offset(place as i64),
            timestamp: None,
            key: Some(key.as_bytes()),
            value: Some(b"{}"),
            headers: if has_id { &headers } else { &[] },
        };
        pipeline.record(NOW, 0, &incoming);
    }
    let told: Vec<Notice> = actions(&mut pipeline)
        .into_iter()
        .filter_map(|action| match action {
            Action::Tell(notice @ Notice::Misplaced(..)) => Some(notice),
            _ => None,
        })
        .collect();
    assert_eq!(told, [Notice::Misplaced(tp(1), Offset(2), Partition(0))]);
    assert_eq!(pipeline.counts().misplaced, 2);
}
