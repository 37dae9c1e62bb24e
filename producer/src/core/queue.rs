//! A queue that holds one thing without allocating.
//!
//! Nearly every row has one write in flight, and an allocation for it would be made by the writing
//! thread and freed by the polling thread, which is the dearest kind.

use std::collections::VecDeque;

/// First in, first out; the first is kept in place.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// `None` only if there is nothing at all.
    first: Option<T>,
    #[expect(clippy::box_collection, reason = "nearly every row does without, and there are many")]
    rest: Option<Box<VecDeque<T>>>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { first: None, rest: None }
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn push(&mut self, item: T) {
        match self.first {
            None => self.first = Some(item),
            Some(_) => self.rest.get_or_insert_default().push_back(item),
        }
    }

    /// The one that was pushed last.
    pub(crate) fn last_mut(&mut self) -> Option<&mut T> {
        self.rest.as_mut().and_then(|rest| rest.back_mut()).or(self.first.as_mut())
    }

    /// Takes out what stands at `place`.
    pub(crate) fn remove(&mut self, place: usize) -> Option<T> {
        let taken = match place.checked_sub(1) {
            None => {
                let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
                std::mem::replace(&mut self.first, next)
            }
            Some(place) => self.rest.as_mut().and_then(|rest| rest.remove(place)),
        };
        // A row may stay for hours after a burst; the room of its queue need not.
        self.rest.take_if(|rest| rest.is_empty());
        taken
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    /// The one with this key, and its place, by binary search: things were pushed in the order of
    /// their keys.
    pub(crate) fn find_by_key<K: Ord + Copy>(
        &self,
        key: K,
        of: impl Fn(&T) -> K,
    ) -> Option<(usize, &T)> {
        let first = self.first.as_ref()?;
        if of(first) == key {
            return Some((0, first));
        }
        let rest = self.rest.as_ref()?;
        let place = rest.binary_search_by_key(&key, of).ok()?;
        Some((place + 1, rest.get(place)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_stay_in_order_whatever_is_taken_out() {
        for place in 0..4 {
            let mut queue = Queue::new();
            (0..4).for_each(|n| queue.push(n));
            assert_eq!(queue.remove(place), Some(place));
            let expected: Vec<usize> = (0..4).filter(|n| *n != place).collect();
            assert_eq!(queue.iter().copied().collect::<Vec<_>>(), expected);
            assert_eq!(queue.len(), 3);
        }
        let mut queue = Queue::new();
        assert_eq!(queue.remove(0), None::<u8>);
        queue.push(1);
        assert_eq!(queue.remove(1), None);
        assert_eq!(queue.remove(0), Some(1));
        assert!(queue.is_empty());
    }
}
