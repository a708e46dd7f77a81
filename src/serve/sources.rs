//! Sources of a batch, each encoded once for all adapters that leave the encoder alone, and kept for requests to come.

use super::decoding::count;
use super::view::View;
use super::{Adapter, Error, Result, Shared};
use crate::delta::Single;
use crate::t5::{Backbone, Encoded, Memory};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What decides how a source comes out: its ids, and the generation of the adapter that has a part in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Digest of the ids.
    ids: blake3::Hash,
    /// None for the bare backbone, and for adapters that leave it alone.
    generation: Option<String>,
}

/// The keys of a request's source.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// Of the encoder's output.
    pub(super) encoded: Key,
    /// Of cross-attention's keys and values.
    memory: Key,
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
struct Recent<V> {
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

    fn get(&mut self, key: &Key) -> Option<V> {
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
    encoded: Recent<Encoded>,
    memory: Recent<Memory>,
}

impl SourceCache {
    /// An empty one for so many bytes; 0 keeps nothing.
    pub(super) fn new(bytes: usize) -> Self {
        Self { encoded: Recent::new(bytes - bytes / 2), memory: Recent::new(bytes / 2) }
    }

    fn is_on(&self) -> bool {
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

/// A request that takes part in a batch.
pub(super) struct Row<'a> {
    pub(super) ids: &'a [u32],
    pub(super) keys: &'a Keys,
    pub(super) adapter: Option<&'a Arc<Single>>,
}

/// What is to be computed for the sources of a batch.
pub(super) struct Plan<'a> {
    encodings: Vec<Part<'a, Encoded>>,
    memories: Vec<Part<'a, Memory>>,
    /// The encoding of each memory that is not known.
    encoding_of: Vec<usize>,
    /// The memory of each row.
    of: Vec<usize>,
    shared: Vec<Shared>,
    keeps: bool,
}

/// One value to be had once.
struct Part<'a, V> {
    key: &'a Key,
    ids: &'a [u32],
    /// The adapter that has a part in it.
    adapter: Option<Arc<Single>>,
    known: Option<V>,
}

/// What a plan has computed.
pub(super) struct Ready {
    /// What the decoder sees, each distinct source once.
    pub(super) memory: Memory,
    /// The source of each row.
    pub(super) of: Vec<usize>,
    pub(super) fresh: Fresh,
}

/// What is worth keeping.
#[derive(Default)]
pub(super) struct Fresh {
    encoded: Vec<(Key, Encoded)>,
    memory: Vec<(Key, Memory)>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(cache: &mut SourceCache, rows: &[Row<'a>]) -> Self {
        let (mut encodings, mut memories): (Vec<Part<Encoded>>, Vec<Part<Memory>>) = (Vec::new(), Vec::new());
        let (mut encoding_of, mut of, mut shared) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let part = |key: &'a Key| (key, row.ids, row.adapter.filter(|_| key.generation.is_some()).cloned());
            if let Some(at) = memories.iter().position(|memory| *memory.key == row.keys.memory) {
                of.push(at);
                shared.push(Shared { encoder: true, keys_values: true });
                continue;
            }
            let known = cache.memory.get(&row.keys.memory);
            looked_up("keys_values", known.is_some());
            let mut sharing = Shared { encoder: known.is_some(), keys_values: known.is_some() };
            if known.is_none() {
                let same = |encoding: &Part<Encoded>| *encoding.key == row.keys.encoded;
                let at = encodings.iter().position(same).unwrap_or_else(|| {
                    let (key, ids, adapter) = part(&row.keys.encoded);
                    let known = cache.encoded.get(key);
                    looked_up("encoder", known.is_some());
                    sharing.encoder = known.is_some();
                    encodings.push(Part { key, ids, adapter, known });
                    encodings.len() - 1
                });
                sharing.encoder |= at + 1 < encodings.len();
                encoding_of.push(at);
            }
            let (key, ids, adapter) = part(&row.keys.memory);
            of.push(memories.len());
            memories.push(Part { key, ids, adapter, known });
            shared.push(sharing);
        }
        Self { encodings, memories, encoding_of, of, shared, keeps: cache.is_on() }
    }

