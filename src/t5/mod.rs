//! T5: configuration, weights, layers, caches and decoding.
//!
//! One forward serves every use: what deltas do is said by the [`Deltas`] hook, whose implementations live in `delta`.
//! This module names no delta kind.

mod activation;
mod attention;
mod backbone;
mod batch;
mod builtin;
mod cache;
mod config;
mod config_file;
mod cross;
mod decode;
pub mod device;
mod dropout;
mod encoded;
mod error;
mod feed_forward;
mod hook;
mod kernels;
mod keys_values;
mod linear;
mod model;
mod norm;
mod position_bias;
mod score;
mod sharing;
mod slots;
mod source;
mod stack;
mod tokenizer;
mod tree;
mod weight_format;
mod weights;

pub use activation::{Activation, ActivationFunction};
pub use backbone::Backbone;
pub use batch::TokenBatch;
pub use cache::Cache;
pub use config::{Config, Family};
pub(crate) use decode::FIRST_CAPACITY;
pub use decode::{
    Advance, DecodeSettings, EarlyStopping, Ended, Finished, Generated, InvalidSetting, Made, Sequences, StepError,
    Token, generate, processors,
};
pub use device::{DeviceChoice, DeviceError};
pub use dropout::Dropout;
pub use encoded::{Encoded, Memory, Remembering};
pub use error::{Error, Result};
pub use hook::{Deltas, Frozen};
pub(crate) use kernels::{gelu_new, gelu_new_sigmoid, target_log_probabilities, vectorised};
pub use linear::{LinearGroup, Weight};
pub use model::{Encoding, T5};
pub use norm::Normed;
pub use score::{Question, Sources, score_targets};
pub use source::{ParameterSource, ParameterSpec, parameter_specs};
pub use tokenizer::{TextPart, TextStream, Tokenizer};
pub use tree::decoder_positions;
pub use weight_format::{UnknownWeightFormat, WeightFormat};
pub use weights::WeightsFile;
