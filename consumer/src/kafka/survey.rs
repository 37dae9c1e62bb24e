//! Where all partitions of all routes stand, whichever process has them.

use write_behind_shared::Partition;

use crate::apply::Target;
use crate::core::batch::RoutePartition;
use crate::core::pipeline::ahead::{Survey, Surveyed};
use crate::kafka::questions::Questions;
use crate::store::Known;

/// Asks Kafka where the logs of `targets` end. `known`: what the database knows of each.
pub(crate) async fn survey<Q: Questions>(
    broker: &Q,
    targets: &[Target],
    known: &[Vec<Known>],
) -> Survey {
    let mut survey = Survey::default();
    for (route, target) in targets.iter().enumerate() {
        let partitions: Vec<Partition> = (0..target.partitions).map(Partition).collect();
        let logs = broker.logs(&target.scope.topic, &partitions).await;
        let logs = logs.inspect_err(|error| {
            tracing::debug!(%error, "where the logs end is not known");
        });
        for (at, partition) in partitions.into_iter().enumerate() {
            let ends = logs.as_ref().ok().and_then(|logs| logs.ends.get(at)?.as_ref().ok());
            if ends.is_some_and(|(first, end)| first == end) {
                continue;
            }
            let known = known.get(route).into_iter().flatten();
            let written =
                known.filter(|known| known.partition == partition).map(|known| known.next);
            let standing = Surveyed { end: ends.map(|(_, end)| *end), written: written.max() };
            survey.0.insert(RoutePartition { route, partition }, standing);
        }
    }
    survey
}
