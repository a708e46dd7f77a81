//! Caches of a decoding batch: self-attention keys and values that grow by a token a step, cross-attention ones that do
//! not. Every row has a position of its own, so that rows can join late and leave early. Cross-attention's part is held once
//! a source, whatever the number of its rows: beams and samples share it. Rows that stay are not copied when others join or
//! leave ([`slots`]).

use super::attention::KeysValues;
use super::batch::{MASKED, mask_of};
use super::encoded::Memory;
use super::sharing::Sharing;
use super::slots;
use burn::tensor::{Device, Tensor, TensorData};

/// The width of cross-attention's part grows by so many places at once.
const STEP: usize = 32;

/// The state of a batch while it is decoded.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(super) layers: Vec<LayerCache>,
    /// Added to cross-attention scores, `[sources, 1, 1, source]`; `None` without padding.
    pub(super) cross_mask: Option<Tensor<4>>,
    /// Tokens of each source.
    source_lengths: Vec<usize>,
    /// Places of each source.
    source_width: usize,
    /// The source of each row.
    sources: Vec<usize>,
    /// How rows share sources; `None` where each has its own, in order.
    pub(super) sharing: Option<Sharing>,
    /// Tokens held per row, which is the position of the next one.
    lengths: Vec<usize>,
    capacity: usize,
    device: Device,
}

/// One decoder layer's part of a [`Cache`]. Each is taken out while it is written, so that the write happens in place.
#[derive(Debug, Clone)]
pub(super) struct LayerCache {
    /// `[slots, heads, capacity, d_kv]`, of which the rows come first.
    own: Option<KeysValues>,
    /// `[slots, heads, source, d_kv]`, of which the sources come first.
    cross: Option<KeysValues>,
}

