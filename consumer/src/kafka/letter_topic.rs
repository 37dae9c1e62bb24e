//! The topic that dead letters are copied to.
//!
//! A copy has the record's key, value and headers as they were, and headers of ours that say where
//! it came from and why it was set aside. Its partition is that of its key, as any client computes
//! it.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use write_behind_shared::kafka::KafkaSettings;

use crate::core::dead_letters::StoredDeadLetter;
use crate::kafka::client::Quiet;

/// How long a copy may take.
const SEND_WITHIN: Duration = Duration::from_secs(30);

/// Properties that no setting overrides: each copy arrives once, in the partition of its key.
const FIXED: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("partitioner", "murmur2_random"),
    ("allow.auto.create.topics", "false"),
    // The broker says what is too large: the record with its headers is larger than it was.
    ("message.max.bytes", "1000000000"),
];

/// A producer for the copies.
pub(crate) struct LetterTopic {
    producer: FutureProducer<Quiet>,
    topic: String,
}

impl LetterTopic {
    /// A producer for `topic`. Does not wait for a connection.
    pub(crate) fn new(settings: &KafkaSettings, topic: &str) -> Result<Self, KafkaError> {
        let mut config: ClientConfig = settings.with(&[], FIXED).collect();
        config.set("message.timeout.ms", SEND_WITHIN.as_millis().to_string());
        Ok(Self {
            producer: config.create_with_context(Quiet::default())?,
            topic: topic.to_owned(),
        })
    }

    /// Copies `letters`, and returns when the brokers have them all: how many were too large for
    /// the topic.
    ///
    /// # Errors
    /// A copy failed. The others may have been made.
    pub(crate) async fn copy(&self, letters: &[StoredDeadLetter]) -> Result<usize, KafkaError> {
        let mut deliveries = Vec::with_capacity(letters.len());
        for letter in letters {
            let record = &letter.dead_letter.record;
            let mut copy: FutureRecord<'_, [u8], [u8]> =
                FutureRecord::to(&self.topic).headers(headers(letter));
            copy.key = record.key.as_deref();
            copy.payload = record.value.as_deref();
            deliveries.push(self.producer.send(copy, SEND_WITHIN));
        }
        let mut too_large = 0;
        for (delivery, letter) in deliveries.into_iter().zip(letters) {
            match delivery.await {
                Ok(_) => {}
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                    let (partition, offset) = (letter.partition(), letter.offset());
                    let (topic, to) = (&letter.scope.topic, &self.topic);
                    tracing::warn!(
                        %topic, %partition, %offset, %to,
                        "a dead letter is too large for the topic of copies; it is only in the \
                         database (raise the topic's `max.message.bytes`)"
                    );
                    too_large += 1;
                }
                Err((error, _)) => return Err(error),
            }
        }
        Ok(too_large)
    }
}

impl std::fmt::Debug for LetterTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LetterTopic").field("topic", &self.topic).finish_non_exhaustive()
    }
}

fn headers(letter: &StoredDeadLetter) -> OwnedHeaders {
    let known = &letter.dead_letter;
    let as_they_were = known.record.headers.iter();
    let headers = as_they_were.fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: value.as_deref() })
    });
    let ours = [
        ("write-behind-topic", Some(letter.scope.topic.clone())),
        ("write-behind-partition", Some(letter.partition().to_string())),
        ("write-behind-offset", Some(letter.offset().to_string())),
        ("write-behind-reason", Some(known.reason.clone())),
        ("write-behind-sqlstate", known.sqlstate.clone()),
        ("write-behind-failed-at", Some(letter.failed_at.to_string())),
    ];
    let said = ours.iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
    said.fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}
