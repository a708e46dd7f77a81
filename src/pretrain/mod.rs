//! Pre-training of small backbones by span corruption, from plain text to a Hugging Face directory.
//!
//! Text is read as a stream, once for a sample on which the vocabulary is trained and once for the tokens, which are then kept
//! on disk. It becomes token streams, one per source of text, beside which a stream of supervised rows may stand; step `s` draws
//! its rows from them by a generator seeded with `(seed, s)`, so that a run which resumes from a checkpoint goes on exactly as one that never stopped. Parameters are one
//! flat vector on the host, as everywhere in training: a step uploads them as leaves, reads the gradients back, and AdamW
//! runs on the host. The same parameters can be trained on a task too ([`fine_tune`]). This module never touches the network.

mod adafactor;
mod archive;
mod check;
mod checkpoint;
mod config;
mod corpus;
mod corruption;
mod curve;
mod error;
mod event;
mod exclusion;
mod export;
mod fine_tune;
mod log;
mod optimiser;
mod parameters;
mod pass;
mod run;
mod stream;
mod supervised;
mod tie;
mod tokens;
mod trainer;
mod vocabulary;

pub use checkpoint::Checkpoint;
pub use config::{
    CorruptionConfig, ModelConfig, Optimizer, Precision, PretrainConfig, Schedule, SupervisedConfig, TextConfig,
    TrainingConfig, VocabularyConfig,
};
pub use corpus::{Corpus, Sample};
pub use corruption::{Corruption, Example, random_spans_noise_mask};
pub use curve::curve;
pub use error::{Error, Result};
pub use event::{Event, Observer, Reading};
pub use export::export;
pub use fine_tune::{FineTuned, fine_tune};
pub use parameters::Parameters;
pub use run::{Report, Run, run};
pub use stream::{Content, Stream};
pub use supervised::{Examples, Mixture};
pub use tokens::{Encoder, Tokens};
pub use trainer::{Losses, Progress, Trainer, rate_at};
pub use vocabulary::{read_vocabulary, train_vocabulary};
