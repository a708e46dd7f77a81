//! Pre-training of small backbones by span corruption, from plain text to a Hugging Face directory.
//!
//! Text becomes token streams, one per source of text; step `s` draws its rows from them by a generator seeded with
//! `(seed, s)`, so that a run which resumes from a checkpoint goes on exactly as one that never stopped. Parameters are one
//! flat vector on the host, as everywhere in training: a step uploads them as leaves, reads the gradients back, and AdamW
//! runs on the host. This module never touches the network.

mod adafactor;
mod checkpoint;
mod config;
mod corpus;
mod corruption;
mod error;
mod export;
mod optimiser;
mod parameters;
mod pass;
mod run;
mod trainer;
mod vocabulary;

pub use checkpoint::Checkpoint;
pub use config::{
    CorruptionConfig, ModelConfig, Optimizer, Precision, PretrainConfig, Schedule, TextConfig, TrainingConfig,
    VocabularyConfig,
};
pub use corpus::{Passages, read_text};
pub use corruption::{Corruption, Example, random_spans_noise_mask};
pub use error::{Error, Result};
pub use export::export;
pub use parameters::Parameters;
pub use run::{Report, Run, run};
pub use trainer::{Progress, Stream, Trainer, rate_at};
pub use vocabulary::{encode_passages, train_vocabulary};
