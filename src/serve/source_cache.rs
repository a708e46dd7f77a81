//! Encoded sources of earlier requests, by digests of all that decides how they come out.

use super::Adapter;
use super::recent::Recent;
use crate::t5::{Encoded, Memory};

/// What decides how a source comes out: its ids, and the generation of the adapter that has a part in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Digest of the ids.
    ids: blake3::Hash,
    /// None for the bare backbone, and for adapters that leave it alone.
    pub(super) generation: Option<String>,
}

/// The keys of a request's source.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// Of the encoder's output.
    pub(super) encoded: Key,
    /// Of cross-attention's keys and values.
    pub(super) memory: Key,
}

impl Keys {
    pub(super) fn new(ids: &[u32], adapter: Option<&Adapter>) -> Self {
        let mut hasher = blake3::Hasher::new();
        ids.iter().for_each(|id| {
            hasher.update(&id.to_le_bytes());
        });
        let digest = hasher.finalize();
        let key = |takes_part: bool| {
            let generation = adapter.filter(|_| takes_part).map(|adapter| adapter.generation.clone());
            Key { ids: digest, generation }
        };
        let reach = adapter.map(|adapter| adapter.structure.reach());
        let encoder = reach.is_some_and(|reach| !reach.spares_encoder);
        let keys_values = reach.is_some_and(|reach| !reach.spares_keys_values);
        Self { encoded: key(encoder), memory: key(encoder || keys_values) }
    }
}

/// Sources of earlier requests. Keys and values take many times the bytes of the encoder's output that they follow from, and a
/// fraction of its time, so they have a half of the room to themselves.
pub(super) struct SourceCache {
    pub(super) encoded: Recent<Key, Encoded>,
    pub(super) memory: Recent<Key, Memory>,
}

impl SourceCache {
    /// An empty one for so many bytes; 0 keeps nothing.
    pub(super) fn new(bytes: usize) -> Self {
        Self { encoded: Recent::new(bytes - bytes / 2), memory: Recent::new(bytes / 2) }
    }

    /// Whether it keeps anything.
    pub(super) fn is_on(&self) -> bool {
        self.encoded.limit() > 0
    }

    /// Whether a source's keys and values are there.
    pub(super) fn knows(&self, keys: &Keys) -> bool {
        self.memory.contains(&keys.memory)
    }

    /// Keeps what a batch has computed.
    pub(super) fn keep(&mut self, fresh: Fresh) {
        for (key, encoded) in fresh.encoded {
            let bytes = encoded.bytes();
            keep(&mut self.encoded, key, encoded, bytes);
        }
        for (key, memory) in fresh.memory {
            let bytes = memory.bytes();
            keep(&mut self.memory, key, memory, bytes);
        }
        metrics::gauge!("s3delta_encoder_cache_bytes").set((self.encoded.bytes() + self.memory.bytes()) as f64);
    }
}

/// Keeps a value, unless it has no room even alone.
fn keep<V>(recent: &mut Recent<Key, V>, key: Key, value: V, bytes: usize) {
    if bytes <= recent.limit() {
        recent.insert(key, value, bytes);
        recent.trim(|_| true);
    }
}

/// What is worth keeping.
#[derive(Default)]
pub(super) struct Fresh {
    pub(super) encoded: Vec<(Key, Encoded)>,
    pub(super) memory: Vec<(Key, Memory)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { ids: blake3::hash(name.as_bytes()), generation: None }
    }

    #[test]
    fn what_was_used_longest_ago_leaves_first() {
        let check = |limit: usize, steps: &str, wanted: &str| {
            let mut recent = Recent::new(limit);
            for step in steps.split(' ') {
                let (name, bytes) = step.split_at(1);
                match bytes.parse() {
                    Ok(bytes) => keep(&mut recent, key(name), name.to_string(), bytes),
                    Err(_) => assert_eq!(recent.get(&key(name)).map(String::as_str), Some(name)),
                }
            }
            let mut held: Vec<_> = recent.held().map(|(_, value, _)| value.as_str()).collect();
            held.sort();
            assert_eq!(held.concat(), wanted, "{steps}");
            assert_eq!(recent.bytes(), recent.held().map(|(_, _, bytes)| bytes).sum::<usize>());
            assert_eq!(recent.held().count(), recent.len());
        };
        check(30, "a10 b10 c10", "abc");
        check(30, "a10 b10 c10 d10", "bcd");
        check(30, "a10 b10 c10 a d10", "acd");
        check(30, "a10 b10 c25", "c");
        check(30, "a10 b31", "a");
        check(30, "a10 a20 b10", "ab");
        check(0, "a10", "");
    }
}
