//! Decoding: settings, logits processors, and the state of one source's sequences, which one loop over one cache drives.
//!
//! [`Sequences`] holds what is made of one source, be it one greedy row, samples or beams: it says which tokens to feed,
//! takes the logits of its rows, and says which rows of the cache the next step continues. [`generate`] drives the
//! sequences of a batch; the serving engine drives those of many requests in the same way, so that all kinds share a batch.
//! This module never touches a tensor, but for [`generate`].

mod beams;
mod chain;
mod defaults;
mod generate;
mod lines;
pub mod processors;
mod scores;
mod sequences;
mod settings;

pub use generate::{Generated, generate};
pub use sequences::{Advance, Ended, Finished, Made, Sequences, StepError, Token};
pub use settings::{DecodeSettings, EarlyStopping, InvalidSetting};

/// Tokens for which a row's cache has room at first; most answers are shorter.
pub(crate) const FIRST_CAPACITY: usize = 16;
