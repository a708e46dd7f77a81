//! Bounds of a request's numbers.

use super::{Error, Result};

/// Steps of a run: more is a slip of the keyboard, and would keep the queue for years.
pub(super) const MOST_STEPS: usize = 100_000_000;

/// Rows of a step: a job hears a cancel or a stop only between steps.
pub(super) const MOST_ROWS: usize = 4096;

pub(super) fn at_most(param: &'static str, value: Option<usize>, most: usize) -> Result<()> {
    match value {
        Some(value) if value > most => Err(Error::invalid(param, format!("`{param}` {value} is more than {most}"))),
        _ => Ok(()),
    }
}

pub(super) fn at_least(param: &'static str, value: Option<usize>, least: usize) -> Result<()> {
    match value {
        Some(value) if value < least => {
            Err(Error::invalid(param, format!("`{param}` is {value}: give at least {least}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn rate(param: &'static str, value: f64) -> Result<()> {
    if value > 0.0 && value <= 10.0 {
        return Ok(());
    }
    Err(Error::invalid(param, format!("`{param}` is {value}: give a number above 0 and at most 10")))
}

pub(super) fn check_seeds(seeds: &[u64]) -> Result<()> {
    let mut sorted = seeds.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if seeds.is_empty() || seeds.len() > 64 || sorted.len() != seeds.len() {
        return Err(Error::invalid("seeds", "give 1 to 64 seeds, each once"));
    }
    Ok(())
}
