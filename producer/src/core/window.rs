//! Window of one partition: how many unacknowledged writes the Kafka client may hold.
//!
//! All partitions share the client's queue, those of other handles too. Without a window one whose
//! writes Kafka does not answer would take one place after another, until all others wait behind it.
//! The windows of all partitions are no more than the queue together.

/// In writes, and in bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    writes: usize,
    bytes: usize,
}

impl Window {
    /// Without a bound.
    pub(crate) const UNBOUNDED: Self = Self { writes: usize::MAX, bytes: usize::MAX };

    /// A queue of this many writes and bytes.
    pub(crate) const fn queue(writes: usize, bytes: usize) -> Self {
        Self { writes, bytes }
    }

    /// The share of each partition in this queue.
    pub(crate) fn share(self, partitions: usize) -> Self {
        let share = |of: usize| of / partitions.max(1);
        Self { writes: share(self.writes), bytes: share(self.bytes) }
    }

    /// Whether the client may be given another write, if it has this many, which take this many bytes.
    /// One may always go: however small the share is, the partition goes on.
    pub(crate) fn has_room(self, writes: usize, bytes: usize) -> bool {
        writes == 0 || writes < self.writes && bytes < self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_windows_of_all_partitions_are_no_more_than_the_queue_and_each_lets_one_write_through() {
        let queue = Window::queue(1_000, 1 << 20);
        for partitions in [1, 3, 7, 1_000, 100_000] {
            let window = queue.share(partitions);
            let most = (0..=1_000).take_while(|sent| window.has_room(*sent, 0)).count();
            assert!(most >= 1);
            assert!(most == 1 || most * partitions <= 1_000, "{most} in {partitions} partitions");
        }
        let window = queue.share(4);
        assert!(window.has_room(249, (1 << 18) - 1));
        assert!(!window.has_room(250, 0) && !window.has_room(1, 1 << 18));
        assert!(window.has_room(0, usize::MAX), "a row larger than the share");
        assert!(Window::UNBOUNDED.share(100).has_room(1 << 40, 1 << 40));
    }
}
