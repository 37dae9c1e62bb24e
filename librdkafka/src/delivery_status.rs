//! Whether a record that librdkafka could not deliver may be in the log all the same.
//!
//! librdkafka knows it: an answer may have been lost before the attempt that failed.

use rdkafka::bindings::{rd_kafka_message_status, rd_kafka_msg_status_t};
use rdkafka::message::BorrowedMessage;

/// Whether an attempt to deliver the record may have put it into the log, going by the delivery
/// report that `message` came with.
#[must_use]
pub fn may_be_in_the_log(message: &BorrowedMessage<'_>) -> bool {
    #[expect(unsafe_code, reason = "rdkafka has no call for it")]
    // SAFETY: the pointer is that of a message which is borrowed for the length of this call, so it
    // is valid and nobody changes what it points to; librdkafka only reads a field of it.
    let status = unsafe { rd_kafka_message_status(message.ptr()) };
    status != rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}
