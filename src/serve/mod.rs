//! Serving: one engine thread that owns the model, and the cloneable handle that everything else talks to.

mod handle;

pub use handle::{
    Adapter, BackboneInfo, Command, Engine, Error, Event, FinishReason, Generate, GenerateRequest, Result, Score,
    ScoreRequest, Tokenize,
};
