//! One forward and backward pass.

use super::{Batch, Result};
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

/// Loss and gradient of these values on a batch; the backbone stays outside autodiff.
pub fn pass(backbone: &Backbone, layout: &Layout, values: &[f32], batch: &Batch) -> Result<Pass> {
    let device = backbone.model.device();
    let (single, leaves) = Single::tracked(layout, values, backbone.positions.len(), device);
    let encoded = backbone.model.encode(&batch.source, &single);
    let logits = backbone.model.decode(&encoded, &batch.inputs, &single);
    let [rows, width, vocab] = logits.dims();
    let found = target_log_probabilities(logits.reshape([rows * width, vocab]), batch.targets.clone());
    let loss = (found * batch.weights(device)).sum().div_scalar(-batch.tokens());
    let mut gradients = loss.backward();
    let gradient = leaves.gradient(&mut gradients);
    Ok(Pass { loss: loss.into_scalar::<f32>().into(), gradient })
}
