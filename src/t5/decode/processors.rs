//! Logits processors and warpers: each takes the scores of one row, `[vocab]`, and changes them in place.
//!
//! Each has the meaning of transformers' class that its comment names; `history` is what the decoder has read, the start
//! token first. A score of −∞ is a token that cannot be made.

/// `SequenceBiasLogitsProcessor`: adds to the score of each run's last token where the ones before it have just come.
pub fn sequence_bias(scores: &mut [f32], history: &[u32], runs: &[(Vec<u32>, f32)]) {
    for (run, bias) in runs {
        if let [before @ .., last] = run.as_slice()
            && history.ends_with(before)
        {
            scores[*last as usize] += bias;
        }
    }
}

/// `NoBadWordsLogitsProcessor`: forbids the last token of each run where the ones before it have just come; a run of an end
/// token alone is ignored.
pub fn bad_words(scores: &mut [f32], history: &[u32], runs: &[Vec<u32>], eos: &[u32]) {
    for run in runs {
        if let [before @ .., last] = run.as_slice()
            && history.ends_with(before)
            && !(before.is_empty() && eos.contains(last))
        {
            scores[*last as usize] = f32::NEG_INFINITY;
        }
    }
}

/// `RepetitionPenaltyLogitsProcessor`: s / θ of tokens in `history` where s ≥ 0, s θ below.
pub fn repetition_penalty(scores: &mut [f32], history: &[u32], penalty: f32) {
    penalise(scores, history, penalty);
}

/// `EncoderRepetitionPenaltyLogitsProcessor`: the repetition penalty of 1 / θ on the source's tokens.
pub fn encoder_repetition_penalty(scores: &mut [f32], source: &[u32], penalty: f64) {
    penalise(scores, source, (1.0 / penalty) as f32);
}

fn penalise(scores: &mut [f32], ids: &[u32], penalty: f32) {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let score = &mut scores[id as usize];
        *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
    }
}

/// OpenAI's penalties: s − presence − n · frequency of tokens that were made n times. `made` is `history` without the start.
pub fn presence_and_frequency(scores: &mut [f32], made: &[u32], presence: f32, frequency: f32) {
    for (at, id) in made.iter().enumerate() {
        let score = &mut scores[*id as usize];
        *score -= frequency;
        if !made[..at].contains(id) {
            *score -= presence;
        }
    }
}

/// `NoRepeatNGramLogitsProcessor`: forbids what would make a run of `size` tokens come again.
pub fn no_repeat_ngram(scores: &mut [f32], history: &[u32], size: usize) {
    forbid_after(scores, history, history, size);
}

/// `EncoderNoRepeatNGramLogitsProcessor`: forbids what would make a run of `size` tokens of the source.
pub fn encoder_no_repeat_ngram(scores: &mut [f32], history: &[u32], source: &[u32], size: usize) {
    forbid_after(scores, history, source, size);
}

fn forbid_after(scores: &mut [f32], history: &[u32], seen: &[u32], size: usize) {
    if history.len() + 1 < size {
        return;
    }
    let prefix = &history[history.len() + 1 - size..];
    for window in seen.windows(size) {
        if window[..size - 1] == *prefix {
            scores[window[size - 1] as usize] = f32::NEG_INFINITY;
        }
    }
}

/// `MinNewTokensLengthLogitsProcessor` while too few tokens were made, and `SuppressTokensLogitsProcessor`,
/// `SuppressTokensAtBeginLogitsProcessor`: forbids these tokens.
pub fn suppress(scores: &mut [f32], ids: &[u32]) {
    for id in ids {
        scores[*id as usize] = f32::NEG_INFINITY;
    }
}

/// `ForcedBOSTokenLogitsProcessor`, `ForcedEOSTokenLogitsProcessor`: these tokens score 0, all others are forbidden.
pub fn force(scores: &mut [f32], ids: &[u32]) {
    scores.fill(f32::NEG_INFINITY);
    for id in ids {
        scores[*id as usize] = 0.0;
    }
}

/// `TemperatureLogitsWarper`: s / T.
pub fn temperature(scores: &mut [f32], temperature: f32) {
    scores.iter_mut().for_each(|score| *score /= temperature);
}

/// `TopKLogitsWarper`: forbids what scores below the k-th best; equals of it stay.
pub fn top_k(scores: &mut [f32], k: usize) {
    let least = nth_best(scores, k);
    forbid(scores, |score, _| score < least);
}

