//! Greedy decoding over the cache.

use super::{Cache, Config, Deltas, Encoded, Error, Result, T5};

/// When greedy decoding ends.
#[derive(Debug, Clone, Copy)]
pub struct GreedyOptions {
    /// Tokens at most, the end token included.
    pub max_new_tokens: usize,
    /// Tokens at least: until then the end token is not chosen.
    pub min_new_tokens: usize,
}

/// What one row produced.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The ids without the start token, ending with the end token if it came.
    pub ids: Vec<u32>,
    /// Sum of the tokens' log-probabilities.
    pub score: f32,
}

/// Decodes every row greedily. An ended row is fed padding until the last one ends.
pub fn generate_greedy(
    model: &T5,
    config: &Config,
    encoded: &Encoded,
    options: GreedyOptions,
    deltas: &dyn Deltas,
) -> Result<Vec<Generated>> {
    if options.max_new_tokens == 0 {
        return Err(Error::Input("max_new_tokens is 0: ask for at least 1".into()));
    }
    let mut cache: Cache = model.start(encoded, options.max_new_tokens, deltas);
    let mut rows = vec![Generated { ids: Vec::new(), score: 0.0 }; cache.rows()];
    let mut latest = vec![config.start; rows.len()];
    for step in 0..options.max_new_tokens {
        let logits = model.step(&latest, &mut cache, deltas);
        let vocab = logits.dims()[1];
        let logits = logits.try_into_vec_as::<f32>().map_err(|error| Error::Input(error.to_string()))?;
        let mut running = false;
        for (row, logits) in logits.chunks(vocab).enumerate() {
            if rows[row].ids.last() == Some(&config.eos) {
                latest[row] = config.pad;
                continue;
            }
            let banned = (step < options.min_new_tokens).then_some(config.eos);
            let (id, log_probability) = best(logits, banned);
            rows[row].ids.push(id);
            rows[row].score += log_probability;
            latest[row] = id;
            running |= id != config.eos;
        }
        if !running {
            break;
        }
    }
    Ok(rows)
}

/// The id of the greatest logit, the first on a tie, with its log-probability over all ids.
pub(crate) fn best(logits: &[f32], banned: Option<u32>) -> (u32, f32) {
    let mut id = 0;
    let mut greatest = f32::NEG_INFINITY;
    for (candidate, logit) in logits.iter().enumerate() {
        if *logit > greatest && banned != Some(candidate as u32) {
            (id, greatest) = (candidate, *logit);
        }
    }
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - highest).exp()).sum();
    (id as u32, greatest - highest - sum.ln())
}
