//! Dropout, at the places where T5 has it (transformers' `T5Stack`, `T5Attention`, `T5LayerFF`): embeddings, attention weights, the
//! feed-forward layer's hidden values, the outputs of both layers, and each stack's output.

use super::Deltas;
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::{AtomicU64, Ordering};

/// The masks of one pass, made one after the other from a seed: the same pass with the same seed has the same masks.
#[derive(Debug)]
pub struct Dropout {
    rate: f64,
    seed: u64,
    next: AtomicU64,
}

impl Dropout {
    /// Masks that are 0 with this probability, in 0..1, and otherwise 1 / (1 − rate).
    pub fn new(rate: f64, seed: u64) -> Self {
        Self { rate, seed, next: AtomicU64::new(0) }
    }

    fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.next.fetch_add(1, Ordering::Relaxed));
        let dropped = (self.rate * f64::from(u16::MAX)) as u16; // a 65,535th of accuracy, for half of the randomness
        let kept = 1.0 / (1.0 - f64::from(dropped) / f64::from(u16::MAX));
        let mut random = vec![0; x.shape().num_elements() * 2];
        rng.fill_bytes(&mut random);
        let scale = |pair: &[u8]| if u16::from_le_bytes([pair[0], pair[1]]) < dropped { 0.0 } else { kept as f32 };
        let mask: Vec<f32> = random.chunks_exact(2).map(scale).collect();
        let mask = Tensor::from_data(TensorData::new(mask, x.shape()), &x.device().inner());
        x * mask
    }
}

/// `x` under the pass's dropout, if it has one.
pub(super) fn dropped<const D: usize>(x: Tensor<D>, deltas: &dyn Deltas) -> Tensor<D> {
    match deltas.dropout() {
        Some(dropout) => dropout.apply(x),
        None => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::PositionId;
    use crate::t5::Backbone;
    use burn::tensor::Device;
    use std::path::Path;

    struct Dropped(Dropout);

    impl Deltas for Dropped {
        fn touches(&self, _: PositionId) -> bool {
            false
        }

        fn dropout(&self) -> Option<&Dropout> {
            Some(&self.0)
        }
    }

    /// The places of transformers' modeling_t5.py; none of them drops anything at rate 0.
    #[test]
    fn every_place_of_t5_has_it_once() {
        for variant in ["tiny-v1.0", "tiny-v1.1"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(variant);
            let backbone = Backbone::open(&path, &Device::flex()).unwrap();
            let batch = backbone.model.batch(&[[5u32, 6, 7, 1], [8, 9, 10, 1]]).unwrap();
            let logits = |deltas: &dyn Deltas| {
                let encoded = backbone.model.encode(&batch, deltas);
                backbone.model.decode(&encoded, &batch, deltas).try_into_vec_as::<f32>().unwrap()
            };
            let none = Dropped(Dropout::new(0.0, 3));
            let (plain, kept) = (logits(&crate::t5::Frozen), logits(&none));
            assert!(plain.iter().zip(&kept).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + a.abs())));
            // embedding and end of either stack; weights and output of each attention; hidden values and output of each feed-forward
            let layers = &backbone.config;
            let wanted = 2 * 2 + layers.encoder_layers * (2 + 2) + layers.decoder_layers * (2 + 2 + 2);
            assert_eq!(none.0.next.load(Ordering::Relaxed), wanted as u64, "{variant}");
            assert_ne!(logits(&Dropped(Dropout::new(0.5, 3))), plain);
        }
    }

    #[test]
    fn masks_follow_the_seed_and_keep_the_mean() {
        let ones = || Tensor::<2>::ones([100, 200], &Device::flex());
        let values = |tensor: Tensor<2>| tensor.try_into_vec_as::<f32>().unwrap();
        let dropout = Dropout::new(0.1, 7);
        let (first, second) = (values(dropout.apply(ones())), values(dropout.apply(ones())));
        assert_ne!(first, second, "two places have two masks");
        assert_eq!(first, values(Dropout::new(0.1, 7).apply(ones())));
        assert_ne!(first, values(Dropout::new(0.1, 8).apply(ones())));
        let zeros = first.iter().filter(|value| **value == 0.0).count();
        assert!((1800..2200).contains(&zeros), "{zeros} of 20000");
        assert!(first.iter().all(|value| *value == 0.0 || (value - 1.0 / 0.9).abs() < 1e-4));
    }
}
