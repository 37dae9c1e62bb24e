//! The largest batch that a Kafka client makes: no larger than what its topics are known to take.

use std::sync::atomic::{AtomicUsize, Ordering};

use write_behind_shared::kafka::KafkaSettings;

/// In bytes. It only ever falls; the client that is made next obeys it.
#[derive(Debug)]
pub(crate) struct BatchLimit(AtomicUsize);

/// librdkafka's default of `batch.size`.
const BATCH_BYTES: usize = 1_000_000;
/// Refusals lower the limit no further: smaller batches would cost more than single records do.
const SMALLEST_BYTES: usize = 16_384;

impl BatchLimit {
    /// What the settings say.
    pub(crate) fn of(settings: &KafkaSettings) -> Self {
        let set = settings.get("batch.size").and_then(|bytes| bytes.trim().parse().ok());
        Self(AtomicUsize::new(set.unwrap_or(BATCH_BYTES)))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// A topic takes no larger batch than this. Says whether the limit was higher.
    pub(crate) fn lower_to(&self, bytes: usize) -> bool {
        self.0.fetch_min(bytes.max(1), Ordering::AcqRel) > bytes
    }

    /// A broker refused a batch of several records as too large, from a client that makes batches
    /// of `own` bytes. However many partitions that client tells it of, it lowers the limit once.
    /// Says whether smaller batches can help.
    pub(crate) fn refused(&self, own: usize) -> bool {
        self.lower_to((own / 2).max(SMALLEST_BYTES));
        own > SMALLEST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_falls_to_what_topics_take_and_never_rises() {
        let settings = |more: &[(&str, &str)]| {
            let properties = [("bootstrap.servers", "localhost")].into_iter();
            KafkaSettings::new(properties.chain(more.iter().copied()), &[]).unwrap()
        };
        let limit = BatchLimit::of(&settings(&[]));
        assert_eq!(limit.bytes(), 1_000_000, "librdkafka's");
        assert!(!limit.lower_to(1_048_588));
        assert!(limit.lower_to(500_000));
        assert!(!limit.lower_to(700_000));
        assert_eq!(limit.bytes(), 500_000);
        (0..12).for_each(|_| assert!(limit.refused(500_000), "of 12 partitions, by one client"));
        assert_eq!(limit.bytes(), 250_000);
        (0..12).for_each(|_| assert!(limit.refused(1_000_000), "late answers to an older client"));
        assert_eq!(limit.bytes(), 250_000);
        while limit.refused(limit.bytes()) {}
        assert_eq!(limit.bytes(), 16_384, "from there on each record goes alone");
        limit.lower_to(1_000);
        assert!(!limit.refused(1_000));
        assert_eq!(limit.bytes(), 1_000, "never up");
        assert_eq!(BatchLimit::of(&settings(&[("batch.size", "16384")])).bytes(), 16_384);
    }
}
