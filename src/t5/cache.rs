//! Caches of a decoding batch: self-attention keys and values that grow by a token a step, cross-attention ones that do
//! not. Every row has a position of its own, so that rows can join late and leave early. Cross-attention's part is held once
//! a source, whatever the number of its rows: beams and samples share it.

use super::attention::KeysValues;
use super::batch::MASKED;
use super::encoded::Memory;
use super::sharing::Sharing;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// The state of a batch while it is decoded.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(super) layers: Vec<LayerCache>,
    /// Added to cross-attention scores, `[sources, 1, 1, source]`.
    pub(super) cross_mask: Tensor<4>,
    /// The source of each row.
    sources: Vec<usize>,
    /// How rows share sources; `None` where each has its own, in order.
    pub(super) sharing: Option<Sharing>,
    /// Tokens held per row, which is the position of the next one.
    lengths: Vec<usize>,
    capacity: usize,
}

/// One decoder layer's part of a [`Cache`].
#[derive(Debug, Clone)]
pub(super) struct LayerCache {
    /// `[rows, heads, capacity, d_kv]`; taken out while it is written, so that the write happens in place.
    own: Option<KeysValues>,
    /// `[sources, heads, source, d_kv]`.
    pub(super) cross: KeysValues,
}

impl Cache {
    /// An empty cache for rows of at most `capacity` tokens; `of` names the source of each, every source at least once.
    pub(super) fn new(memory: Memory, of: &[usize], capacity: usize) -> Self {
        let (device, sources, rows) = (memory.device(), memory.rows(), of.len());
        let source = memory.layers[0].keys.dims()[2];
        let cross_mask = memory.mask().unwrap_or_else(|| Tensor::zeros([sources, 1, 1, source], &device));
        let empty = |cross: KeysValues| {
            let [_, heads, _, d_kv] = cross.keys.dims();
            let zeros = || Tensor::zeros([rows, heads, capacity, d_kv], &device);
            LayerCache { own: Some(KeysValues { keys: zeros(), values: zeros() }), cross }
        };
        let layers = memory.layers.into_iter().map(empty).collect();
        let (lengths, all) = (vec![0; rows], (0..sources).collect());
        let mut cache = Self { layers, cross_mask, sources: all, sharing: None, lengths, capacity };
        cache.share(of.to_vec(), &device);
        cache
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Tokens that each row holds.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Tokens that a row can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Keeps these rows, in this order; a row may be named more than once, and then shares its source (beams, samples).
    pub fn select(&mut self, rows: &[usize]) {
        if rows.iter().copied().eq(0..self.rows()) {
            return;
        }
        let device = self.cross_mask.device();
        self.select_own(rows, &device);
        self.lengths = rows.iter().map(|row| self.lengths[*row]).collect();
        let of: Vec<usize> = rows.iter().map(|row| self.sources[*row]).collect();
        let mut kept = of.clone();
        kept.sort_unstable();
        kept.dedup();
        if kept.len() < self.cross_mask.dims()[0] {
            let ids = ids(&kept, &device);
            for layer in &mut self.layers {
                layer.cross = layer.cross.select(&ids);
            }
            self.cross_mask = self.cross_mask.clone().select(0, ids);
        }
        let place = |source: &usize| kept.partition_point(|other| other < source);
        self.share(of.iter().map(place).collect(), &device);
    }

    /// Reorders self-attention's keys and values. Where the number of rows stays, as between the steps of a beam search, only
    /// rows that move are copied, and of them only what they hold.
    fn select_own(&mut self, rows: &[usize], device: &Device) {
        if rows.len() != self.rows() {
            let ids = ids(rows, device);
            for layer in &mut self.layers {
                layer.own = layer.own.take().map(|own| own.select(&ids));
            }
            return;
        }
        let moved: Vec<usize> = (0..rows.len()).filter(|row| rows[*row] != *row).collect();
        let parents: Vec<usize> = moved.iter().map(|row| rows[*row]).collect();
        let held = parents.iter().map(|row| self.lengths[*row]).max().unwrap_or(0);
        let ids = ids(&parents, device);
        let replace = |cache: Tensor<4>| {
            let [_, heads, _, d] = cache.dims();
            let new = cache.clone().narrow(2, 0, held).select(0, ids.clone()); // [moved, heads, held, d]
            let mut cache = cache;
            let mut first = 0;
            for run in moved.chunk_by(|a, b| a + 1 == *b) {
                let value = new.clone().narrow(0, first, run.len());
                cache = cache.slice_assign([run[0]..run[0] + run.len(), 0..heads, 0..held, 0..d], value);
                first += run.len();
            }
            cache
        };
        for layer in &mut self.layers {
            layer.own = layer.own.take().map(|own| {
                let KeysValues { keys, values } = own;
                KeysValues { keys: replace(keys), values: replace(values) }
            });
        }
    }

    /// Notes the source of each row.
    fn share(&mut self, sources: Vec<usize>, device: &Device) {
        if sources != self.sources {
            self.sharing = Sharing::new(&sources, device);
            self.sources = sources;
        }
    }

    /// Adds the rows of `other` behind these: requests that join a running batch.
    pub fn append(&mut self, other: Cache) {
        let capacity = self.capacity.max(other.capacity);
        let before = self.cross_mask.dims()[0];
        let source = self.cross_mask.dims()[3].max(other.cross_mask.dims()[3]);
        let join =
            |a: Tensor<4>, b: Tensor<4>, len: usize| Tensor::cat(vec![widen(a, 2, len, 0.0), widen(b, 2, len, 0.0)], 0);
        for (layer, new) in self.layers.iter_mut().zip(other.layers) {
            let own = layer.own.take().zip(new.own).map(|(a, b)| KeysValues {
                keys: join(a.keys, b.keys, capacity),
                values: join(a.values, b.values, capacity),
            });
            layer.own = own;
            let cross = layer.cross.clone();
            layer.cross = KeysValues {
                keys: join(cross.keys, new.cross.keys, source),
                values: join(cross.values, new.cross.values, source),
            };
        }
        let masks = [self.cross_mask.clone(), other.cross_mask].map(|mask| widen(mask, 3, source, MASKED));
        self.cross_mask = Tensor::cat(masks.to_vec(), 0);
        let sources = self.sources.iter().copied().chain(other.sources.iter().map(|source| before + source));
        self.share(sources.collect(), &self.cross_mask.device());
        self.lengths.extend(other.lengths);
        self.capacity = capacity;
    }

    /// Makes room for `capacity` tokens a row, so that a batch may start small and grow as rows turn out long.
    pub fn reserve(&mut self, capacity: usize) {
        if capacity <= self.capacity {
            return;
        }
        for layer in &mut self.layers {
            layer.own = layer.own.take().map(|own| KeysValues {
                keys: widen(own.keys, 2, capacity, 0.0),
                values: widen(own.values, 2, capacity, 0.0),
            });
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

impl LayerCache {
    /// Writes the step's keys and values `[rows, heads, 1, d_kv]` at each row's position and gives the first `keys` of
    /// all rows.
    pub(super) fn push(&mut self, new: KeysValues, positions: &[usize], keys: usize) -> KeysValues {
        let own = self.own.take().expect("the cache is put back after every step");
        let own =
            KeysValues { keys: write(own.keys, new.keys, positions), values: write(own.values, new.values, positions) };
        let seen =
            KeysValues { keys: own.keys.clone().narrow(2, 0, keys), values: own.values.clone().narrow(2, 0, keys) };
        self.own = Some(own);
        seen
    }
}

/// Places as a tensor.
pub(super) fn ids(places: &[usize], device: &Device) -> Tensor<1, Int> {
    let ids: Vec<i32> = places.iter().map(|place| *place as i32).collect();
    Tensor::from_data(TensorData::new(ids, [places.len()]), device)
}

/// Writes `new [rows, heads, 1, d]` into `cache [rows, heads, capacity, d]` at each row's position.
fn write(cache: Tensor<4>, new: Tensor<4>, positions: &[usize]) -> Tensor<4> {
    let [rows, heads, _, d] = cache.dims();
    if positions.iter().all(|position| *position == positions[0]) {
        let at = positions[0];
        return cache.slice_assign([0..rows, 0..heads, at..at + 1, 0..d], new);
    }
    positions.iter().enumerate().fold(cache, |cache, (row, at)| {
        let value = new.clone().narrow(0, row, 1);
        cache.slice_assign([row..row + 1, 0..heads, *at..*at + 1, 0..d], value)
    })
}

/// Pads dimension `dim` to `len` with `value`.
pub(super) fn widen<const D: usize>(tensor: Tensor<D>, dim: usize, len: usize, value: f32) -> Tensor<D> {
    let mut shape = tensor.dims();
    if shape[dim] == len {
        return tensor;
    }
    shape[dim] = len - shape[dim];
    let device = tensor.device();
    Tensor::cat(vec![tensor, Tensor::full(shape, value, &device)], dim)
}
