//! The memory budget of buffers and batches, per priority.
//!
//! Each priority in use has an equal share: a backlog of low routes can't take the memory of high
//! ones, nor the other way round.

use crate::core::pipeline::schedule::Priority;

/// The bytes held per priority, and the limit.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBudget {
    share: usize,
    /// By priority.
    held: [usize; 3],
    /// Priorities that reached the limit and are not back below three quarters of it.
    over_limit: [bool; 3],
}

impl MemoryBudget {
    /// A budget of `limit` bytes for routes of these priorities.
    pub fn new(limit: usize, priorities: impl IntoIterator<Item = Priority>) -> Self {
        let mut used = [false; 3];
        for priority in priorities {
            used[priority as usize] = true;
        }
        let shares = used.iter().filter(|used| **used).count();
        Self { share: limit / shares.max(1), held: [0; 3], over_limit: [false; 3] }
    }

    /// Something of this priority took `before` bytes and now takes `after`.
    pub fn changed(&mut self, priority: Priority, before: usize, after: usize) {
        let held = &mut self.held[priority as usize];
        *held = *held - before + after;
        if *held >= self.share {
            self.over_limit[priority as usize] = true;
        } else if *held <= self.share / 4 * 3 {
            self.over_limit[priority as usize] = false;
        }
    }

    /// Whether reading routes of this priority must pause.
    pub fn is_over_limit(&self, priority: Priority) -> bool {
        self.over_limit[priority as usize]
    }

    /// All bytes held.
    pub fn held(&self) -> usize {
        self.held.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_limit_from_the_limit_on_and_until_a_quarter_is_free_again() {
        let mut budget = MemoryBudget::new(100, [Priority::Normal, Priority::Normal]);
        budget.changed(Priority::Normal, 0, 99);
        assert!(!budget.is_over_limit(Priority::Normal));
        budget.changed(Priority::Normal, 99, 100);
        assert!(budget.is_over_limit(Priority::Normal));
        budget.changed(Priority::Normal, 100, 76);
        assert!(budget.is_over_limit(Priority::Normal));
        budget.changed(Priority::Normal, 76, 75);
        assert!(!budget.is_over_limit(Priority::Normal));
    }

    #[test]
    fn one_priority_s_backlog_leaves_the_others_their_parts() {
        let mut budget = MemoryBudget::new(100, [Priority::Low, Priority::High, Priority::Low]);
        budget.changed(Priority::Low, 0, 50);
        assert!(budget.is_over_limit(Priority::Low) && !budget.is_over_limit(Priority::High));
        budget.changed(Priority::High, 0, 50);
        assert!(budget.is_over_limit(Priority::High));
        assert_eq!(budget.held(), 100);
    }
}
