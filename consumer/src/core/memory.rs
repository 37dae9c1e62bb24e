//! The shares of `memory.buffers`: each part of the consumer has a limit of its own.
//!
//! Four eighths hold folded rows, in open buffers and in batches in flight. Three are for what a batch
//! takes beyond that while it is parsed and turned into the arrays of a statement. One is for what
//! librdkafka fetches ahead. Records that are read again because the database refuses a row, which is
//! rare, have a limit on top: a quarter, over all connections.

/// How many times its folded bytes a batch takes in addition while it is written.
const WRITING: usize = 6;
/// What a record takes in librdkafka beside its bytes.
const RECORD_OVERHEAD: usize = 512;

/// The memory that records may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits(pub usize);

impl MemoryLimits {
    /// For folded rows.
    #[must_use]
    pub fn held(self) -> usize {
        self.0 / 2
    }

    /// For a batch: `max_bytes`, or less if the batches of all connections would not fit.
    #[must_use]
    pub fn of_batch(self, max_bytes: usize, connections: usize) -> usize {
        max_bytes.min(self.0 / 8 * 3 / WRITING / connections.max(1)).max(1)
    }

    /// The least that holds this many bytes of folded rows, and a batch of this size on each connection.
    #[must_use]
    pub fn holding(folded: usize, batch: usize, connections: usize) -> Self {
        Self((folded * 2).max(batch * WRITING * connections * 8 / 3 + 8))
    }

    /// For the records of refused rows that one connection reads again.
    #[must_use]
    pub fn read_again(self, connections: usize) -> usize {
        self.0 / 4 / connections.max(1)
    }

    /// For records fetched ahead into this number of queues, as librdkafka's properties. Half is for their
    /// bytes and half for their overhead, in equal parts for each queue; a single fetch is a quarter
    /// of that.
    #[must_use]
    pub fn fetched_ahead(self, queues: usize) -> [(&'static str, usize); 4] {
        let half = self.0 / 16;
        let queue = half / queues.max(1);
        [
            ("queued.max.messages.kbytes", (queue >> 10).clamp(16, 1 << 20)),
            ("queued.min.messages", (queue / RECORD_OVERHEAD).clamp(100, 100_000)),
            // librdkafka refuses less than its `message.max.bytes`.
            ("fetch.max.bytes", (half / 4).max(1 << 20)),
            ("fetch.message.max.bytes", (queue / 4).clamp(16 << 10, 1 << 20)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_are_no_more_than_the_limit() {
        for (memory, connections) in [(256 << 20, 2), (64 << 20, 8), (8 << 20, 1)] {
            let shares = MemoryLimits(memory);
            let batches = shares.of_batch(usize::MAX, connections) * connections;
            for queues in [1, 8, 100] {
                let [(_, kbytes), (_, records), ..] = shares.fetched_ahead(queues);
                let ahead = ((kbytes << 10) + records * RECORD_OVERHEAD) * queues;
                let held = shares.held() + batches * WRITING + ahead;
                // A queue has room for a hundred records at least.
                assert!(held <= memory || records == 100, "{queues} queues of {memory}");
            }
        }
    }

    #[test]
    fn what_is_to_be_held_fits_into_its_shares() {
        for (folded, batch, connections) in [(100 << 20, 1 << 20, 2), (0, 7_777_777, 3), (1, 1, 1)]
        {
            let memory = MemoryLimits::holding(folded, batch, connections);
            assert!(memory.held() >= folded);
            assert_eq!(memory.of_batch(batch, connections), batch);
            assert!(memory.0 <= (folded * 2).max(batch * connections * 16 + 8));
        }
    }

    #[test]
    fn what_is_read_again_is_a_quarter_over_all_connections() {
        assert_eq!(MemoryLimits(256 << 20).read_again(1), 64 << 20);
        assert_eq!(MemoryLimits(256 << 20).read_again(4), 16 << 20);
    }

    #[test]
    fn of_little_memory_librdkafka_is_asked_for_no_less_than_it_takes() {
        let [(_, kbytes), (_, records), (_, fetch), (_, of_partition)] =
            MemoryLimits(64 << 10).fetched_ahead(1);
        assert_eq!((kbytes, records, fetch, of_partition), (16, 100, 1 << 20, 16 << 10));
    }

    #[test]
    fn by_default_a_batch_has_all_of_its_eight_mebibytes() {
        assert_eq!(MemoryLimits(256 << 20).of_batch(8 << 20, 2), 8 << 20);
        assert_eq!(MemoryLimits(64 << 20).of_batch(8 << 20, 2), 2 << 20);
    }
}
