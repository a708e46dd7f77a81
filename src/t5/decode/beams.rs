//! Beam search as transformers 5.23 has it (`_beam_search`), for one source.
//!
//! Of all continuations of the running beams the best `(end tokens + 1) · num_beams` are candidates, so that `num_beams` of
//! them can go on whatever ends. A candidate that ends enters the finished sequences if it is among the first `num_beams`,
//! with its score s / lengthᵖ, p the length penalty. What must not be chosen is not removed but scored 10⁹ lower, as there,
//! so that the same is chosen where too little is left.

use super::chain::Place;
use super::lines::top_logprobs;
use super::sequences::{StepError, Token};
use super::{DecodeSettings, EarlyStopping, processors, scores};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// What is taken from the score of what must not be chosen.
const NEVER: f32 = -1e9;

/// A sequence that goes on.
#[derive(Debug, Clone)]
pub(super) struct Beam {
    /// The start token, then the tokens made.
    history: Vec<u32>,
    tokens: Vec<Token>,
    /// Sum of the processed log-probabilities.
    score: f32,
}

/// A place among the finished sequences.
#[derive(Debug, Clone)]
pub(super) struct Hypothesis {
    pub(super) tokens: Vec<Token>,
    /// With the length penalty.
    pub(super) score: f32,
    /// Whether it ended; else it only fills the place.
    ended: bool,
}

/// The search over one source.
#[derive(Debug, Clone)]
pub(super) struct Beams {
    running: Vec<Beam>,
    finished: Vec<Hypothesis>,
    /// Whether a running beam may still become better than a finished one.
    open: bool,
    random: ChaCha8Rng,
}

/// One continuation.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    beam: usize,
    id: u32,
    score: f32,
    /// Whether the sequence ends with it.
    hits: bool,
}

/// What a step looks at in one row.
struct Looked {
    /// `ln Σ exp(logits)`.
    total: f32,
    top: Vec<(u32, f32)>,
}

impl Beams {
    pub(super) fn new(settings: &DecodeSettings) -> Self {
        let beam = |number| Beam {
            history: vec![settings.decoder_start_token_id],
            tokens: Vec::new(),
            // all begin alike, so only the first one counts
            score: if number == 0 { 0.0 } else { NEVER },
        };
        let place = Hypothesis { tokens: Vec::new(), score: NEVER, ended: false };
        Self {
            running: (0..settings.num_beams).map(beam).collect(),
            finished: vec![place; settings.num_beams],
            open: true,
            random: ChaCha8Rng::seed_from_u64(settings.seed),
        }
    }

    /// The token that each beam feeds next.
    pub(super) fn latest(&self) -> impl Iterator<Item = u32> {
        self.running.iter().map(|beam| *beam.history.last().expect("the start token is there"))
    }

    /// Takes the logits of each beam, or of the one row that all share, and gives the row that each beam of the next step
    /// continues; none at the end.
    pub(super) fn step(
        &mut self,
        rows: &[&[f32]],
        settings: &DecodeSettings,
        source: &[u32],
    ) -> Result<Option<Vec<usize>>, StepError> {
        let row = |beam: usize| if rows.len() == 1 { 0 } else { beam };
        let look = |logits: &&[f32]| {
            let total = processors::log_sum_exp(logits);
            if !total.is_finite() {
                return Err(StepError::NotNumbers);
            }
            Ok(Looked { total, top: top_logprobs(logits, total, settings.top_logprobs) })
        };
        let looked: Vec<Looked> = rows.par_iter().map(look).collect::<Result<_, _>>()?;
        let beams = self.running.par_iter().enumerate();
        let accumulated = beams.map(|(number, beam)| {
            let (logits, total) = (rows[row(number)], looked[row(number)].total);
            let mut scores: Vec<f32> = logits.iter().map(|logit| logit - total).collect();
            if !settings.leaves_alone(beam.tokens.len()) {
                settings.process(&mut scores, Place { source, history: &beam.history });
            }
            scores.iter_mut().for_each(|score| *score += beam.score);
            scores
        });
        let accumulated: Vec<Vec<f32>> = accumulated.collect(); // [num_beams][vocab]
        let candidates = self.candidates(&accumulated, settings)?;
        let token = |candidate: &Candidate| {
            let (logits, looked) = (rows[row(candidate.beam)], &looked[row(candidate.beam)]);
            let logprob = logits[candidate.id as usize] - looked.total;
            Token { id: candidate.id, logprob, top: looked.top.clone() }
        };
        let length = self.running[0].history.len(); // tokens made with the one of this step
        self.finish(&candidates, length, settings, token);

        let gone_on = candidates.iter().map(|candidate| candidate.score + if candidate.hits { NEVER } else { 0.0 });
        let gone_on: Vec<f32> = gone_on.collect();
        let next = scores::top(candidates.len(), settings.num_beams, |at| gone_on[at]);
        let go_on = |(at, score): &(usize, f32)| {
            let candidate = &candidates[*at];
            let mut beam = self.running[candidate.beam].clone();
            beam.history.push(candidate.id);
            beam.tokens.push(token(candidate));
            Beam { score: *score, ..beam }
        };
        let running: Vec<Beam> = next.iter().map(go_on).collect();
        let parents: Vec<usize> = next.iter().map(|(at, _)| row(candidates[*at].beam)).collect();
        self.running = running;
        self.open &= self.can_improve(length, settings);
        let full = settings.early_stopping == EarlyStopping::Full && self.finished.iter().all(|place| place.ended);
        let done = !self.open || full || candidates.iter().all(|candidate| candidate.hits);
        Ok((!done).then_some(parents))
    }

