//! Sources of a batch, each encoded once for all adapters that leave the encoder alone.

use super::decoding::count;
use super::source_cache::{Fresh, Key, Keys, SourceCache};
use super::{Error, Result, Shared};
use crate::delta::{Single, View};
use crate::t5::{Backbone, Encoded, Encoding, Memory, Remembering};
use std::collections::VecDeque;
use std::sync::Arc;

/// A request that takes part in a batch.
pub(super) struct Row<'a> {
    pub(super) ids: &'a [u32],
    pub(super) keys: &'a Keys,
    pub(super) adapter: Option<&'a Arc<Single>>,
}

/// What is to be computed for the sources of a batch, and how far it is.
pub(super) struct Plan {
    encodings: Vec<Part<Encoded>>,
    memories: Vec<Part<Memory>>,
    /// The encoding of each memory that is not known.
    encoding_of: Vec<usize>,
    /// The memory of each row.
    of: Vec<usize>,
    keeps: bool,
    /// The encodings of each pass that is still to come.
    passes: VecDeque<Vec<usize>>,
    under_way: Option<UnderWay>,
    /// The memories that are not known, once all is encoded.
    remembering: Option<(View, Remembering)>,
    fresh: Fresh,
}

/// One value to be had once.
struct Part<V> {
    key: Key,
    ids: Vec<u32>,
    /// The adapter that has a part in it.
    adapter: Option<Arc<Single>>,
    known: Option<V>,
    /// Whether it was known from the start.
    was_known: bool,
}

/// A pass of the encoder.
struct UnderWay {
    /// The encodings that it makes.
    of: Vec<usize>,
    view: View,
    encoding: Encoding,
}

/// What a plan has computed.
pub(super) struct Ready {
    /// What the decoder sees, each distinct source once.
    pub(super) memory: Memory,
    /// The source of each row.
    pub(super) of: Vec<usize>,
    pub(super) fresh: Fresh,
}

