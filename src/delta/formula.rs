//! What each kind computes (method.md section 1), over groups of rows: activations `[groups, n, d]` against factors
//! `[groups, …, …]`. One group is the whole batch in training; a group per row serves a mixed batch. The same formula
//! serves both.

use crate::structure::Kind;
use crate::t5;
use burn::tensor::Tensor;

/// Whether Δ is computed from the place's input rather than from its output.
pub(super) fn is_parallel(kind: Kind) -> bool {
    matches!(kind, Kind::Lora { .. } | Kind::Lnfit | Kind::ParallelAdapter { .. })
}

/// Δ from `h`, which is the input for parallel kinds (for LNFit the normalised one) and the output for the others.
/// Biases have shape `[groups, 1, d]`; the answer broadcasts to the output.
pub(super) fn delta(kind: Kind, h: &Tensor<3>, factors: &[Tensor<3>]) -> Tensor<3> {
    match (kind, factors) {
        // (alpha / r) · x A B, the scale on the narrow product
        (Kind::Lora { rank, alpha }, [a, b]) => {
            h.clone().matmul(a.clone()).mul_scalar(alpha / rank as f64).matmul(b.clone())
        }
        (Kind::Bitfit, [bias]) => bias.clone(),
        (Kind::Lnfit, [scale]) => h.clone() * scale.clone(),
        (Kind::LowRankAdapter { .. }, [down_left, down_right, down_bias, up_left, up_right, up_bias]) => {
            let down = h.clone().matmul(down_left.clone()).matmul(down_right.clone()) + down_bias.clone();
            t5::gelu_new(down).matmul(up_left.clone()).matmul(up_right.clone()) + up_bias.clone()
        }
        (Kind::Adapter { .. } | Kind::ParallelAdapter { .. }, [down, down_bias, up, up_bias]) => {
            let hidden = h.clone().matmul(down.clone()) + down_bias.clone();
            t5::gelu_new(hidden).matmul(up.clone()) + up_bias.clone()
        }
        _ => unreachable!("a kind's factors are those of `Kind::tensors`"),
    }
}

/// The kind that holds two modules of one kind in one padded stack: the wider rank and bottleneck, and for LoRA a scale
/// of 1, since [`padded`] folds the scale into B.
pub(super) fn widest(a: Kind, b: Kind) -> Kind {
    match (a, b) {
        (Kind::Lora { rank: a, .. }, Kind::Lora { rank: b, .. }) => {
            Kind::Lora { rank: a.max(b), alpha: a.max(b) as f64 }
        }
        (Kind::LowRankAdapter { bottleneck: a, rank: r }, Kind::LowRankAdapter { bottleneck: b, rank: s }) => {
            Kind::LowRankAdapter { bottleneck: a.max(b), rank: r.max(s) }
        }
        (Kind::Adapter { bottleneck: a }, Kind::Adapter { bottleneck: b }) => Kind::Adapter { bottleneck: a.max(b) },
        (Kind::ParallelAdapter { bottleneck: a }, Kind::ParallelAdapter { bottleneck: b }) => {
            Kind::ParallelAdapter { bottleneck: a.max(b) }
        }
        (same, _) => same,
    }
}

/// A module's factors `[1, rows, columns]` zero-padded to the shapes of `to` (from [`widest`]): the padding adds nothing,
/// as gelu(0) = 0.
pub(super) fn padded(kind: Kind, factors: &[Tensor<3>], shapes: &[[usize; 2]]) -> Vec<Tensor<3>> {
    let scale = if let Kind::Lora { rank, alpha } = kind { alpha / rank as f64 } else { 1.0 };
    let pad = |(index, (factor, [rows, columns])): (usize, (&Tensor<3>, &[usize; 2]))| {
        let factor = if index == 1 && scale != 1.0 { factor.clone().mul_scalar(scale) } else { factor.clone() };
        let [_, r, c] = factor.dims();
        let device = factor.device();
        let factor =
            if r == *rows { factor } else { Tensor::cat(vec![factor, Tensor::zeros([1, rows - r, c], &device)], 1) };
        if c == *columns {
            factor
        } else {
            Tensor::cat(vec![factor, Tensor::zeros([1, *rows, columns - c], &device)], 2)
        }
    };
    factors.iter().zip(shapes).enumerate().map(pad).collect()
}
