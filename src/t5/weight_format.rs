//! In which numbers the weights of linear maps are held.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The value of `--weights`: `f32` or `int8`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WeightFormat {
    /// As wide as they are computed with.
    #[default]
    F32,
    /// Rounded to 8 bits with a scale a column, for serving on the CPU: a quarter of the memory to read at a step. Nothing can
    /// be trained through them.
    Int8,
}

/// A name of no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown weights `{0}`: give f32 or int8")]
pub struct UnknownWeightFormat(String);

impl FromStr for WeightFormat {
    type Err = UnknownWeightFormat;

    fn from_str(text: &str) -> Result<Self, UnknownWeightFormat> {
        match text {
            "f32" => Ok(Self::F32),
            "int8" => Ok(Self::Int8),
            _ => Err(UnknownWeightFormat(text.into())),
        }
    }
}

impl TryFrom<String> for WeightFormat {
    type Error = UnknownWeightFormat;

    fn try_from(text: String) -> Result<Self, UnknownWeightFormat> {
        text.parse()
    }
}

impl From<WeightFormat> for String {
    fn from(format: WeightFormat) -> String {
        format.to_string()
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        })
    }
}
