//! librdkafka's message as a record of ours.

use rdkafka::message::{BorrowedMessage, Message as _};
use write_behind_librdkafka::headers;
use write_behind_shared::record::UNREADABLE;
use write_behind_shared::{Offset, Partition};

use crate::core::record::Incoming;

/// Calls `take` with the record that `message` is. The record borrows everything from the message.
pub(super) fn incoming<T>(
    message: &BorrowedMessage<'_>,
    take: impl FnOnce(&Incoming<'_>) -> T,
) -> T {
    take(&Incoming {
        partition: Partition(message.partition()),
        offset: Offset(message.offset()),
        timestamp: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
        headers: &headers(message, UNREADABLE),
    })
}