    /// The best continuations, or as many that are drawn, in transformers' order.
    fn candidates(&mut self, accumulated: &[Vec<f32>], settings: &DecodeSettings) -> Result<Vec<Candidate>, StepError> {
        let vocab = accumulated[0].len();
        let count = (settings.eos_token_id.len() + 1).max(2) * settings.num_beams;
        let best: Vec<(usize, f32)> = if settings.do_sample {
            let flat = accumulated.concat();
            let drawn = scores::draw_several(&flat, count, &mut self.random).ok_or(StepError::NothingAllowed)?;
            drawn.into_iter().map(|at| (at, flat[at])).collect()
        } else {
            let of_beam = |(beam, scores): (usize, &Vec<f32>)| {
                let best = scores::top(vocab, count, |id| scores[id]);
                best.into_iter().map(|(id, score)| (beam * vocab + id, score)).collect::<Vec<_>>()
            };
            let all: Vec<_> = accumulated.par_iter().enumerate().flat_map_iter(of_beam).collect();
            scores::top(all.len(), count, |at| all[at].1).into_iter().map(|(at, _)| all[at]).collect()
        };
        if best.iter().all(|(_, score)| *score == f32::NEG_INFINITY) {
            return Err(StepError::NothingAllowed);
        }
        let last = self.running[0].history.len() == settings.max_new_tokens;
        let candidate = |(at, score): (usize, f32)| {
            let id = (at % vocab) as u32;
            Candidate { beam: at / vocab, id, score, hits: last || settings.eos_token_id.contains(&id) }
        };
        Ok(best.into_iter().map(candidate).collect())
    }

    /// Lets candidates that end take the places of worse finished sequences.
    fn finish(
        &mut self,
        candidates: &[Candidate],
        length: usize,
        settings: &DecodeSettings,
        token: impl Fn(&Candidate) -> Token,
    ) {
        let full = settings.early_stopping == EarlyStopping::Full && self.finished.iter().all(|place| place.ended);
        let by = penalty(length, settings);
        let score = |(at, candidate): (usize, &Candidate)| {
            let ends = candidate.hits && at < settings.num_beams;
            let mut score = candidate.score / by;
            for barred in [full, !self.open, !ends] {
                score += if barred { NEVER } else { 0.0 };
            }
            (score, ends)
        };
        let new: Vec<(f32, bool)> = candidates.iter().enumerate().map(score).collect();
        let old = self.finished.len();
        let score = |at: usize| if at < old { self.finished[at].score } else { new[at - old].0 };
        let best = scores::top(old + new.len(), settings.num_beams, score);
        let place = |(at, score): (usize, f32)| {
            if at < old {
                return self.finished[at].clone();
            }
            let candidate = &candidates[at - old];
            let mut tokens = self.running[candidate.beam].tokens.clone();
            tokens.push(token(candidate));
            Hypothesis { tokens, score, ended: new[at - old].1 }
        };
        self.finished = best.into_iter().map(place).collect();
    }

    /// Whether the best running beam may become better than the worst finished sequence (`_check_early_stop_heuristic`).
    fn can_improve(&self, length: usize, settings: &DecodeSettings) -> bool {
        let longest = settings.early_stopping == EarlyStopping::Never && settings.length_penalty > 0.0;
        let best = self.running[0].score / penalty(if longest { settings.max_new_tokens } else { length }, settings);
        let worst = self.finished.iter().map(|place| place.score).fold(f32::INFINITY, f32::min);
        self.finished.iter().any(|place| best > if place.ended { worst } else { NEVER })
    }

    /// The finished sequences, best first.
    pub(super) fn finished(&self) -> &[Hypothesis] {
        &self.finished
    }
}

/// lengthᵖ.
fn penalty(length: usize, settings: &DecodeSettings) -> f32 {
    (length as f64).powf(settings.length_penalty) as f32
}
