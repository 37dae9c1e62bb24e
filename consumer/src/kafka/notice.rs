//! The pipeline's notices as log lines.

use std::sync::Arc;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::action::Notice;

/// Logs `notice`.
pub(crate) fn tell(topics: &[Arc<str>], notice: &Notice) {
    let topic = |tp: &RoutePartition| Arc::clone(&topics[tp.route]);
    match notice {
        Notice::RecordsMissing(tp, offset, id) => tracing::error!(
            topic = %topic(tp), partition = %tp.partition, %offset,
            writer = %id.writer, sequence = id.sequence,
            "records of this writer before this one are missing from the log; nothing is lost if its \
             producer has told that they failed (`WriteLost`)"
        ),
        Notice::Misplaced(tp, offset, belongs_to) => tracing::warn!(
            topic = %topic(tp), partition = %tp.partition, %offset, %belongs_to,
            "a record lies in another partition than its key's, so it has no order with other \
             records of its row; its producer needs the partitioner murmur2_random, as docs/wire.md \
             says (told once; misplaced_records_total counts)"
        ),
        Notice::RecordsLost(tp, from, to, at_most) => tracing::warn!(
            topic = %topic(tp), partition = %tp.partition, %from, %to, at_most,
            "the topic is compacted, and its log has no records at some offsets: a compaction may have \
             removed them before they were written. Set cleanup.policy to delete"
        ),
        Notice::PassedOver(tp, from, to) => tracing::warn!(
            topic = %topic(tp), partition = %tp.partition, %from, %to,
            "Kafka's client passed over records that are in the log; the partition is read again"
        ),
        Notice::SkipUnknown(tp, from, why) => tracing::warn!(
            topic = %topic(tp), partition = %tp.partition, %from, error = %why,
            "no record came at some offsets, and it is not known yet whether the log has any there; \
             the partition is read again"
        ),
        Notice::DatabaseWentBack(tp, from, to) => tracing::error!(
            topic = %topic(tp), partition = %tp.partition, %from, %to,
            "the database went back, as if restored; its records are applied again from there"
        ),
        Notice::DatabaseWentAhead(tp, from, to) => tracing::warn!(
            topic = %topic(tp), partition = %tp.partition, %from, %to,
            "another consumer wrote this partition; going on from where the database stands"
        ),
        Notice::RouteStopped(route, why) => tracing::error!(
            topic = %topics[*route], error = %why,
            "the route has stopped: its records stay in the log until this is mended, then it goes \
             on by itself; other routes are not held up"
        ),
        Notice::Held(route, why) => tracing::warn!(
            topic = %topics[*route], error = %why,
            "records can't be written for now: they stay in the log and are tried again; what does \
             not wait behind them goes on"
        ),
        Notice::HeldNoMore(route, after) => tracing::info!(
            topic = %topics[*route], held_seconds = after.as_secs(), "the records are written"
        ),
        Notice::RouteRuns(route, after) => tracing::info!(
            topic = %topics[*route], stopped_seconds = after.as_secs(), "the route goes on"
        ),
        Notice::Dropped(records) => tracing::warn!(
            records,
            "partitions were let go with unwritten records; their next owner reads them again"
        ),
    }
}
