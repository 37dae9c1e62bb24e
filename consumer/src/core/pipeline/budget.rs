//! The memory that buffers and batches may take: takes what is held, says whose partitions must wait
//! until there is room again.
//!
//! Where routes have different priorities, each priority has an equal part for itself: a backlog of
//! low routes cannot take the room in which high ones are read, nor the other way round.

use crate::core::pipeline::schedule::Priority;

/// What is held of each priority, and its limit.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    share: usize,
    /// By priority.
    held: [usize; 3],
    /// Those that reached the limit, until they are below three quarters of it.
    tight: [bool; 3],
}

impl Room {
    /// Room for `limit` bytes of routes of these priorities.
    pub fn new(limit: usize, priorities: impl IntoIterator<Item = Priority>) -> Self {
        let mut used = [false; 3];
        for priority in priorities {
            used[priority as usize] = true;
        }
        let parts = used.iter().filter(|used| **used).count();
        Self { share: limit / parts.max(1), held: [0; 3], tight: [false; 3] }
    }

    /// Something of this priority took `before` bytes and takes `after` now.
    pub fn changed(&mut self, priority: Priority, before: usize, after: usize) {
        let held = &mut self.held[priority as usize];
        *held = *held - before + after;
        if *held >= self.share {
            self.tight[priority as usize] = true;
        } else if *held <= self.share / 4 * 3 {
            self.tight[priority as usize] = false;
        }
    }

    /// Whether nothing more of this priority is to be read for now.
    pub fn is_tight(&self, priority: Priority) -> bool {
        self.tight[priority as usize]
    }

    /// All that is held.
    pub fn held(&self) -> usize {
        self.held.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tight_at_the_limit_and_until_a_quarter_is_free_again() {
        let mut room = Room::new(100, [Priority::Normal, Priority::Normal]);
        room.changed(Priority::Normal, 0, 99);
        assert!(!room.is_tight(Priority::Normal));
        room.changed(Priority::Normal, 99, 100);
        assert!(room.is_tight(Priority::Normal));
        room.changed(Priority::Normal, 100, 76);
        assert!(room.is_tight(Priority::Normal));
        room.changed(Priority::Normal, 76, 75);
        assert!(!room.is_tight(Priority::Normal));
    }

    #[test]
    fn one_priority_s_backlog_leaves_the_others_their_parts() {
        let mut room = Room::new(100, [Priority::Low, Priority::High, Priority::Low]);
        room.changed(Priority::Low, 0, 50);
        assert!(room.is_tight(Priority::Low) && !room.is_tight(Priority::High));
        room.changed(Priority::High, 0, 50);
        assert!(room.is_tight(Priority::High));
        assert_eq!(room.held(), 100);
    }
}
