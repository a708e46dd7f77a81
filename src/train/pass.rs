//! Forward and backward passes.

use super::{Batch, Error, Result, side_by_side};
use crate::delta::{Layout, Single, Tracked};
use crate::t5::{Backbone, Deltas, Dropout, T5, target_log_probabilities};
use burn::tensor::{Device, Tensor};

/// What a pass gives.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Mean cross-entropy over the target tokens, in nats.
    pub loss: f64,
    /// Gradient with respect to the values given; 0 where they are not tracked.
    pub gradient: Vec<f32>,
}

/// Where a pass is taken.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// Flat values in a layout.
    pub values: &'a [f32],
    /// Which gradients are wanted.
    pub tracked: Tracked,
    /// Dropout's rate and the seed of its masks.
    pub dropout: Option<(f64, u64)>,
}

/// Sum of the cross-entropy over the batch's target tokens under teacher forcing, in nats; padding counts nothing. `[1]`
pub fn target_loss(model: &T5, deltas: &dyn Deltas, batch: &Batch) -> Tensor<1> {
    let logits = model.decode_from(batch.see(model, deltas).sources(deltas), &batch.inputs, deltas);
    let [rows, width, vocab] = logits.dims();
    let found = target_log_probabilities(logits.reshape([rows * width, vocab]), batch.targets.clone());
    (found * batch.weights(model.device())).sum().neg()
}

/// Loss and gradient of these values on a batch, given in pieces; the backbone stays outside autodiff.
pub fn pass(backbone: &Backbone, layout: &Layout, values: &[f32], batch: &[Batch]) -> Result<Pass> {
    let mut found = passes(backbone, layout, &[Point { values, tracked: Tracked::All, dropout: None }], batch)?;
    Ok(found.remove(0))
}

/// The same at each of several points: where a batch has fewer pieces than there are threads, points run side by side.
pub fn passes(backbone: &Backbone, layout: &Layout, points: &[Point], batch: &[Batch]) -> Result<Vec<Pass>> {
    let device = backbone.model.device();
    sums_of_pieces(device, points, batch, |point, index, piece, tokens| {
        let positions = backbone.positions.len();
        let (mut single, leaves) = Single::tracked(layout, point.values, positions, device, point.tracked);
        if let Some((rate, seed)) = point.dropout {
            single = single.with_dropout(Dropout::new(rate, seed.wrapping_add(index as u64)));
        }
        let loss = target_loss(&backbone.model, &single, piece).div_scalar(tokens);
        let gradient = leaves.gradient(&mut loss.backward());
        Ok(Pass { loss: loss.into_scalar::<f32>().into(), gradient })
    })
}

/// Adds up the losses and gradients of a batch's pieces, in their order; `one` takes a piece and the tokens of all, by which it
/// divides its sum.
pub(crate) fn sum_of_pieces(
    device: &Device,
    batch: &[Batch],
    one: impl Fn(&Batch, f32) -> Result<Pass> + Sync,
) -> Result<Pass> {
    let mut sums = sums_of_pieces(device, &[()], batch, |(), _, piece, tokens| one(piece, tokens))?;
    Ok(sums.remove(0))
}

/// The same for each of `points`, apart; `one` is also told the piece's number.
fn sums_of_pieces<P: Sync>(
    device: &Device,
    points: &[P],
    batch: &[Batch],
    one: impl Fn(&P, usize, &Batch, f32) -> Result<Pass> + Sync,
) -> Result<Vec<Pass>> {
    let tokens: f32 = batch.iter().map(Batch::tokens).sum();
    let all: Vec<_> = (0..points.len()).flat_map(|point| (0..batch.len()).map(move |piece| (point, piece))).collect();
    let mut sums: Vec<Option<Pass>> = vec![None; points.len()];
    // no more gradients at a time than there are threads
    for together in all.chunks(rayon::current_num_threads()) {
        let found =
            side_by_side(device, together, |(point, piece)| one(&points[*point], *piece, &batch[*piece], tokens));
        for ((point, _), found) in together.iter().zip(found) {
            let found = found?;
            match &mut sums[*point] {
                empty @ None => *empty = Some(found),
                Some(sum) => {
                    sum.loss += found.loss;
                    sum.gradient.iter_mut().zip(&found.gradient).for_each(|(sum, g)| *sum += g);
                }
            }
        }
    }
    let sums: Option<Vec<_>> = sums.into_iter().collect();
    sums.ok_or_else(|| Error::Setting("a batch must have rows".into()))
}
