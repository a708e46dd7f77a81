//! One forward and backward pass.

use super::{Batch, Error, Result, side_by_side};
use crate::delta::{Layout, Single};
use crate::t5::{Backbone, Deltas, T5, target_log_probabilities};
use burn::tensor::{Device, Tensor};

/// What a pass gives.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Mean cross-entropy over the target tokens, in nats.
    pub loss: f64,
    /// Gradient with respect to the values given.
    pub gradient: Vec<f32>,
}

/// Sum of the cross-entropy over the batch's target tokens under teacher forcing, in nats; padding counts nothing. `[1]`
pub fn target_loss(model: &T5, deltas: &dyn Deltas, batch: &Batch) -> Tensor<1> {
    let encoded = batch.encode(model, deltas);
    let logits = model.decode(&encoded, &batch.inputs, deltas);
    let [rows, width, vocab] = logits.dims();
    let found = target_log_probabilities(logits.reshape([rows * width, vocab]), batch.targets.clone());
    (found * batch.weights(model.device())).sum().neg()
}

/// Loss and gradient of these values on a batch, given in pieces; the backbone stays outside autodiff.
pub fn pass(backbone: &Backbone, layout: &Layout, values: &[f32], batch: &[Batch]) -> Result<Pass> {
    let device = backbone.model.device();
    sum_of_pieces(device, batch, |piece, tokens| {
        let (single, leaves) = Single::tracked(layout, values, backbone.positions.len(), device);
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
    let tokens: f32 = batch.iter().map(Batch::tokens).sum();
    let mut whole: Option<Pass> = None;
    // no more gradients at a time than there are threads
    for together in batch.chunks(rayon::current_num_threads()) {
        for piece in side_by_side(device, together, |piece| one(piece, tokens)) {
            let piece = piece?;
            match &mut whole {
                None => whole = Some(piece),
                Some(whole) => {
                    whole.loss += piece.loss;
                    whole.gradient.iter_mut().zip(&piece.gradient).for_each(|(sum, g)| *sum += g);
                }
            }
        }
    }
    whole.ok_or_else(|| Error::Setting("a batch must have rows".into()))
}
