//! Caches of a decoding batch: self-attention keys and values that grow by a token a step, cross-attention ones that do
//! not. Every row has a position of its own, so that rows can join late and leave early.

use super::attention::KeysValues;
use super::batch::MASKED;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// The state of a batch while it is decoded.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(super) layers: Vec<LayerCache>,
    /// Added to cross-attention scores, `[rows, 1, 1, source]`.
    pub(super) cross_mask: Tensor<4>,
    /// Tokens held per row, which is the position of the next one.
    lengths: Vec<usize>,
    capacity: usize,
}

/// One decoder layer's part of a [`Cache`].
#[derive(Debug, Clone)]
pub(super) struct LayerCache {
    /// `[rows, heads, capacity, d_kv]`; taken out while it is written, so that the write happens in place.
    own: Option<KeysValues>,
    /// `[rows, heads, source, d_kv]`.
    pub(super) cross: KeysValues,
}

impl Cache {
    /// An empty cache for `rows` rows of at most `capacity` tokens over these cross keys and values.
    pub(super) fn new(cross: Vec<KeysValues>, cross_mask: Tensor<4>, capacity: usize) -> Self {
        let device = cross_mask.device();
        let empty = |cross: KeysValues| {
            let [rows, heads, _, d_kv] = cross.keys.dims();
            let zeros = || Tensor::zeros([rows, heads, capacity, d_kv], &device);
            LayerCache { own: Some(KeysValues { keys: zeros(), values: zeros() }), cross }
        };
        let rows = cross_mask.dims()[0];
        Self { layers: cross.into_iter().map(empty).collect(), cross_mask, lengths: vec![0; rows], capacity }
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

    /// Keeps these rows, in this order; a row may be named more than once (beams).
    pub fn select(&mut self, rows: &[usize]) {
        if rows.iter().copied().eq(0..self.rows()) {
            return;
        }
        let device = self.cross_mask.device();
        let ids: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows.len()]), &device);
        for layer in &mut self.layers {
            layer.own = layer.own.take().map(|own| own.select(&ids));
            layer.cross = layer.cross.select(&ids);
        }
        self.cross_mask = self.cross_mask.clone().select(0, ids.clone());
        self.lengths = rows.iter().map(|row| self.lengths[*row]).collect();
    }

    /// Adds the rows of `other` behind these: requests that join a running batch.
    pub fn append(&mut self, other: Cache) {
        let capacity = self.capacity.max(other.capacity);
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
fn widen(tensor: Tensor<4>, dim: usize, len: usize, value: f32) -> Tensor<4> {
    let mut shape = tensor.dims();
    if shape[dim] == len {
        return tensor;
    }
    shape[dim] = len - shape[dim];
    let device = tensor.device();
    Tensor::cat(vec![tensor, Tensor::full(shape, value, &device)], dim)
}
