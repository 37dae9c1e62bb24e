//! Whether a group has members.
//!
//! Of a group whose members were assigned by the broker (KIP-848), librdkafka's list says nothing but
//! that it is there. Such a group is asked in another way: a broker takes a commit by no member only
//! while there is none. What is committed is what was committed, so nothing changes.

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::groups::GroupInfo;
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::kafka::client::{ANSWER_WITHIN, BrokerError, Quiet};

/// What the list says of a group that is not of the older protocol.
const OF_ANOTHER_PROTOCOL: &str = "Dead";

/// Properties that a client does not need which joins no group, and that may not fit each other in it.
const OF_A_MEMBER: [&str; 6] = [
    "group.protocol",
    "group.instance.id",
    "group.remote.assignor",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
];

/// How many members `group` has, at least. `config`: of a client. Blocks.
///
/// # Errors
/// [`BrokerError`]; also, if it can't be found out.
pub(super) fn count(
    consumer: &BaseConsumer<Quiet>,
    config: &ClientConfig,
    group: &str,
    topic: &str,
) -> Result<usize, BrokerError> {
    let list = consumer.fetch_group_list(Some(group), ANSWER_WITHIN).map_err(unreachable)?;
    let members = |info: &GroupInfo| info.members().len();
    if list.groups().iter().any(|info| info.state() == OF_ANOTHER_PROTOCOL) {
        return by_a_commit(consumer, config, group, topic);
    }
    Ok(list.groups().iter().map(members).sum())
}

/// The host of each member of `group`, as the broker sees it; `None`: the list does not tell. Blocks.
///
/// # Errors
/// [`BrokerError::Unreachable`].
pub(super) fn hosts(
    consumer: &BaseConsumer<Quiet>,
    group: &str,
) -> Result<Option<Vec<String>>, BrokerError> {
    let list = consumer.fetch_group_list(Some(group), ANSWER_WITHIN).map_err(unreachable)?;
    if list.groups().iter().any(|info| info.state() == OF_ANOTHER_PROTOCOL) {
        return Ok(None);
    }
    let hosts = list.groups().iter().flat_map(GroupInfo::members);
    Ok(Some(hosts.map(|member| member.client_host().to_owned()).collect()))
}

fn by_a_commit(
    consumer: &BaseConsumer<Quiet>,
    config: &ClientConfig,
    group: &str,
    topic: &str,
) -> Result<usize, BrokerError> {
    let mut config = config.clone();
    config.set("group.id", group);
    for property in OF_A_MEMBER {
        config.remove(property);
    }
    let nobody: BaseConsumer<Quiet> =
        config.create_with_context(Quiet::default()).map_err(unreachable)?;
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN).map_err(unreachable)?;
    let mut asked = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        asked.add_partition(topic, partition.id());
    }
    let committed = nobody.committed_offsets(asked, ANSWER_WITHIN).map_err(unreachable)?;
    let mut again = TopicPartitionList::new();
    for element in committed.elements() {
        if let Offset::Offset(_) = element.offset() {
            let mut same = again.add_partition(topic, element.partition());
            same.set_offset(element.offset()).map_err(unreachable)?;
            same.set_metadata(element.metadata());
        }
    }
    if again.count() == 0 {
        return Err(BrokerError::MembersUnknown(group.to_owned()));
    }
    match nobody.commit(&again, CommitMode::Sync) {
        Ok(()) => Ok(0),
        Err(KafkaError::ConsumerCommit(
            RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::StaleMemberEpoch
            | RDKafkaErrorCode::FencedMemberEpoch,
        )) => Ok(1),
        Err(error) => Err(unreachable(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn unreachable(error: KafkaError) -> BrokerError {
    BrokerError::Unreachable(error.to_string())
}
