//! Re-training of delta weights, and evaluation.

mod optimiser;

pub use optimiser::{AdamW, clip_global_norm, linear_decay};
