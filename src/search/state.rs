//! What a search keeps between two steps.

use crate::train::{AdamW, Checkpoint, Result};

/// The state between two steps.
pub(crate) struct State {
    pub(super) step: usize,
    pub(super) values: Vec<f32>,
    /// −∞ where a module is searched no further.
    pub(super) alpha: Vec<f32>,
    pub(super) delta_optimiser: AdamW,
    pub(super) structural_optimiser: AdamW,
    pub(super) best_alpha: Vec<f32>,
    pub(super) best_score: Option<(f64, f64)>,
    pub(super) best_step: usize,
    pub(super) losses: Vec<f64>,
}

impl State {
    /// Before the first step, with the initial values of δ and α.
    pub(super) fn new(values: Vec<f32>, alpha: Vec<f32>) -> Self {
        Self {
            step: 0,
            delta_optimiser: AdamW::new(values.len()),
            structural_optimiser: AdamW::new(alpha.len()),
            values,
            best_alpha: alpha.clone(),
            alpha,
            best_score: None,
            best_step: 0,
            losses: Vec::new(),
        }
    }

    pub(super) fn to_checkpoint(&self) -> Checkpoint {
        let state = serde_json::json!({
            "step": self.step, "best_score": self.best_score, "best_step": self.best_step, "losses": self.losses,
        });
        let mut checkpoint = Checkpoint { state, ..Checkpoint::default() };
        checkpoint.vectors.insert("values".into(), self.values.clone());
        checkpoint.vectors.insert("alpha".into(), self.alpha.clone());
        checkpoint.vectors.insert("best_alpha".into(), self.best_alpha.clone());
        checkpoint.put_optimiser("delta", &self.delta_optimiser);
        checkpoint.put_optimiser("structural", &self.structural_optimiser);
        checkpoint
    }

    pub(super) fn from_checkpoint(mut checkpoint: Checkpoint, values: usize, modules: usize) -> Result<Self> {
        Ok(Self {
            step: checkpoint.field("step")?,
            best_score: checkpoint.field("best_score")?,
            best_step: checkpoint.field("best_step")?,
            losses: checkpoint.field("losses")?,
            values: checkpoint.vector("values", values)?,
            alpha: checkpoint.vector("alpha", modules)?,
            best_alpha: checkpoint.vector("best_alpha", modules)?,
            delta_optimiser: checkpoint.optimiser("delta", values)?,
            structural_optimiser: checkpoint.optimiser("structural", modules)?,
        })
    }
}
