//! What the requests that train have in common.

use super::bounds::{MOST_ROWS, MOST_STEPS, at_least, at_most, rate};
use super::{Error, Result};

/// Passes over the training rows where a request gives neither `steps` nor `epochs`.
pub(super) const DEFAULT_EPOCHS: usize = 5;

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// A number of steps.
    Steps(usize),
    /// Passes over the training rows.
    Epochs(usize),
}

impl Length {
    /// What a request's fields say.
    pub(super) fn of(steps: Option<usize>, epochs: Option<usize>) -> Self {
        steps.map_or(Self::Epochs(epochs.unwrap_or(DEFAULT_EPOCHS)), Self::Steps)
    }
}

/// What the three training requests have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// How long.
    pub length: Length,
    /// Rows of a step.
    pub batch_size: usize,
    /// Learning rate of the delta weights.
    pub learning_rate: f64,
    /// Training rows to use; all if none.
    pub train_rows: Option<usize>,
    /// Tokens of a source text.
    pub max_source_tokens: usize,
    /// Whether rows of like length share a batch.
    pub group_by_length: bool,
    /// Dev evaluations.
    pub evaluations: usize,
}

impl Training {
    /// Optimiser steps of a training over so many rows.
    pub(super) fn steps(&self, rows: usize) -> usize {
        match self.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => epochs.saturating_mul(rows.div_ceil(self.batch_size.clamp(1, rows.max(1)))),
        }
    }

    /// Refuses what cannot be trained by; `steps` and `epochs` are the request's fields.
    pub(super) fn check(&self, steps: Option<usize>, epochs: Option<usize>) -> Result<()> {
        if steps.is_some() && epochs.is_some() {
            return Err(Error::invalid("steps", "`steps` and `epochs` exclude each other: give one"));
        }
        at_least("steps", steps, 1)?;
        at_most("steps", steps, MOST_STEPS)?;
        at_least("epochs", epochs, 1)?;
        at_most("epochs", epochs, MOST_STEPS)?;
        at_least("batch_size", Some(self.batch_size), 1)?;
        at_most("batch_size", Some(self.batch_size), MOST_ROWS)?;
        at_least("train_rows", self.train_rows, 1)?;
        at_least("max_source_tokens", Some(self.max_source_tokens), 2)?;
        at_least("evaluations", Some(self.evaluations), 1)?;
        rate("learning_rate", self.learning_rate)
    }

    /// Refuses passes over this many rows that are more steps than a run may have.
    pub(super) fn check_steps(&self, rows: usize) -> Result<()> {
        match (self.length, self.steps(rows)) {
            (Length::Epochs(epochs), steps) if steps > MOST_STEPS => Err(Error::invalid(
                "epochs",
                format!("`epochs` {epochs} over {rows} rows makes {steps} steps, more than {MOST_STEPS}: give fewer"),
            )),
            _ => Ok(()),
        }
    }
}
