//! Scores of several seeds.

use crate::jobs::mean_and_deviation;
use serde::Serialize;

/// Mean and sample standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) mean: f64,
    /// `None` for one value.
    pub(super) deviation: Option<f64>,
}

impl Spread {
    /// Of one value at least.
    pub(super) fn of(values: &[f64]) -> Self {
        let (mean, deviation) = mean_and_deviation(values);
        Self { mean, deviation: (values.len() > 1).then_some(deviation) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.deviation {
            Some(deviation) => write!(f, "{:.4} ± {deviation:.4}", self.mean),
            None => write!(f, "{:.4}", self.mean),
        }
    }
}