/// `TopPLogitsWarper`: forbids the least likely tokens whose probabilities sum to at most 1 − p, but keeps the best `keep`.
pub fn top_p(scores: &mut [f32], p: f64, keep: usize) {
    let probabilities = softmax(scores);
    let most = (1.0 - p) as f32;
    // together they come to no more than `most`, so they go without being sorted
    let least = most / scores.len() as f32;
    let (surely, mut order): (Vec<usize>, Vec<usize>) =
        possible(scores).into_iter().partition(|id| probabilities[*id] < least);
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    // where those that are sorted are enough, none of the others stays
    let kept = if order.len() >= keep { f32::INFINITY } else { nth_best(scores, keep) };
    let mut sum = 0.0f64;
    for id in surely {
        sum += f64::from(probabilities[id]);
        if scores[id] < kept {
            scores[id] = f32::NEG_INFINITY;
        }
    }
    for id in &order[..order.len().saturating_sub(keep)] {
        sum += f64::from(probabilities[*id]);
        if sum as f32 > most {
            break;
        }
        scores[*id] = f32::NEG_INFINITY;
    }
}

/// `MinPLogitsWarper`: forbids what is less likely than p times the likeliest token, but keeps the best `keep`.
pub fn min_p(scores: &mut [f32], p: f64, keep: usize) {
    let probabilities = softmax(scores);
    let least = p as f32 * probabilities.iter().copied().fold(0.0, f32::max);
    let kept = nth_best(scores, keep);
    forbid(scores, |score, id| probabilities[id] < least && score < kept);
}

/// `TypicalLogitsWarper`: with H = −Σ p ln p, keeps the tokens of the least |−ln p − H| that together have the probability
/// `mass`, and `keep` of them at least.
pub fn typical(scores: &mut [f32], mass: f64, keep: usize) {
    let logs = log_softmax(scores);
    let entropy = -logs.iter().filter(|log| **log > f32::NEG_INFINITY).map(|log| log * log.exp()).sum::<f32>();
    let away: Vec<f32> = logs.iter().map(|log| (-log - entropy).abs()).collect();
    let mut order = possible(scores);
    order.sort_by(|a, b| away[*a].total_cmp(&away[*b]));
    let mut sum = 0.0f64;
    let below = order.iter().take_while(|id| {
        sum += f64::from(logs[**id].exp());
        (sum as f32) < mass as f32
    });
    let Some(farthest) = order.get(below.count().min(order.len().saturating_sub(1))).map(|id| away[*id]) else {
        return;
    };
    for id in order.iter().skip(keep) {
        if away[*id] > farthest {
            scores[*id] = f32::NEG_INFINITY;
        }
    }
}

/// `EpsilonLogitsWarper`: forbids what is less likely than ε, but keeps the best `keep`.
pub fn epsilon_cutoff(scores: &mut [f32], epsilon: f64, keep: usize) {
    let probabilities = softmax(scores);
    let kept = nth_best(scores, keep);
    forbid(scores, |score, id| probabilities[id] < epsilon as f32 && score < kept);
}

/// `EtaLogitsWarper`: forbids what is less likely than η = min(ε, √ε exp(−H)), H = −Σ p ln p, but keeps the best `keep`.
pub fn eta_cutoff(scores: &mut [f32], epsilon: f64, keep: usize) {
    let logs = log_softmax(scores);
    let entropy = -logs.iter().filter(|log| **log > f32::NEG_INFINITY).map(|log| log * log.exp()).sum::<f32>();
    let eta = (epsilon as f32).min((epsilon as f32).sqrt() * (-entropy).exp());
    let kept = nth_best(scores, keep);
    forbid(scores, |score, id| logs[id].exp() < eta && score < kept);
}

/// `ln softmax(s)`.
pub fn log_softmax(scores: &[f32]) -> Vec<f32> {
    let total = log_sum_exp(scores);
    scores.iter().map(|score| score - total).collect()
}

/// `ln Σ exp(s)`; not a finite number where a score is NaN or +∞, or all are −∞.
pub fn log_sum_exp(scores: &[f32]) -> f32 {
    super::super::kernels::log_sum_exp(scores)
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let mut values = log_softmax(scores);
    values.iter_mut().for_each(|value| *value = value.exp());
    values
}

/// The `n`-th greatest score, counted from 1; the least one where there are fewer.
fn nth_best(scores: &[f32], n: usize) -> f32 {
    let mut scores = scores.to_vec();
    let at = n.clamp(1, scores.len()) - 1;
    *scores.select_nth_unstable_by(at, |a, b| b.total_cmp(a)).1
}

/// Ids of the tokens that can be made.
fn possible(scores: &[f32]) -> Vec<usize> {
    (0..scores.len()).filter(|id| scores[*id] > f32::NEG_INFINITY).collect()
}

fn forbid(scores: &mut [f32], out: impl Fn(f32, usize) -> bool) {
    for (id, score) in scores.iter_mut().enumerate() {
        if out(*score, id) {
            *score = f32::NEG_INFINITY;
        }
    }
}