impl Plan {
    pub(super) fn new(cache: &mut SourceCache, rows: &[Row<'_>]) -> Self {
        let (mut encodings, mut memories): (Vec<Part<Encoded>>, Vec<Part<Memory>>) = (Vec::new(), Vec::new());
        let (mut encoding_of, mut of) = (Vec::new(), Vec::new());
        for row in rows {
            if let Some(at) = memories.iter().position(|memory| memory.key == row.keys.memory) {
                of.push(at);
                continue;
            }
            let known = cache.memory.get(&row.keys.memory).cloned();
            looked_up("keys_values", known.is_some());
            if known.is_none() {
                let same = |encoding: &Part<Encoded>| encoding.key == row.keys.encoded;
                encoding_of.push(encodings.iter().position(same).unwrap_or_else(|| {
                    let known = cache.encoded.get(&row.keys.encoded).cloned();
                    looked_up("encoder", known.is_some());
                    encodings.push(Part::new(row, &row.keys.encoded, known));
                    encodings.len() - 1
                }));
            }
            of.push(memories.len());
            memories.push(Part::new(row, &row.keys.memory, known));
        }
        // alike lengths share a pass, so that little is padded
        let mut missing: Vec<usize> = (0..encodings.len()).filter(|at| encodings[*at].known.is_none()).collect();
        missing.sort_by_key(|at| encodings[*at].ids.len());
        let lengths: Vec<usize> = missing.iter().map(|at| encodings[*at].ids.len()).collect();
        let passes = passes(&lengths).into_iter().map(|pass| missing[pass].to_vec()).collect();
        let (keeps, fresh) = (cache.is_on(), Fresh::default());
        Self { encodings, memories, encoding_of, of, keeps, passes, under_way: None, remembering: None, fresh }
    }

    /// Tokens of the sources of which anything is to be computed.
    pub(super) fn tokens(&self) -> usize {
        self.memories.iter().filter(|memory| !memory.was_known).map(|memory| memory.ids.len()).sum()
    }

    /// What each row shares with rows before it, or with earlier requests.
    pub(super) fn shared(&self) -> Vec<Shared> {
        let mut encodings = self.encoding_of.iter();
        let of_memory = |memory: &Part<Memory>| if memory.was_known { None } else { encodings.next() };
        let encoding_of: Vec<Option<&usize>> = self.memories.iter().map(of_memory).collect();
        let shared = |(row, at): (usize, &usize)| {
            let (before, memory) = (&self.of[..row], &self.memories[*at]);
            let keys_values = memory.was_known || before.contains(at);
            let is_there = |encoding: &usize| {
                self.encodings[*encoding].was_known || before.iter().any(|at| encoding_of[*at] == Some(encoding))
            };
            Shared { encoder: keys_values || encoding_of[*at].is_some_and(is_there), keys_values }
        };
        self.of.iter().enumerate().map(shared).collect()
    }

    /// Computes what is not known, for about as long as it takes to encode `budget` tokens of short sources; gives whether all is
    /// done.
    pub(super) fn advance(&mut self, backbone: &Backbone, budget: usize) -> Result<bool> {
        let model = &backbone.model;
        let mut left = model.encoding_work(budget);
        loop {
            let pass = match self.under_way.take() {
                Some(pass) => Some(pass),
                None => self.passes.pop_front().map(|of| self.begin(backbone, of)).transpose()?,
            };
            let Some(mut pass) = pass else { return Ok(self.remember(backbone, left)) };
            match model.advance_by(&mut pass.encoding, left, pass.view.deltas()) {
                Some(rest) => {
                    self.keep(backbone, pass);
                    left = rest;
                }
                None => {
                    self.under_way = Some(pass);
                    left = 0;
                }
            }
            if left == 0 {
                return Ok(false);
            }
        }
    }

    /// Goes on with keys and values that are not known, all being encoded; gives whether all is done.
    fn remember(&mut self, backbone: &Backbone, work: usize) -> bool {
        if self.encoding_of.is_empty() {
            return true;
        }
        let (view, on) = self.remembering.get_or_insert_with(|| {
            let missing = self.memories.iter().filter(|memory| memory.known.is_none());
            let adapters: Vec<_> = missing.map(|memory| memory.adapter.clone()).collect();
            let encoded = |at: &usize| self.encodings[*at].known.clone().expect("all is encoded");
            let rows: Vec<_> = self.encoding_of.iter().map(encoded).collect();
            (View::new(&adapters, backbone), Remembering::new(Encoded::join(&rows)))
        });
        backbone.model.remember_by(on, work, view.deltas()).is_some()
    }

    /// Forgets the rows that are not kept, and what would be computed for them alone.
    pub(super) fn retain(&mut self, kept: &[bool]) {
        retain(&mut self.of, kept);
        if self.remembering.is_some() {
            return; // what is left of it takes a turn or two
        }
        let (mut places, mut encoding_of) = (Vec::new(), std::mem::take(&mut self.encoding_of).into_iter());
        let mut first = 0;
        for (at, memory) in std::mem::take(&mut self.memories).into_iter().enumerate() {
            let encoding = if memory.known.is_none() { encoding_of.next() } else { None };
            places.push(first);
            if self.of.contains(&at) {
                first += 1;
                self.encoding_of.extend(encoding);
                self.memories.push(memory);
            }
        }
        self.of.iter_mut().for_each(|at| *at = places[*at]);
        let needed = |at: &usize| self.encoding_of.contains(at);
        self.passes.iter_mut().for_each(|pass| pass.retain(needed));
        self.passes.retain(|pass| !pass.is_empty());
        self.under_way = self.under_way.take().filter(|pass| pass.of.iter().any(needed));
    }

    fn begin(&self, backbone: &Backbone, of: Vec<usize>) -> Result<UnderWay> {
        let adapters: Vec<_> = of.iter().map(|at| self.encodings[*at].adapter.clone()).collect();
        count(&adapters);
        let sources: Vec<_> = of.iter().map(|at| self.encodings[*at].ids.as_slice()).collect();
        let batch = backbone.model.batch(&sources).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(UnderWay { of, view: View::new(&adapters, backbone), encoding: backbone.model.begin(&batch) })
    }

    fn keep(&mut self, backbone: &Backbone, UnderWay { of, view, encoding }: UnderWay) {
        let encoded = backbone.model.encoded(encoding, view.deltas());
        for (row, at) in of.into_iter().enumerate() {
            let (part, encoded) = (&mut self.encodings[at], encoded.row(row));
            if self.keeps {
                self.fresh.encoded.push((part.key.clone(), encoded.clone()));
            }
            part.known = Some(encoded);
        }
    }

    /// What the decoder sees, once all is done.
    pub(super) fn finish(mut self) -> Ready {
        let computed = self.remembering.map(|(_, on)| on.memory());
        let mut row = 0;
        let mut part = |memory: &Part<Memory>| {
            if let Some(known) = &memory.known {
                return known.clone();
            }
            let made = computed.as_ref().expect("all is computed").select(&[row]);
            row += 1;
            if self.keeps {
                self.fresh.memory.push((memory.key.clone(), made.clone()));
            }
            made
        };
        let memory = Memory::join(&self.memories.iter().map(&mut part).collect::<Vec<_>>());
        Ready { memory, of: self.of, fresh: self.fresh }
    }
}

impl<V> Part<V> {
    fn new(row: &Row<'_>, key: &Key, known: Option<V>) -> Self {
        let adapter = row.adapter.filter(|_| key.generation.is_some()).cloned();
        Self { key: key.clone(), ids: row.ids.to_vec(), adapter, was_known: known.is_some(), known }
    }
}

/// Keeps the values whose flag is set.
pub(super) fn retain<V>(values: &mut Vec<V>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next() == Some(&true));
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

/// Tokens beyond which a pass takes no further source: it would be no faster, and goes on for all of its sources while one is wanted.
const PASS_MOST: usize = 1024;

/// Cuts sources of ascending lengths into encoder passes that are padded by at most a quarter, but for small ones.
fn passes(lengths: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut passes = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (at, length) in lengths.iter().enumerate() {
        let padded = length * (at + 1 - start);
        if (tokens >= PASS_TOKENS && 4 * padded > 5 * (tokens + length)) || (at > start && padded > PASS_MOST) {
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

    #[test]
    fn passes_hold_alike_lengths() {
        let check = |lengths: &[usize], wanted: &[usize]| {
            let found = passes(lengths);
            assert!(found.iter().cloned().flatten().eq(0..lengths.len()), "{lengths:?}");
            assert_eq!(found.iter().map(ExactSizeIterator::len).collect::<Vec<_>>(), wanted, "{lengths:?}");
        };
        check(&[], &[]);
        check(&[1, 2, 300], &[3]);
        check(&[1, 2, 500], &[2, 1]);
        check(&[64; 16], &[16]);
        check(&[100, 100, 100, 110, 400, 500], &[4, 2]);
        check(&[64; 40], &[16, 16, 8]);
        check(&[900, 4000, 4000], &[1, 1, 1]);
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
            let mut plan = Plan::new(&mut cache, &all);
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
            // 1 token is less than any source has, so it goes block by block through the encoder's two, then to the decoder's keys
            let steps = std::iter::from_fn(|| (!plan.advance(&backbone, 1).unwrap()).then_some(())).count();
            let blocks = 2 * usize::from(encodings > 0);
            assert!((blocks..=blocks + 1).contains(&steps), "{steps}");
            let ready = plan.finish();
            for (row, at) in rows.iter().zip(&ready.of) {
                assert_eq!(ready.memory.select(&[*at]).bytes() % ids[row.1].len(), 0);
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

    /// What only those wanted who left is not computed, and the others get what they get alone.
    #[test]
    fn who_left_costs_nothing_more() {
        let backbone = backbone();
        let files = Files::default();
        let list = &structures(&backbone)[0]; // touches the encoder
        let values = values(&backbone, list, 1);
        let single = single(&backbone, list, &values);
        let adapter = files.adapter("generation-0", &backbone, list, values);
        let ids = [source(300, 1), source(900, 2), source(6, 3)];
        let rows = [(0, false), (1, false), (1, true), (2, false), (0, false)];
        let keys = rows.map(|(at, adapts)| Keys::new(&ids[at], adapts.then_some(&*adapter)));
        let row = |at: usize| Row { ids: &ids[rows[at].0], keys: &keys[at], adapter: rows[at].1.then_some(&single) };
        let ready = |mut plan: Plan| {
            while !plan.advance(&backbone, 50).unwrap() {}
            plan.finish()
        };
        let check = |begun: usize, kept: [bool; 5], passes: usize, shared: &[bool]| {
            let mut plan = Plan::new(&mut SourceCache::new(0), &[0, 1, 2, 3, 4].map(row));
            (0..begun).for_each(|_| assert!(!plan.advance(&backbone, 50).unwrap()));
            plan.retain(&kept);
            let told: Vec<_> = plan.shared().iter().map(|shared| shared.encoder && shared.keys_values).collect();
            assert_eq!(told, shared, "{kept:?}");
            assert_eq!(plan.passes.len() + usize::from(plan.under_way.is_some()), passes, "{kept:?}");
            let found = ready(plan);
            let wanted = (0..5).filter(|at| kept[*at]);
            assert_eq!(found.of.len(), wanted.clone().count());
            for (place, at) in found.of.iter().zip(wanted) {
                let alone = ready(Plan::new(&mut SourceCache::new(0), &[row(at)]));
                let (found, alone) = (found.memory.select(&[*place]), alone.memory.select(&[0]));
                assert!(found.furthest(&alone) < 1e-4, "row {at}");
            }
        };
        // passes: [6, 300 tokens], [900], [900]
        check(0, [true; 5], 3, &[false, false, false, false, true]);
        check(0, [false, true, true, false, false], 2, &[false; 2]);
        check(0, [false, false, true, true, false], 2, &[false; 2]);
        check(1, [true, false, false, false, false], 1, &[false]);
        check(1, [false, false, true, false, false], 1, &[false]);
        check(1, [false, true, false, true, true], 2, &[false; 3]); // the one it would have shared with left
    }
}
