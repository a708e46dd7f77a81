//! Decoding of a batch of sources to its end.

use super::super::{Cache, Deltas, Encoded, Error, Result, T5};
use super::{Advance, DecodeSettings, Ended, FIRST_CAPACITY, Sequences};
use rayon::prelude::*;
use std::sync::Arc;

/// One sequence that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The ids without the start token, ending with the end token if it came.
    pub ids: Vec<u32>,
    /// The log-probability of each as the model gives it, before any processor.
    pub logprobs: Vec<f32>,
    /// The likeliest tokens of each step with their log-probabilities; `top_logprobs` of them.
    pub top: Vec<Vec<(u32, f32)>>,
    /// Why it ended.
    pub ended: Ended,
    /// Sum of `logprobs`; of a beam, the sum of its processed ones with the length penalty (transformers'
    /// `sequences_scores`).
    pub score: f32,
}

/// Decodes every encoded source: for each, `num_return_sequences` sequences, of beams the best one first.
///
/// `sources` are the ids that were encoded, `deltas` those of the sources' rows; they follow the rows by [`Deltas::select`].
/// What a source gives does not depend on the others, but for the rounding of another batch shape.
///
/// # Errors
/// If the settings cannot be used, or a step cannot choose.
pub fn generate(
    model: &T5,
    encoded: &Encoded,
    sources: &[Vec<u32>],
    settings: &DecodeSettings,
    deltas: &dyn Deltas,
) -> Result<Vec<Vec<Generated>>> {
    settings.check(model.vocab())?;
    let settings = Arc::new(settings.clone());
    let capacity = settings.max_new_tokens.min(FIRST_CAPACITY);
    let mut cache: Cache = model.start(encoded, capacity, deltas);
    if cache.rows() != sources.len() {
        let what = format!("{} sources for {} encoded rows: give the ids of each", sources.len(), cache.rows());
        return Err(Error::Input(what));
    }
    let mut all: Vec<_> = sources.iter().map(|ids| Sequences::new(Arc::clone(&settings), ids.clone())).collect();
    let mut made = vec![vec![unfinished(); settings.num_return_sequences]; sources.len()];
    let mut of: Vec<usize> = (0..sources.len()).collect(); // the source of each row
    let mut selected: Option<Box<dyn Deltas>> = None;
    while !of.is_empty() {
        if cache.lengths().iter().any(|length| *length == cache.capacity()) {
            cache.reserve((2 * cache.capacity()).min(settings.max_new_tokens));
        }
        let latest: Vec<u32> = all.iter().flat_map(Sequences::latest).collect();
        let logits = model.step(&latest, &mut cache, selected.as_deref().unwrap_or(deltas)); // [rows, vocab]
        let logits = logits.try_into_vec_as::<f32>().map_err(|error| Error::Input(error.to_string()))?;
        let steps = advance(&mut all, &logits, model.vocab());
        let (mut parents, mut next) = (Vec::with_capacity(of.len()), Vec::with_capacity(of.len()));
        let mut first = 0;
        for (source, (rows, step)) in steps.into_iter().enumerate() {
            let Advance { made: tokens, finished } = step.map_err(|error| Error::Input(error.to_string()))?;
            for token in tokens {
                let found = &mut made[source][token.sequence];
                found.ids.push(token.token.id);
                found.logprobs.push(token.token.logprob);
                found.top.push(token.token.top);
            }
            for end in finished {
                let found = &mut made[source][end.sequence];
                (found.ended, found.score) = (end.reason, end.score);
            }
            let kept = all[source].take_parents();
            next.extend(kept.iter().map(|_| source));
            parents.extend(kept.into_iter().map(|row| first + row));
            first += rows;
        }
        if next.is_empty() {
            break;
        }
        cache.select(&parents);
        if next != of {
            selected = deltas.select(&next);
            of = next;
        }
    }
    Ok(made)
}

fn unfinished() -> Generated {
    Generated { ids: Vec::new(), logprobs: Vec::new(), top: Vec::new(), ended: Ended::Length, score: 0.0 }
}

/// Hands each of the sequences its rows of the logits `[rows · vocab]`; gives how many rows they had, and what they made.
fn advance(
    all: &mut [Sequences],
    logits: &[f32],
    vocab: usize,
) -> Vec<(usize, std::result::Result<Advance, super::StepError>)> {
    let mut left = logits;
    let part = |sequences: &Sequences| {
        let (part, rest) = left.split_at(sequences.rows() * vocab);
        left = rest;
        part
    };
    let parts: Vec<&[f32]> = all.iter().map(part).collect();
    let step = |(sequences, logits): (&mut Sequences, &[f32])| match sequences.rows() {
        0 => (0, Ok(Advance::default())),
        rows => (rows, sequences.advance(logits)),
    };
    all.par_iter_mut().zip(parts).map(step).collect()
}
