//! What was used of late, up to a number of bytes.

use lru::LruCache;
use std::hash::Hash;

/// Values by key; what was used longest ago leaves first.
pub(super) struct Recent<K: Hash + Eq, V> {
    entries: LruCache<K, Entry<V>>,
    bytes: usize,
    limit: usize,
}

struct Entry<V> {
    value: V,
    bytes: usize,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// Nothing yet, at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, limit }
    }

    /// The value of a key, which counts as a use.
    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Whether there is one, which does not count as a use.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains(key)
    }

    /// Keeps a value, beyond the limit too until [`Recent::trim`].
    pub(super) fn insert(&mut self, key: K, value: V, bytes: usize) {
        self.bytes += bytes;
        if let Some(old) = self.entries.put(key, Entry { value, bytes }) {
            self.bytes -= old.bytes;
        }
    }

    /// Forgets values that may leave until the rest fits; says how many.
    pub(super) fn trim(&mut self, may_leave: impl Fn(&V) -> bool) -> usize {
        let before = self.entries.len();
        while self.bytes > self.limit {
            // the last used come first
            let mut idle = self.entries.iter().rev().filter(|(_, entry)| may_leave(&entry.value));
            let Some(oldest) = idle.next().map(|(key, _)| key.clone()) else { break };
            self.bytes -= self.entries.pop(&oldest).map_or(0, |entry| entry.bytes);
        }
        before - self.entries.len()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Keys, values and bytes, in no order that matters.
    #[cfg(test)]
    pub(super) fn held(&self) -> impl Iterator<Item = (&K, &V, usize)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.value, entry.bytes))
    }
}
