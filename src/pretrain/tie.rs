//! An output layer that stays the embedding through training.

use super::Parameters;
use crate::t5::Config;

/// Keeps `lm_head` equal to `shared`ᵀ · d_model^-½, as in T5 v1.0, in parameters of v1.1's layout.
///
/// An embedding of its own is changed only where its tokens are read, and so keeps much of its random start for long; the output
/// layer learns from every target which tokens are alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tie {
    vocab: usize,
    d: usize,
    /// Where `lm_head` begins, `[d, vocab]`; `shared`, `[vocab, d]`, comes first.
    head: usize,
    scale: f32,
}

impl Tie {
    pub(super) fn new(parameters: &Parameters, config: &Config) -> Self {
        let (vocab, d) = (config.vocab_size, config.d_model);
        Self { vocab, d, head: parameters.values.len() - vocab * d, scale: (d as f32).powf(-0.5) }
    }

    /// Adds the gradient of the output layer to that of the embedding, and leaves none behind.
    pub(super) fn gather(&self, gradient: &mut [f32]) {
        let (shared, head) = self.parts(gradient);
        self.each(|shared_at, head_at| shared[shared_at] += self.scale * std::mem::take(&mut head[head_at]));
    }

    /// Sets the output layer by the embedding.
    pub(super) fn copy(&self, values: &mut [f32]) {
        let (shared, head) = self.parts(values);
        self.each(|shared_at, head_at| head[head_at] = self.scale * shared[shared_at]);
    }

    fn parts<'a>(&self, values: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
        let (before, head) = values.split_at_mut(self.head);
        (&mut before[..self.vocab * self.d], head)
    }

    /// Places in `shared` and `lm_head` that belong together, in tiles that fit the cache.
    fn each(&self, mut pair: impl FnMut(usize, usize)) {
        const TILE: usize = 32;
        for first in (0..self.vocab).step_by(TILE) {
            for j in 0..self.d {
                for token in first..(first + TILE).min(self.vocab) {
                    pair(token * self.d + j, j * self.vocab + token);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_gradients_meet_in_the_embedding() {
        let tie = Tie { vocab: 3, d: 4, head: 12 + 2, scale: 0.5 };
        let mut values: Vec<f32> = (0..26).map(|i| i as f32).collect();
        tie.copy(&mut values);
        assert_eq!(values[14..], [0.0, 2.0, 4.0, 0.5, 2.5, 4.5, 1.0, 3.0, 5.0, 1.5, 3.5, 5.5]);
        assert_eq!(values[..14], (0..14).map(|i| i as f32).collect::<Vec<_>>());
        tie.gather(&mut values);
        let wanted: Vec<f32> = (0..12).map(|i| i as f32 * 1.25).chain([12.0, 13.0]).chain([0.0; 12]).collect();
        assert_eq!(values, wanted);
    }
}
