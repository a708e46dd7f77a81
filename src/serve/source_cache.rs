//! Encoded sources of earlier requests, by digests of all that decides how they come out.

use super::Adapter;
use crate::t5::{Encoded, Memory};
use std::collections::{BTreeMap, HashMap};

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

/// Values by key up to a number of bytes; what was used longest ago leaves first.
pub(super) struct Recent<V> {
    entries: HashMap<Key, Entry<V>>,
    /// Keys by when they were used last.
    order: BTreeMap<u64, Key>,
    clock: u64,
    bytes: usize,
    limit: usize,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<V: Clone> Recent<V> {
    fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), clock: 0, bytes: 0, limit }
    }

    pub(super) fn get(&mut self, key: &Key) -> Option<V> {
        let entry = self.entries.get_mut(key)?;
        self.clock += 1;
        self.order.remove(&entry.used);
        self.order.insert(self.clock, key.clone());
        entry.used = self.clock;
        Some(entry.value.clone())
    }

    /// Keeps a value, unless it has no room even alone.
    fn insert(&mut self, key: Key, value: V, bytes: usize) {
        if bytes > self.limit {
            return;
        }
        self.clock += 1;
        if let Some(old) = self.entries.insert(key.clone(), Entry { value, bytes, used: self.clock }) {
            self.order.remove(&old.used);
            self.bytes -= old.bytes;
        }
        self.order.insert(self.clock, key);
        self.bytes += bytes;
        while self.bytes > self.limit {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.bytes -= self.entries.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }
}

/// Sources of earlier requests. Keys and values take many times the bytes of the encoder's output that they follow from, and a
/// fraction of its time, so they have a half of the room to themselves.
pub(super) struct SourceCache {
    pub(super) encoded: Recent<Encoded>,
    pub(super) memory: Recent<Memory>,
}

impl SourceCache {
    /// An empty one for so many bytes; 0 keeps nothing.
    pub(super) fn new(bytes: usize) -> Self {
        Self { encoded: Recent::new(bytes - bytes / 2), memory: Recent::new(bytes / 2) }
    }

    /// Whether it keeps anything.
    pub(super) fn is_on(&self) -> bool {
        self.encoded.limit > 0
    }

    /// Whether a source needs no pass of the encoder.
    pub(super) fn knows(&self, keys: &Keys) -> bool {
        self.memory.entries.contains_key(&keys.memory) || self.encoded.entries.contains_key(&keys.encoded)
    }

    /// Keeps what a batch has computed.
    pub(super) fn keep(&mut self, fresh: Fresh) {
        for (key, encoded) in fresh.encoded {
            let bytes = encoded.bytes();
            self.encoded.insert(key, encoded, bytes);
        }
        for (key, memory) in fresh.memory {
            let bytes = memory.bytes();
            self.memory.insert(key, memory, bytes);
        }
        metrics::gauge!("s3delta_encoder_cache_bytes").set((self.encoded.bytes + self.memory.bytes) as f64);
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
                    Ok(bytes) => recent.insert(key(name), name.to_string(), bytes),
                    Err(_) => assert_eq!(recent.get(&key(name)).as_deref(), Some(name)),
                }
            }
            let mut held: Vec<_> = recent.entries.values().map(|entry| entry.value.as_str()).collect();
            held.sort();
            assert_eq!(held.concat(), wanted, "{steps}");
            assert_eq!(recent.bytes, recent.entries.values().map(|entry| entry.bytes).sum::<usize>());
            assert_eq!(recent.order.len(), recent.entries.len());
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