    /// What each row shares with others.
    pub(super) fn shared(&self) -> &[Shared] {
        &self.shared
    }

    /// Encodes what is not known and computes the keys and values that are missing.
    pub(super) fn run(self, backbone: &Backbone) -> Result<Ready> {
        let mut fresh = Fresh::default();
        let encoded = self.encode(backbone, &mut fresh)?;
        let missing: Vec<_> = self.memories.iter().filter(|memory| memory.known.is_none()).collect();
        let computed = (!missing.is_empty()).then(|| {
            let adapters: Vec<_> = missing.iter().map(|memory| memory.adapter.clone()).collect();
            let view = View::new(&adapters, backbone);
            let rows: Vec<_> = self.encoding_of.iter().map(|at| encoded[*at].clone()).collect();
            backbone.model.memory(&Encoded::join(&rows), view.deltas())
        });
        if let Some(computed) = computed.as_ref().filter(|_| self.keeps) {
            let rows = missing.iter().enumerate().map(|(row, memory)| (memory.key.clone(), computed.row(row)));
            fresh.memory.extend(rows);
        }
        let memory = match computed {
            Some(computed) if missing.len() == self.memories.len() => computed,
            computed => {
                let mut row = 0..;
                let part = |memory: &Part<Memory>| match (&memory.known, &computed) {
                    (Some(known), _) => Some(known.clone()),
                    (None, Some(computed)) => row.next().map(|row| computed.row(row)),
                    (None, None) => None,
                };
                Memory::join(&self.memories.iter().filter_map(part).collect::<Vec<_>>())
            }
        };
        Ok(Ready { memory, of: self.of, fresh })
    }

