//! Serving: one engine thread that owns the model, and the cloneable handle that everything else talks to.
//!
//! Requests of different adapters, of every kind, share one batch and one forward. [`start`] gives the handle; the
//! thread encodes what has come, lets it join the rows that are being decoded, and makes a token of every row a turn.

mod adapters;
mod compute;
mod decoding;
mod engine;
mod generation;
mod handle;
mod joining;
#[cfg(test)]
mod joins;
mod list;
mod order;
mod pace;
mod places;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod queueing;
mod recent;
mod request;
mod reservation;
#[cfg(test)]
mod scenarios;
mod scoring;
mod settings;
mod shared;
mod source_cache;
mod sources;
#[cfg(test)]
mod starving;
#[cfg(test)]
mod testing;
mod text;
mod waiting;

pub use crate::t5::{TextPart, TextStream};
pub use engine::start;
pub use generation::{Event, FinishReason, Generate, GenerateRequest, Generation};
pub use handle::{
    Adapter, BackboneInfo, Command, Engine, Error, Queued, Result, Score, ScoreRequest, Scoring, Tokenize,
};
pub use list::{Entry, List};
pub use places::Place;
pub use settings::Settings;
pub use shared::Shared;
pub use text::Text;
