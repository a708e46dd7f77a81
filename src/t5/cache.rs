//! Caches of a decoding batch: self-attention keys and values that grow by a token a step, cross-attention ones that do
//! not. Every row has a position of its own, so that rows can join late and leave early. Cross-attention's part is held once
//! a source, whatever the number of its rows: beams and samples share it ([`Cross`]). Rows that stay are not copied when others
//! join or leave ([`slots`]).

use super::batch::MASKED;
use super::cross::Cross;
use super::encoded::Memory;
use super::keys_values::KeysValues;
use super::sharing::Sharing;
use super::slots;
use burn::tensor::{Device, Tensor, TensorData};

/// The state of a batch while it is decoded.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(super) layers: Vec<LayerCache>,
    pub(super) cross: Cross,
    /// The source of each row.
    sources: Vec<usize>,
    /// How rows share sources; `None` where each has its own, in order.
    pub(super) sharing: Option<Sharing>,
    /// Tokens held per row, which is the position of the next one.
    lengths: Vec<usize>,
    capacity: usize,
    device: Device,
}

/// Self-attention's keys and values of one decoder layer, `[slots, heads, capacity, d_kv]`, of which the rows come first. They are
/// taken out while they are written, so that the write happens in place.
#[derive(Debug, Clone)]
pub(super) struct LayerCache(Option<KeysValues>);

impl Cache {
    /// An empty cache for rows of at most `capacity` tokens; `of` names the source of each, every source at least once.
    pub(super) fn new(memory: Memory, of: &[usize], capacity: usize) -> Self {
        let (device, rows) = (memory.device(), of.len());
        let empty = |cross: &KeysValues| {
            let [_, heads, _, d_kv] = cross.keys.dims();
            let zeros = || Tensor::zeros([rows, heads, capacity, d_kv], &device);
            LayerCache(Some(KeysValues { keys: zeros(), values: zeros() }))
        };
        let layers = (0..memory.layers()).map(|layer| empty(memory.layer(layer)[0])).collect();
        let (cross, lengths) = (Cross::new(memory), vec![0; rows]);
        let mut cache = Self { layers, cross, sources: Vec::new(), sharing: None, lengths, capacity, device };
        cache.see(of.to_vec());
        cache
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Tokens of all sources, those that rows share once.
    pub fn source_tokens(&self) -> usize {
        self.cross.tokens()
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
            layer.change(|tensor| slots::keep(tensor, rows, held));
        }
        self.cross.select(&kept);
        self.see(places);
    }

    /// Notes the source of each row.
    fn see(&mut self, sources: Vec<usize>) {
        if sources != self.sources {
            self.sharing = Sharing::new(&sources, &self.device);
            self.sources = sources;
        }
    }

    /// Adds the rows of `other` behind these: requests that join a running batch.
    pub fn append(&mut self, other: Cache) {
        let (rows, before) = (self.rows(), self.cross.sources());
        let capacity = self.capacity.max(other.capacity);
        for (LayerCache(held), LayerCache(new)) in self.layers.iter_mut().zip(other.layers) {
            let joined =
                |(held, new): (KeysValues, KeysValues)| held.join(rows, new.first(other.lengths.len()), capacity);
            *held = held.take().zip(new).map(joined);
        }
        let sources = self.sources.iter().copied().chain(other.sources.iter().map(|source| before + source)).collect();
        self.cross.append(other.cross);
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
            layer.change(|tensor| slots::widen(tensor, 2, capacity));
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
    /// Changes keys and values in place.
    fn change(&mut self, change: impl Fn(Tensor<4>) -> Tensor<4>) {
        self.0 = self.0.take().map(|held| held.map(change));
    }

    /// Writes the step's keys and values `[rows, heads, 1, d_kv]` at each row's position and gives the first `keys` of
    /// all rows.
    pub(super) fn push(&mut self, new: KeysValues, positions: &[usize], keys: usize) -> KeysValues {
        let own = self.0.take().expect("the cache is put back after every step");
        let own =
            KeysValues { keys: write(own.keys, new.keys, positions), values: write(own.values, new.values, positions) };
        let rows = own.clone().first(positions.len());
        self.0 = Some(own);
        rows.map(|tensor| tensor.narrow(2, 0, keys))
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
