//! Estimates of heap memory, as allocators and hash tables use it.
//!
//! A row of a hundred bytes takes two hundred. Whatever is not counted here would exceed
//! `memory.buffers`, so the estimates err on the large side.

use write_behind_shared::{Cell, Change};

use crate::core::record::{DeadLetter, RawRecord};

/// A list grows by doubling, so it may have room for twice its length.
const LIST: usize = 2;

/// Heap memory of an allocation of `bytes`: a header of eight bytes, in steps of sixteen, as common
/// allocators do.
pub fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

/// Heap memory of a hash table with room for `capacity` entries: an eighth of its slots stays free,
/// and each slot has one extra byte.
pub fn of_table<T>(capacity: usize) -> usize {
    allocated(capacity.div_ceil(7) * 8 * (size_of::<T>() + 1))
}

/// Heap memory of a change.
pub fn of_change(change: &Change) -> usize {
    let cells = change.cells();
    // A vector grows by doubling, starting at four.
    let room = if cells.len() == 0 { 0 } else { cells.len().next_power_of_two().max(4) };
    let of_cell = |(name, cell): (&str, &Cell)| {
        let held = match cell {
            Cell::Set(value) => allocated(value.get().len()),
            Cell::Add(delta) => allocated(delta.heap_bytes()),
            Cell::SetThenAdd(value, delta) => {
                allocated(value.get().len()) + allocated(delta.heap_bytes())
            }
        };
        allocated(name.len()) + held
    };
    allocated(room * size_of::<(Box<str>, Cell)>()) + cells.map(of_cell).sum::<usize>()
}

/// Memory of a record kept as it is in a list.
pub fn of_record(record: &RawRecord) -> usize {
    let length =
        |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| allocated(bytes.len()));
    let header =
        |(name, value): &(String, Option<Box<[u8]>>)| allocated(name.len()) + length(value);
    let table = allocated(record.headers.len() * size_of::<(String, Option<Box<[u8]>>)>());
    LIST * size_of::<RawRecord>()
        + length(&record.key)
        + length(&record.value)
        + table
        + record.headers.iter().map(header).sum::<usize>()
}

/// Memory of a dead letter in a list.
pub fn of_dead_letter(letter: &DeadLetter) -> usize {
    let beside = size_of::<DeadLetter>() - size_of::<RawRecord>();
    of_record(&letter.record) + LIST * beside + allocated(letter.reason.len())
}

#[cfg(test)]
mod tests {
    use write_behind_shared::Number;

    use super::*;

    #[test]
    fn a_long_decimal_is_counted_with_its_digits() {
        let digits: Number = format!("0.{}", "7".repeat(1_000)).parse().unwrap();
        let of = |change: Change| of_change(&change);
        let short = of(Change::new().add("n", 1_i64));
        assert!(of(Change::new().add("n", digits)) >= short + 400);
    }

    #[test]
    fn a_dead_letter_is_counted_with_all_of_its_record() {
        let bytes = |length: usize| Some(vec![b'x'; length].into_boxed_slice());
        let record = RawRecord {
            partition: write_behind_shared::Partition(0),
            offset: write_behind_shared::Offset(0),
            key: bytes(1_000),
            value: bytes(10_000),
            headers: vec![("name".to_owned(), bytes(5_000))],
        };
        assert!(of_record(&record) >= 16_000);
        let letter = DeadLetter { record, reason: "x".repeat(2_000), sqlstate: None };
        assert!(of_dead_letter(&letter) >= of_record(&letter.record) + 2_000);
    }

    #[test]
    fn every_column_is_counted_with_its_name_its_place_and_its_value() {
        let one = of_change(&Change::new().set("a", &1).unwrap());
        let text = "x".repeat(1_000);
        let two = of_change(&Change::new().set("a", &1).unwrap().set("b", &text).unwrap());
        assert!(one >= 2 * 32 + size_of::<(Box<str>, Cell)>());
        assert!(two >= one + 32 + 1_000);
    }
}
