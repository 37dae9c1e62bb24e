//! The partitioner: murmur2 of the key, as the Java client's default partitioner computes it.
//!
//! All writers of a topic must agree on it, whatever their language: two records of one row in two
//! partitions have no order. librdkafka's own default hashes differently, so the producer computes
//! the partition here and names it in each send.

use crate::offset::Partition;

/// The partition of `key` in a topic of `partitions` partitions.
///
/// # Panics
/// If `partitions` is not positive; a topic has at least one partition.
#[must_use]
pub fn partition_of(key: &[u8], partitions: i32) -> Partition {
    assert!(partitions > 0, "a topic has at least one partition, not {partitions}");
    let positive = (murmur2(key) & 0x7fff_ffff) as i32;
    Partition(positive % partitions)
}

/// The 32-bit murmur2 hash with the seed that Kafka's clients use.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the Java client's own unit test of `Utils.murmur2`.
    #[test]
    fn the_hash_agrees_with_the_java_client() {
        let vectors: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, hash) in vectors {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "hash of {text:?}");
        }
    }

    #[test]
    fn a_partition_is_always_one_of_the_topics() {
        for partitions in 1..20 {
            for key in 0..200 {
                let Partition(p) = partition_of(format!("key-{key}").as_bytes(), partitions);
                assert!((0..partitions).contains(&p));
            }
        }
    }
}
