//! A record written in Kafka's own protocol: what a client of another language can write and librdkafka's
//! Rust client can't.

#![allow(clippy::expect_used, reason = "a record that can't be written fails the test")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const PRODUCE: i16 = 0;
/// The first version with record batches of today.
const VERSION: i16 = 3;

/// A record with one header, whose name is any bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord<'a> {
    /// The key.
    pub(crate) key: &'a [u8],
    /// The value.
    pub(crate) value: &'a [u8],
    /// The name of its header.
    pub(crate) header: &'a [u8],
}

impl RawRecord<'_> {
    /// Writes the record to a partition that `broker` leads, and waits until it is there.
    ///
    /// # Panics
    /// The broker does not take it.
    pub(crate) fn send(&self, broker: &str, topic: &str, partition: i32) {
        let mut to = TcpStream::connect(broker).expect("the broker listens");
        to.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has a timeout");
        let request = frame(&request(topic, partition, &self.batch()));
        to.write_all(&request).expect("the broker takes the request");
        let mut length = [0; 4];
        to.read_exact(&mut length).expect("the broker answers");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        to.read_exact(&mut answer).expect("the broker answers whole");
        // Correlation, one topic with its name, one partition with its number, the error.
        let error = 4 + 4 + 2 + topic.len() + 4 + 4;
        assert_eq!(answer[error..error + 2], [0, 0], "the broker refuses the record");
    }

    fn batch(&self) -> Vec<u8> {
        let mut record = vec![0, 0, 0];
        for bytes in [self.key, self.value] {
            sized(&mut record, bytes);
        }
        varint(&mut record, 1);
        for bytes in [self.header, b"x"] {
            sized(&mut record, bytes);
        }
        let mut checked = Vec::new();
        let (attributes, last, none) = (0_i16, 0_i32, -1_i64);
        checked.extend(attributes.to_be_bytes());
        checked.extend(last.to_be_bytes());
        let now = 1_700_000_000_000_i64;
        checked.extend([now, now, none].map(i64::to_be_bytes).concat());
        checked.extend((-1_i16).to_be_bytes());
        checked.extend([-1_i32, 1].map(i32::to_be_bytes).concat());
        sized(&mut checked, &record);
        let mut rest = Vec::new();
        rest.extend((-1_i32).to_be_bytes());
        rest.push(2);
        rest.extend(crc32c(&checked).to_be_bytes());
        rest.extend(checked);
        let mut batch = vec![0; 8];
        batch.extend(frame(&rest));
        batch
    }
}

fn request(topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    let text = |to: &mut Vec<u8>, text: &str| {
        to.extend((text.len() as i16).to_be_bytes());
        to.extend(text.as_bytes());
    };
    request.extend([PRODUCE, VERSION].map(i16::to_be_bytes).concat());
    request.extend(7_i32.to_be_bytes());
    text(&mut request, "raw");
    // No transaction, all replicas, a time limit, one topic, one partition.
    request.extend([-1_i16, -1].map(i16::to_be_bytes).concat());
    request.extend([10_000_i32, 1].map(i32::to_be_bytes).concat());
    text(&mut request, topic);
    request.extend([1, partition].map(i32::to_be_bytes).concat());
    request.extend(frame(batch));
    request
}

/// The bytes behind their length.
fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes(), bytes].concat()
}

fn sized(to: &mut Vec<u8>, bytes: &[u8]) {
    varint(to, bytes.len());
    to.extend(bytes);
}

/// A length as a zigzag varint.
fn varint(to: &mut Vec<u8>, length: usize) {
    let mut rest = length << 1;
    while rest > 0x7f {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