impl Cache {
    /// An empty cache for rows of at most `capacity` tokens; `of` names the source of each, every source at least once.
    pub(super) fn new(memory: Memory, of: &[usize], capacity: usize) -> Self {
        let (device, rows) = (memory.device(), of.len());
        let source_width = memory.layers[0].keys.dims()[2];
        let empty = |cross: KeysValues| {
            let [_, heads, _, d_kv] = cross.keys.dims();
            let zeros = || Tensor::zeros([rows, heads, capacity, d_kv], &device);
            LayerCache { own: Some(KeysValues { keys: zeros(), values: zeros() }), cross: Some(cross) }
        };
        let layers = memory.layers.into_iter().map(empty).collect();
        let (source_lengths, lengths, sources) = (memory.lengths, vec![0; rows], Vec::new());
        let (cross_mask, sharing) = (None, None);
        let mut cache =
            Self { layers, cross_mask, source_lengths, source_width, sources, sharing, lengths, capacity, device };
        cache.see(of.to_vec());
        cache
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Number of sources.
    pub(super) fn sources(&self) -> usize {
        self.source_lengths.len()
    }

    /// Tokens that each row holds.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Tokens that a row can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Keeps these rows, in this order; a row may be named more than once, and then shares its source (beams, samples). Rows
    /// that stay at their place cost nothing.
    pub fn select(&mut self, rows: &[usize]) {
        if rows.iter().copied().eq(0..self.rows()) {
            return;
        }
        // of rows that leave too: nothing that they wrote, NaN maybe, is to stand behind the end of one that takes their place
        let held = self.lengths.iter().copied().max().unwrap_or(0);
        self.lengths = rows.iter().map(|row| self.lengths[*row]).collect();
        // in the order in which rows name them, so that of rows with a source each row i has source i
        let (mut kept, mut places) = (Vec::new(), Vec::with_capacity(rows.len()));
        for source in rows.iter().map(|row| self.sources[*row]) {
            places.push(kept.iter().position(|other| *other == source).unwrap_or(kept.len()));
            if places.last() == Some(&kept.len()) {
                kept.push(source);
            }
        }
        for layer in &mut self.layers {
            change(&mut layer.own, |tensor| slots::keep(tensor, rows, held));
            change(&mut layer.cross, |tensor| slots::keep(tensor, &kept, self.source_width));
        }
        self.source_lengths = kept.iter().map(|source| self.source_lengths[*source]).collect();
        self.see(places);
    }

    /// Notes the source of each row, after their lengths.
    fn see(&mut self, sources: Vec<usize>) {
        self.cross_mask = mask_of(&self.source_lengths, self.source_width, &self.device);
        if sources != self.sources {
            self.sharing = Sharing::new(&sources, &self.device);
            self.sources = sources;
        }
    }

    /// Adds the rows of `other` behind these: requests that join a running batch.
    pub fn append(&mut self, other: Cache) {
        let (rows, before) = (self.rows(), self.source_lengths.len());
        let capacity = self.capacity.max(other.capacity);
        if other.source_width > self.source_width {
            self.source_width = other.source_width.next_multiple_of(STEP);
        }
        for (layer, new) in self.layers.iter_mut().zip(other.layers) {
            let first = |held: Option<KeysValues>, rows: usize| held.map(|held| held.first(rows));
            let own = first(new.own, other.lengths.len());
            let cross = first(new.cross, other.source_lengths.len());
            join(&mut layer.own, rows, own, capacity);
            join(&mut layer.cross, before, cross, self.source_width);
        }
        let sources = self.sources.iter().copied().chain(other.sources.iter().map(|source| before + source)).collect();
        self.source_lengths.extend(other.source_lengths);
        self.lengths.extend(other.lengths);
        self.capacity = capacity;
        self.see(sources);
    }

    /// Makes room for `capacity` tokens a row, so that a batch may start small and grow as rows turn out long.
    pub fn reserve(&mut self, capacity: usize) {
        if capacity <= self.capacity {
            return;
        }
        for layer in &mut self.layers {
            change(&mut layer.own, |tensor| slots::widen(tensor, 2, capacity));
        }
        self.capacity = capacity;
    }

    /// What to add to self-attention scores of the coming step: `[rows, 1, 1, keys]`, `None` where all rows are level.
    pub(super) fn step_mask(&self, keys: usize, device: &Device) -> Option<Tensor<4>> {
        if self.lengths.iter().all(|length| length + 1 == keys) {
            return None;
        }
        let see = |length: &usize| {
            let length = *length;
            (0..keys).map(move |key| if key <= length { 0.0 } else { MASKED })
        };
        let mask: Vec<f32> = self.lengths.iter().flat_map(see).collect();
        Some(Tensor::from_data(TensorData::new(mask, [self.rows(), 1, 1, keys]), device))
    }

    /// Counts the token that the step has written to every row.
    pub(super) fn advance(&mut self) {
        self.lengths.iter_mut().for_each(|length| *length += 1);
    }
}

/// Changes keys and values in place.
fn change(held: &mut Option<KeysValues>, change: impl Fn(Tensor<4>) -> Tensor<4>) {
    *held = held.take().map(|KeysValues { keys, values }| KeysValues { keys: change(keys), values: change(values) });
}

/// Puts rows behind the first `rows`, `width` places wide.
fn join(held: &mut Option<KeysValues>, rows: usize, new: Option<KeysValues>, width: usize) {
    *held = held.take().zip(new).map(|(held, new)| KeysValues {
        keys: slots::join(held.keys, rows, new.keys, width),
        values: slots::join(held.values, rows, new.values, width),
    });
}

impl LayerCache {
    /// Cross-attention's keys and values of the first `sources`.
    pub(super) fn cross(&self, sources: usize) -> KeysValues {
        self.cross.clone().expect("the cache is put back after every change").first(sources)
    }

    /// Writes the step's keys and values `[rows, heads, 1, d_kv]` at each row's position and gives the first `keys` of
    /// all rows.
    pub(super) fn push(&mut self, new: KeysValues, positions: &[usize], keys: usize) -> KeysValues {
        let own = self.own.take().expect("the cache is put back after every step");
        let own =
            KeysValues { keys: write(own.keys, new.keys, positions), values: write(own.values, new.values, positions) };
        let KeysValues { keys: all, values } = own.clone().first(positions.len());
        self.own = Some(own);
        KeysValues { keys: all.narrow(2, 0, keys), values: values.narrow(2, 0, keys) }
    }
}

/// Writes `new [rows, heads, 1, d]` into `cache [slots, heads, capacity, d]` at each row's position.
fn write(cache: Tensor<4>, new: Tensor<4>, positions: &[usize]) -> Tensor<4> {
    let ([_, heads, _, d], rows) = (cache.dims(), positions.len());
    if positions.iter().all(|position| *position == positions[0]) {
        let at = positions[0];
        return cache.slice_assign([0..rows, 0..heads, at..at + 1, 0..d], new);
    }
    positions.iter().enumerate().fold(cache, |cache, (row, at)| {
        let value = new.clone().narrow(0, row, 1);
        cache.slice_assign([row..row + 1, 0..heads, *at..*at + 1, 0..d], value)
    })
}
