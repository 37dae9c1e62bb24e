//! A topic of a producer, found once: records are enqueued without looking for it by its name.
//!
//! `BaseProducer::send` names the topic for each record. That allocates, and librdkafka then takes
//! its one lock for writing and walks its topics, so that threads which send wait for each other.

use std::ffi::{CString, c_char, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use rdkafka::bindings as c;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::IntoOpaque as _;

/// A topic that a producer sends to.
pub struct Topic<C: ProducerContext + 'static> {
    handle: NonNull<c::rd_kafka_topic_t>,
    /// Dropped after the handle, which must not outlive its client.
    producer: Arc<BaseProducer<C>>,
}

/// A record for one partition.
#[derive(Clone, Copy, Debug)]
pub struct Record<'r, H> {
    /// The partition.
    pub partition: i32,
    /// The key.
    pub key: &'r [u8],
    /// The value; `None` is a tombstone.
    pub value: Option<&'r [u8]>,
    /// The names and values of its headers.
    pub headers: H,
}

/// Headers that no record has taken.
struct Headers(NonNull<c::rd_kafka_headers_t>);

// SAFETY: any threads may use a handle of librdkafka, several at once too, and any may give it up.
// What is beside the handle is `Send` and `Sync` by itself.
#[expect(unsafe_code, reason = "the pointer is one to something that is thread-safe")]
unsafe impl<C: ProducerContext> Send for Topic<C> {}
// SAFETY: as for `Send`.
#[expect(unsafe_code, reason = "the pointer is one to something that is thread-safe")]
unsafe impl<C: ProducerContext> Sync for Topic<C> {}

impl<C: ProducerContext> Topic<C> {
    /// The topic of this name, with the settings of its client.
    ///
    /// # Errors
    /// The name has a NUL, or librdkafka refuses it.
    pub fn new(producer: Arc<BaseProducer<C>>, name: &str) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(name).map_err(|_| RDKafkaErrorCode::InvalidArgument)?;
        let client = producer.client().native_ptr();
        #[expect(unsafe_code, reason = "rdkafka has no call for it")]
        // SAFETY: the client lives as long as `producer`. The name is a C string, which librdkafka
        // copies. Without a configuration it makes one.
        let handle = unsafe { c::rd_kafka_topic_new(client, name.as_ptr(), null_mut()) };
        if let Some(handle) = NonNull::new(handle) {
            return Ok(Self { handle, producer });
        }
        #[expect(unsafe_code, reason = "rdkafka has no call for it")]
        // SAFETY: it reads a number that this thread has for itself.
        let code = unsafe { c::rd_kafka_last_error() };
        Err(code.into())
    }

    /// Enqueues a record, as `BaseProducer::send` does: it never blocks, and the delivery report
    /// comes with `opaque`.
    ///
    /// # Errors
    /// Why the record was not enqueued; `opaque` is dropped.
    pub fn send<'h>(
        &self,
        record: Record<'_, impl IntoIterator<Item = (&'h str, &'h [u8])>>,
        opaque: C::DeliveryOpaque,
    ) -> Result<(), RDKafkaErrorCode> {
        let headers = Headers::of(record.headers)?;
        let (value, value_length) = parts(record.value.unwrap_or_default());
        let value = if record.value.is_some() { value } else { null_mut() };
        let (key, key_length) = parts(record.key);
        let opaque = opaque.into_ptr();
        #[expect(unsafe_code, reason = "rdkafka names the topic for each record")]
        // SAFETY: the arguments are tags, and after each what librdkafka reads for it, in the types
        // that it reads (`rd_kafka_vtype_t` in rdkafka.h): a topic of this client, which lives as
        // long as `self`; an `int32_t`; an `int`; a pointer and a `size_t` for the value, and for
        // the key; pointers; and `END`. With the flag `COPY` it has copied value and key when it
        // returns, and it never writes to them.
        let code = unsafe {
            c::rd_kafka_producev(
                self.producer.client().native_ptr(),
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT,
                self.handle.as_ptr(),
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
                record.partition,
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
                c::RD_KAFKA_MSG_F_COPY,
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
                value,
                value_length,
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
                key,
                key_length,
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE,
                opaque,
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
                headers.0.as_ptr(),
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
            )
        };
        if code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            // The record has them now.
            std::mem::forget(headers);
            return Ok(());
        }
        #[expect(unsafe_code, reason = "what was made a pointer becomes what it was")]
        // SAFETY: it is what `into_ptr` gave above, and nobody else has it: librdkafka reports
        // nothing of a record that it has not taken.
        drop(unsafe { C::DeliveryOpaque::from_ptr(opaque) });
        Err(code.into())
    }
}

impl<C: ProducerContext> Drop for Topic<C> {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "rdkafka has no call for it")]
        // SAFETY: it came from `rd_kafka_topic_new`, is given up here and nowhere else, and its
        // client, which `producer` keeps, is still there.
        unsafe {
            c::rd_kafka_topic_destroy(self.handle.as_ptr());
        }
    }
}

impl Headers {
    fn of<'h>(
        all: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Self, RDKafkaErrorCode> {
        #[expect(unsafe_code, reason = "rdkafka keeps the pointer of its own headers to itself")]
        // SAFETY: the number is only how many are expected.
        let headers = unsafe { c::rd_kafka_headers_new(2) };
        let headers = Self(NonNull::new(headers).ok_or(RDKafkaErrorCode::Fail)?);
        for (name, value) in all {
            let (value, length) = parts(value);
            let (name, name_length) = (name.as_ptr().cast::<c_char>(), name.len().cast_signed());
            #[expect(unsafe_code, reason = "as above")]
            // SAFETY: the headers are ours alone, and name and value are of these lengths; both are
            // copied.
            let code = unsafe {
                c::rd_kafka_header_add(
                    headers.0.as_ptr(),
                    name,
                    name_length,
                    value,
                    length.cast_signed(),
                )
            };
            if code != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(code.into());
            }
        }
        Ok(headers)
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: they are ours alone: those that a record has taken are forgotten.
        unsafe {
            c::rd_kafka_headers_destroy(self.0.as_ptr());
        }
    }
}

/// Where bytes are, and how many, as C has them.
fn parts(bytes: &[u8]) -> (*mut c_void, usize) {
    (bytes.as_ptr().cast_mut().cast(), bytes.len())
}

impl<C: ProducerContext> std::fmt::Debug for Topic<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic").finish_non_exhaustive()
    }
}
