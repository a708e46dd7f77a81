//! One forward and backward pass.

use super::{Batch, Result};
use crate::delta::{Layout, Single};
use crate::t5::{Backbone, Deltas, T5, target_log_probabilities};
use burn::tensor::Tensor;

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
    let encoded = model.encode(&batch.source, deltas);
    let logits = model.decode(&encoded, &batch.inputs, deltas);
    let [rows, width, vocab] = logits.dims();
    let found = target_log_probabilities(logits.reshape([rows * width, vocab]), batch.targets.clone());
    (found * batch.weights(model.device())).sum().neg()
}

/// Loss and gradient of these values on a batch; the backbone stays outside autodiff.
pub fn pass(backbone: &Backbone, layout: &Layout, values: &[f32], batch: &Batch) -> Result<Pass> {
    let (single, leaves) = Single::tracked(layout, values, backbone.positions.len(), backbone.model.device());
    let loss = target_loss(&backbone.model, &single, batch).div_scalar(batch.tokens());
    let mut gradients = loss.backward();
    let gradient = leaves.gradient(&mut gradients);
    Ok(Pass { loss: loss.into_scalar::<f32>().into(), gradient })
}
