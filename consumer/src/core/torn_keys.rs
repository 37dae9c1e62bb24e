//! The keys whose records wait in two partitions, after partitions were added: their records have no
//! order between them.
//!
//! Pure. What an operator accepts is named by the place of a record. No later record has that place,
//! so an acceptance that stays in a script accepts no other disorder.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use write_behind_shared::{Offset, Partition};

/// The most characters of a key that are shown.
const SHOWN: usize = 60;

/// The place of a record in its topic.
pub type RecordPlace = (Partition, Offset);

/// The keys whose records wait in two partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornKeys {
    /// How many they are.
    pub keys: u64,
    /// The first of their records, by its partition and then its offset: the same in whatever order the
    /// partitions are read.
    pub first: RecordPlace,
    /// That record's key, or its beginning.
    pub key: String,
}

/// The records that wait, looked through. Two keys of one hash count as one, which errs on the safe
/// side.
#[derive(Debug, Default)]
pub(crate) struct KeysSeen {
    /// Of each key the first place, and whether it has records in another partition, too.
    keys: HashMap<u64, (RecordPlace, bool)>,
    torn: Option<TornKeys>,
}

impl KeysSeen {
    /// The next record of a partition.
    pub(crate) fn see(&mut self, key: &[u8], at: RecordPlace) {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let (first, is_torn) = self.keys.entry(hasher.finish()).or_insert((at, false));
        let was_torn = *is_torn;
        *is_torn |= first.0 != at.0;
        *first = at.min(*first);
        if !*is_torn {
            return;
        }
        let (first, is_new) = (*first, u64::from(!was_torn));
        let torn = self.torn.get_or_insert(TornKeys { keys: 0, first, key: shown(key) });
        torn.keys += is_new;
        if first < torn.first {
            (torn.first, torn.key) = (first, shown(key));
        }
    }

    /// The keys that were seen in two partitions, if there are any.
    pub(crate) fn torn(self) -> Option<TornKeys> {
        self.torn
    }
}

fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, offset: i64) -> RecordPlace {
        (Partition(partition), Offset(offset))
    }

    #[test]
    fn the_first_record_of_a_torn_key_is_the_same_in_whatever_order_partitions_are_read() {
        let records = [
            ("a", at(0, 7)),
            ("b", at(0, 8)),
            ("a", at(0, 9)),
            ("c", at(1, 3)),
            ("b", at(2, 0)),
            ("a", at(2, 1)),
            ("d", at(2, 2)),
            ("d", at(2, 3)),
        ];
        let torn = TornKeys { keys: 2, first: at(0, 7), key: "a".to_owned() };
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut seen = KeysSeen::default();
            for partition in order {
                for (key, place) in records.iter().filter(|(_, at)| at.0.0 == partition) {
                    seen.see(key.as_bytes(), *place);
                }
            }
            assert_eq!(seen.torn(), Some(torn.clone()), "{order:?}");
        }
    }

    #[test]
    fn a_key_in_one_partition_is_not_torn_however_often_it_is_there() {
        let mut seen = KeysSeen::default();
        (0..3).for_each(|offset| seen.see(b"a", at(1, offset)));
        seen.see(b"b", at(0, 0));
        assert_eq!(seen.torn(), None);
    }
}
