//! One forward and backward pass.

use super::{Batch, Error, Result, side_by_side};
use crate::delta::{Layout, Single};
use crate::t5::{Backbone, target_log_probabilities};

/// What a pass gives.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Mean cross-entropy over the target tokens, in nats.
    pub loss: f64,
    /// Gradient with respect to the values given.
    pub gradient: Vec<f32>,
}

/// Loss and gradient of these values on a batch, given in pieces; the backbone stays outside autodiff.
pub fn pass(backbone: &Backbone, layout: &Layout, values: &[f32], batch: &[Batch]) -> Result<Pass> {
    let device = backbone.model.device();
    let tokens: f32 = batch.iter().map(Batch::tokens).sum();
    let one = |piece: &Batch| {
        let (single, leaves) = Single::tracked(layout, values, backbone.positions.len(), device);
        let encoded = backbone.model.encode(&piece.source, &single);
        let logits = backbone.model.decode(&encoded, &piece.inputs, &single);
        let [rows, width, vocab] = logits.dims();
        let found = target_log_probabilities(logits.reshape([rows * width, vocab]), piece.targets.clone());
        let loss = (found * piece.weights(device)).sum().div_scalar(-tokens);
        let mut gradients = loss.backward();
        let gradient = leaves.gradient(&mut gradients);
        Pass { loss: loss.into_scalar::<f32>().into(), gradient }
    };
    let mut pieces = side_by_side(device, batch, one).into_iter();
    let mut whole = pieces.next().ok_or_else(|| Error::Setting("a batch must have rows".into()))?;
    for piece in pieces {
        whole.loss += piece.loss;
        whole.gradient.iter_mut().zip(&piece.gradient).for_each(|(sum, g)| *sum += g);
    }
    Ok(whole)
}