    /// The encoder's output of every source, alone; alike lengths share a pass, so that little is padded.
    fn encode(&self, backbone: &Backbone, fresh: &mut Fresh) -> Result<Vec<Encoded>> {
        let mut found: Vec<Option<Encoded>> = self.encodings.iter().map(|part| part.known.clone()).collect();
        let mut missing: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_none()).collect();
        missing.sort_by_key(|at| self.encodings[*at].ids.len());
        let lengths: Vec<usize> = missing.iter().map(|at| self.encodings[*at].ids.len()).collect();
        for pass in passes(&lengths) {
            let of = &missing[pass];
            let adapters: Vec<_> = of.iter().map(|at| self.encodings[*at].adapter.clone()).collect();
            count(&adapters);
            let sources: Vec<_> = of.iter().map(|at| self.encodings[*at].ids).collect();
            let batch = backbone.model.batch(&sources).map_err(|error| Error::Internal(error.to_string()))?;
            let encoded = backbone.model.encode(&batch, View::new(&adapters, backbone).deltas());
            for (row, at) in of.iter().enumerate() {
                let encoded = encoded.row(row);
                if self.keeps {
                    fresh.encoded.push((self.encodings[*at].key.clone(), encoded.clone()));
                }
                found[*at] = Some(encoded);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}

/// The sources that are named, in their order, and the place of each name among them.
pub(super) fn seen(memory: Memory, of: &[usize]) -> (Memory, Vec<usize>) {
    let mut named = of.to_vec();
    named.sort_unstable();
    named.dedup();
    let places = of.iter().map(|source| named.partition_point(|other| other < source)).collect();
    let memory = if named.len() == memory.rows() { memory } else { memory.select(&named) };
    (memory, places)
}

/// Tokens that are worth a pass of their own.
const PASS_TOKENS: usize = 256;

/// Cuts sources of ascending lengths into encoder passes that are padded by at most a quarter, but for small ones.
fn passes(lengths: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut passes = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (at, length) in lengths.iter().enumerate() {
        let padded = length * (at + 1 - start);
        if tokens >= PASS_TOKENS && 4 * padded > 5 * (tokens + length) {
            passes.push(start..at);
            (start, tokens) = (at, 0);
        }
        tokens += length;
    }
    passes.extend((start < lengths.len()).then_some(start..lengths.len()));
    passes
}

/// Counts one look-up of the cache.
fn looked_up(part: &'static str, known: bool) {
    metrics::counter!("s3delta_encoder_cache_lookups_total", "part" => part).increment(1);
    metrics::counter!("s3delta_encoder_cache_hits_total", "part" => part).increment(u64::from(known));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Files, backbone, single, source, structures, values};
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

    #[test]
    fn passes_hold_alike_lengths() {
        let check = |lengths: &[usize], wanted: &[std::ops::Range<usize>]| {
            assert_eq!(passes(lengths), wanted, "{lengths:?}");
        };
        check(&[], &[]);
        check(&[1, 2, 500], &[0..3]);
        check(&[64; 16], &[0..16]);
        check(&[100, 100, 100, 110, 400, 500], &[0..4, 4..6]);
    }

    /// Adapters that touch the decoder only, and the bare backbone, share what they leave alone; the others do not.
    #[test]
    fn a_source_is_shared_by_those_who_leave_it_alone() {
        let backbone = backbone();
        let files = Files::default();
        let lists = structures(&backbone);
        let adapters: Vec<_> = lists
            .iter()
            .enumerate()
            .map(|(at, list)| {
                let values = values(&backbone, list, at as u64);
                let single = single(&backbone, list, &values);
                (files.adapter(&format!("generation-{at}"), &backbone, list, values), single)
            })
            .collect();
        let ids = [source(6, 1), source(9, 2)];
        // adapter (6 is none) and source of each row; what is computed, and what each row shares
        let mut cache = SourceCache::new(1 << 20);
        let mut check = |rows: &[(usize, usize)], encodings: usize, memories: usize, shared: &str| {
            let keys: Vec<_> = rows
                .iter()
                .map(|(adapter, source)| {
                    Keys::new(&ids[*source], adapters.get(*adapter).map(|(adapter, _)| &**adapter))
                })
                .collect();
            let all: Vec<_> = rows
                .iter()
                .zip(&keys)
                .map(|((adapter, source), keys)| Row {
                    ids: &ids[*source],
                    keys,
                    adapter: adapters.get(*adapter).map(|(_, single)| single),
                })
                .collect();
            let plan = Plan::new(&mut cache, &all);
            let found: String = plan
                .shared()
                .iter()
                .map(|shared| match (shared.encoder, shared.keys_values) {
                    (true, true) => 'b',
                    (true, false) => 'e',
                    (false, false) => '-',
                    (false, true) => panic!("keys and values follow from the encoder's output"),
                })
                .collect();
            let missing = |known: bool| usize::from(!known);
            let to_encode: usize = plan.encodings.iter().map(|part| missing(part.known.is_some())).sum();
            let to_project: usize = plan.memories.iter().map(|part| missing(part.known.is_some())).sum();
            assert_eq!((to_encode, to_project, found.as_str()), (encodings, memories, shared), "{rows:?}");
            let ready = plan.run(&backbone).unwrap();
            for (row, at) in rows.iter().zip(&ready.of) {
                assert_eq!(ready.memory.row(*at).bytes() % ids[row.1].len(), 0);
            }
            cache.keep(ready.fresh);
        };
        // 6 leaves all of it alone, 7 touches cross-attention's values
        check(&[(8, 0), (6, 0), (6, 0)], 1, 1, "-bb");
        check(&[(7, 0), (7, 0), (8, 0)], 0, 1, "ebb");
        check(&[(0, 0), (2, 0), (0, 0), (8, 1)], 3, 3, "--b-");
        check(&[(0, 0), (7, 0), (8, 1)], 0, 0, "bbb");
        check(&[(7, 1), (6, 1)], 0, 1, "eb");
    }
}
