//! Re-training of delta weights, and evaluation.
