//! Classifies librdkafka's error codes: whether a record may be sent later, and which cause a
//! service sees.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::core::reason::{KafkaCause, Reason};
use crate::core::unanswered::GivenBack;
use crate::error::Refusal;
use crate::partitions::outlet::{Content, NotTaken};

/// Why the client did not take a record.
pub(crate) fn not_taken(code: RDKafkaErrorCode, content: Content<'_>) -> NotTaken {
    match code {
        RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::Fatal => NotTaken::Yet,
        RDKafkaErrorCode::MessageSizeTooLarge => {
            let bytes = content.key.len() + content.value.map_or(0, <[u8]>::len);
            NotTaken::Refused(Refusal::TooLarge { bytes, limit: bytes - 1 })
        }
        // The client says what it last heard of the topic: it is unknown, or not for us. Topics
        // come back, and rights are given.
        _ => NotTaken::NotNow(reason_of(code)),
    }
}

/// What an error says of a record that was reported with it; none: nothing, it was only cut off by
/// the end of the client. `has_failed`: the client has failed for good, as it does whenever a
/// broker refuses a batch (`enable.gapless.guarantee`).
pub(crate) fn given_back(code: RDKafkaErrorCode, has_failed: bool) -> Option<GivenBack> {
    use RDKafkaErrorCode::{
        BrokerDestroy, DuplicateSequenceNumber, Fatal, GaplessGuarantee, InvalidDifferentRecord,
        InvalidMessage, InvalidMessageSize, InvalidProducerEpoch, InvalidProducerIdMapping,
        InvalidRecord, MessageBatchTooLarge, MessageSizeTooLarge, OutOfOrderSequenceNumber,
        PurgeInflight, PurgeQueue, UnknownPartition, UnknownProducerId, UnknownTopic,
    };
    match code {
        // Of all records in the batch together.
        MessageSizeTooLarge | MessageBatchTooLarge | InvalidMessageSize => {
            Some(GivenBack::BatchTooLarge)
        }
        // Of the records themselves, perhaps of only one in the batch.
        InvalidMessage | InvalidRecord => Some(GivenBack::Refused),
        PurgeQueue | PurgeInflight => None,
        InvalidDifferentRecord
        | Fatal
        | GaplessGuarantee
        | OutOfOrderSequenceNumber
        | DuplicateSequenceNumber
        | InvalidProducerEpoch
        | InvalidProducerIdMapping
        | UnknownProducerId
            if has_failed =>
        {
            None
        }
        // The client dropped the topic because of what it heard of it, or it is being ended.
        UnknownTopic | UnknownPartition | BrokerDestroy => Some(GivenBack::Unsent),
        _ if has_failed => Some(GivenBack::NotNow),
        _ => Some(GivenBack::Unsent),
    }
}

/// What is told of a record with this code.
pub(crate) fn reason_of(code: RDKafkaErrorCode) -> Reason {
    Reason::of_kafka(cause_of(code), code.to_string())
}

/// What is told of an error of the client.
pub(crate) fn reason_of_error(error: &KafkaError) -> Reason {
    let cause = error.rdkafka_error_code().map_or(KafkaCause::Other, cause_of);
    Reason::of_kafka(cause, error.to_string())
}

/// The cause that a code is of.
pub(crate) fn cause_of(code: RDKafkaErrorCode) -> KafkaCause {
    use RDKafkaErrorCode as Code;
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::MessageTimedOut
        | Code::RequestTimedOut
        | Code::TimedOutQueue
        | Code::UnknownBroker
        | Code::BrokerNotAvailable
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::ReplicaNotAvailable
        | Code::NetworkException
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::WaitingForCoordinator => KafkaCause::Unreachable,
        Code::Authentication
        | Code::SSL
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => KafkaCause::NotAuthenticated,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => KafkaCause::NotAuthorized,
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic => KafkaCause::UnknownTopic,
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend | Code::ISRInsufficient => {
            KafkaCause::NotEnoughReplicas
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            KafkaCause::TooLarge
        }
        Code::InvalidMessage | Code::InvalidRecord => KafkaCause::Invalid,
        Code::Fatal
        | Code::GaplessGuarantee
        | Code::Fenced
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::UnknownProducerId
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::BrokerDestroy => KafkaCause::ClientFailed,
        _ => KafkaCause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_refuses_a_record_for_good_is_never_and_every_other_is_not_now() {
        use RDKafkaErrorCode as Code;
        for code in [
            Code::MessageSizeTooLarge,
            Code::MessageBatchTooLarge,
            Code::InvalidMessageSize,
            Code::InvalidMessage,
            Code::InvalidRecord,
            Code::InvalidTimestamp,
            Code::UnknownTopic,
            Code::UnknownPartition,
            Code::UnknownTopicOrPartition,
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::NotEnoughReplicas,
            Code::NotLeaderForPartition,
            Code::UnsupportedCompressionType,
            Code::PolicyViolation,
            Code::KafkaStorageError,
            Code::BrokerDestroy,
            Code::RequestTimedOut,
            Code::Unknown,
        ] {
            let how = given_back(code, true);
            let refuses = matches!(how, Some(GivenBack::Refused | GivenBack::BatchTooLarge));
            assert_eq!(cause_of(code).may_pass(), !refuses, "{code:?}");
        }
    }

    #[test]
    fn causes_are_those_that_a_service_tells_apart() {
        use RDKafkaErrorCode as Code;
        for (code, cause) in [
            (Code::AllBrokersDown, KafkaCause::Unreachable),
            (Code::Authentication, KafkaCause::NotAuthenticated),
            (Code::SSL, KafkaCause::NotAuthenticated),
            (Code::TopicAuthorizationFailed, KafkaCause::NotAuthorized),
            (Code::UnknownTopic, KafkaCause::UnknownTopic),
            (Code::NotEnoughReplicas, KafkaCause::NotEnoughReplicas),
            (Code::MessageSizeTooLarge, KafkaCause::TooLarge),
            (Code::InvalidRecord, KafkaCause::Invalid),
            (Code::Fatal, KafkaCause::ClientFailed),
            (Code::PolicyViolation, KafkaCause::Other),
        ] {
            assert_eq!(reason_of(code).kafka(), Some(cause), "{code:?}");
        }
    }
}
