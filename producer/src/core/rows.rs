//! The pending rows of one partition, by key.
//!
//! A hash table with the rows in it would have room for twice as many at times, and copy all of them
//! whenever it grows, while writers wait for the partition's lock. So rows stand in chunks that never
//! move, and the table holds their places.

use ahash::RandomState;
use hashbrown::HashTable;

use crate::core::entry::Entry;
use crate::core::ledger::Key;

/// A map from keys to rows.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    table: HashTable<Indexed>,
    chunks: Vec<Chunk>,
    /// Where a row was and none is.
    vacant: Vec<RowPlace>,
    random: RandomState,
}

/// A chunk and a slot in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowPlace(u32);

/// Half of its key's hash stands beside it, so that the table grows without a look at the rows.
#[derive(Clone, Copy, Debug)]
struct Indexed {
    place: RowPlace,
    hash: u32,
}

type Chunk = Vec<Option<(Key, Entry)>>;

/// Rows in a chunk.
const CHUNK: usize = 256;

impl RowPlace {
    fn new(chunk: usize, slot: usize) -> Self {
        Self((chunk * CHUNK + slot) as u32)
    }

    fn parts(self) -> (usize, usize) {
        (self.0 as usize / CHUNK, self.0 as usize % CHUNK)
    }
}

impl Indexed {
    fn is_at(self, hash: u32, key: &[u8], chunks: &[Chunk]) -> bool {
        self.hash == hash && row_at(chunks, self.place).is_some_and(|(found, _)| **found == *key)
    }
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// How many rows there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// Where the row with this key is.
    fn find(&self, key: &[u8]) -> Option<RowPlace> {
        let hash = self.hash(key);
        let is_it = |indexed: &Indexed| indexed.is_at(hash, key, &self.chunks);
        self.table.find(spread(hash), is_it).map(|indexed| indexed.place)
    }

    pub(crate) fn contains_key(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        row_at(&self.chunks, self.find(key)?).map(|(_, entry)| entry)
    }

    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let (chunk, slot) = self.find(key)?.parts();
        self.chunks[chunk][slot].as_mut().map(|(_, entry)| entry)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.chunks.iter().flatten().flatten().map(|(key, _)| key)
    }

    /// The row with this key; `make` makes it if there is none.
    pub(crate) fn get_or_insert_with(
        &mut self,
        key: &[u8],
        make: impl FnOnce() -> Entry,
    ) -> (&Key, &mut Entry) {
        let place = self.find(key).unwrap_or_else(|| self.add(key));
        let (chunk, slot) = place.parts();
        let row = self.chunks[chunk][slot].get_or_insert_with(|| (Key::from(key), make()));
        (&row.0, &mut row.1)
    }

    /// Puts in a row whose key is not there.
    pub(crate) fn insert(&mut self, key: Key, entry: Entry) {
        let (chunk, slot) = self.add(&key).parts();
        self.chunks[chunk][slot] = Some((key, entry));
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<(Key, Entry)> {
        let hash = self.hash(key);
        let is_it = |indexed: &Indexed| indexed.is_at(hash, key, &self.chunks);
        let (Indexed { place, .. }, _) = self.table.find_entry(spread(hash), is_it).ok()?.remove();
        self.vacant.push(place);
        let (chunk, slot) = place.parts();
        self.chunks[chunk][slot].take()
    }

    /// Gives back the room of all rows but those that are here.
    pub(crate) fn shrink(&mut self) {
        let Self { random, chunks, .. } = std::mem::take(self);
        self.random = random;
        for (key, entry) in chunks.into_iter().flatten().flatten() {
            self.insert(key, entry);
        }
    }

    /// A place for a row with this key, which is about to be there.
    fn add(&mut self, key: &[u8]) -> RowPlace {
        let place = self.vacant.pop().unwrap_or_else(|| self.new_place());
        let indexed = Indexed { place, hash: self.hash(key) };
        self.table.insert_unique(spread(indexed.hash), indexed, |other| spread(other.hash));
        place
    }

    fn new_place(&mut self) -> RowPlace {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // Most partitions have few rows most of the time, so the first chunk grows as it needs.
            let room = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Chunk::with_capacity(room));
        }
        let at = self.chunks.len() - 1;
        self.chunks[at].push(None);
        RowPlace::new(at, self.chunks[at].len() - 1)
    }

    fn hash(&self, key: &[u8]) -> u32 {
        self.random.hash_one(key) as u32
    }
}

/// The table takes its places from the lower bits and tells keys apart by the upper ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn row_at(chunks: &[Chunk], place: RowPlace) -> Option<&(Key, Entry)> {
    let (chunk, slot) = place.parts();
    chunks[chunk][slot].as_ref()
}

#[cfg(test)]
#[path = "tests/rows.rs"]
mod tests;
