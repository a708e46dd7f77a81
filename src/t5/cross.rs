//! Cross-attention's part of a cache: keys and values of each source, which do not grow.

use super::batch::mask_of;
use super::encoded::Memory;
use super::keys_values::{Attended, KeysValues, side_by_side};
use super::position_bias::Bias;
use super::slots;
use burn::tensor::{Device, Tensor};

/// The width of padded sources grows by so many places at once.
const STEP: usize = 32;

/// The sources of a batch, however many rows each has.
#[derive(Debug, Clone)]
pub(super) enum Cross {
    /// On the CPU: each where it lies, in the encoder cache too. Nothing is copied when sources join or leave, and none is padded to
    /// another's length.
    Apart(Memory),
    /// On other devices: side by side, so that one product serves all.
    Padded(Box<Padded>),
}

/// Sources side by side, in slots.
#[derive(Debug, Clone)]
pub(super) struct Padded {
    /// `[slots, heads, width, d_kv]` a layer, of which the sources come first. Each is taken out while it is written, so that
    /// the write happens in place.
    layers: Vec<Option<KeysValues>>,
    /// Tokens of each source.
    lengths: Vec<usize>,
    width: usize,
    /// Added to scores, `[sources, 1, 1, width]`; `None` without padding.
    mask: Option<Tensor<4>>,
}

impl Cross {
    pub(super) fn new(memory: Memory) -> Self {
        if memory.device() == Device::flex() { Self::Apart(memory) } else { Self::Padded(Padded::new(&memory).into()) }
    }

    /// Number of sources.
    pub(super) fn sources(&self) -> usize {
        match self {
            Self::Apart(memory) => memory.rows(),
            Self::Padded(padded) => padded.lengths.len(),
        }
    }

    /// Tokens whose keys and values are held, padding included.
    pub(super) fn tokens(&self) -> usize {
        match self {
            Self::Apart(memory) => memory.distinct_tokens(),
            Self::Padded(padded) => padded.lengths.len() * padded.width,
        }
    }

    /// Keeps these sources, in this order.
    pub(super) fn select(&mut self, kept: &[usize]) {
        match self {
            Self::Apart(memory) => *memory = memory.select(kept),
            Self::Padded(padded) => padded.select(kept),
        }
    }

    /// Adds the sources of `other` behind these.
    pub(super) fn append(&mut self, other: Self) {
        match (self, other) {
            (Self::Apart(memory), Self::Apart(other)) => *memory = Memory::join(&[memory.clone(), other]),
            (Self::Padded(padded), Self::Padded(other)) => padded.append(*other),
            _ => unreachable!("caches of one device"),
        }
    }

    /// What a layer's queries attend to, and what is added to their scores.
    pub(super) fn context(&self, layer: usize) -> (Attended<'_>, Option<Bias<'_>>) {
        match self {
            Self::Apart(memory) => (Attended::Apart(memory.layer(layer)), None),
            Self::Padded(padded) => {
                let held = padded.layers[layer].clone().expect("a layer is put back after every change");
                (Attended::Together(held.first(padded.lengths.len())), padded.mask.as_ref().map(Bias::Whole))
            }
        }
    }
}

impl Padded {
    fn new(memory: &Memory) -> Self {
        let layers = (0..memory.layers()).map(|layer| side_by_side(&memory.layer(layer)).0);
        let (layers, lengths) = (layers.map(Some).collect(), memory.lengths());
        let width = lengths.iter().copied().max().unwrap_or(0);
        let mask = mask_of(&lengths, width, &memory.device());
        Self { layers, lengths, width, mask }
    }

    fn select(&mut self, kept: &[usize]) {
        for layer in &mut self.layers {
            *layer = layer.take().map(|held| held.map(|tensor| slots::keep(tensor, kept, self.width)));
        }
        self.lengths = kept.iter().map(|source| self.lengths[*source]).collect();
        self.see();
    }

    fn append(&mut self, other: Self) {
        let before = self.lengths.len();
        if other.width > self.width {
            self.width = other.width.next_multiple_of(STEP);
        }
        for (layer, new) in self.layers.iter_mut().zip(other.layers) {
            let joined =
                |(held, new): (KeysValues, KeysValues)| held.join(before, new.first(other.lengths.len()), self.width);
            *layer = layer.take().zip(new).map(joined);
        }
        self.lengths.extend(other.lengths);
        self.see();
    }

    fn see(&mut self) {
        let device = self.layers.iter().flatten().next().map(|layer| layer.keys.device());
        self.mask = device.and_then(|device| mask_of(&self.lengths, self.width, &device));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t5::{Backbone, Frozen};

    /// Sources side by side are sources apart, whoever joined and left before.
    #[test]
    fn padded_sources_are_those_that_lie_apart() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-v1.1");
        let backbone = Backbone::open(&dir, &Device::flex()).unwrap();
        let model = &backbone.model;
        let memory = |lengths: &[u32]| {
            let rows: Vec<Vec<u32>> = lengths.iter().map(|len| (2..len + 1).chain([1]).collect()).collect();
            model.memory(&model.encode(&model.batch(&rows).unwrap(), &Frozen), &Frozen)
        };
        let (first, second) = (memory(&[5, 40, 3]), memory(&[2, 61]));
        let mut apart = Cross::new(first.clone());
        let mut padded = Cross::Padded(Padded::new(&first).into());
        for cross in [&mut apart, &mut padded] {
            cross.select(&[2, 0]);
            let other = match cross {
                Cross::Apart(_) => Cross::new(second.clone()),
                Cross::Padded(_) => Cross::Padded(Padded::new(&second).into()),
            };
            cross.append(other);
            cross.select(&[3, 1, 2]);
            assert_eq!(cross.sources(), 3);
        }
        for layer in 0..2 {
            let (lie, none) = apart.context(layer);
            let (wanted, _) = lie.together();
            let (stand, bias) = padded.context(layer);
            let (found, _) = stand.together();
            let mask = bias.map(|bias| bias.whole().try_into_vec_as::<f32>().unwrap()).unwrap();
            assert!(none.is_none() && mask.len() == 3 * 64);
            for (row, len) in [61, 5, 2].into_iter().enumerate() {
                let seen = mask[row * 64..(row + 1) * 64].iter().take_while(|mask| **mask == 0.0).count();
                assert_eq!(seen, len);
                let part = |of: &Tensor<4>| of.clone().narrow(0, row, 1).narrow(2, 0, len).into_data();
                assert_eq!(part(&found.keys), part(&wanted.keys));
                assert_eq!(part(&found.values), part(&wanted.values));
            }
        }
    }
}
