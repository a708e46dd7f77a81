//! What is made of one source: the state machine that a decoding loop drives.

use super::DecodeSettings;
use super::beams::Beams;
use super::lines::Line;
use rayon::prelude::*;
use std::sync::Arc;

/// A token that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its log-probability as the model gives it, before any processor.
    pub logprob: f32,
    /// The likeliest tokens of its step with their log-probabilities, best first; `top_logprobs` of them.
    pub top: Vec<(u32, f32)>,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// An end token, which is its last.
    Stop,
    /// `max_new_tokens` were made.
    Length,
}

/// A token of one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Number of the sequence among those of its source.
    pub sequence: usize,
    /// The token.
    pub token: Token,
}

/// A sequence that has all of its tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finished {
    /// Number of the sequence among those of its source; with beams, the best one is the first.
    pub sequence: usize,
    /// Why it ended.
    pub reason: Ended,
    /// Sum of its tokens' log-probabilities; of a beam, the sum of its processed ones with the length penalty
    /// (transformers' `sequences_scores`).
    pub score: f32,
}

/// What a step has made. Tokens of beams are known at the end of the search, and then come all at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Advance {
    /// Tokens, in order for each sequence, an end token included.
    pub made: Vec<Made>,
    /// Sequences that ended with this step.
    pub finished: Vec<Finished>,
}

/// Why a step cannot choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The logits are NaN or infinite.
    #[error("the scores are not numbers: the weights overflow")]
    NotNumbers,
    /// The processors forbid every token.
    #[error("the settings forbid every token at some step: forbid or force fewer of them")]
    NothingAllowed,
}

/// The sequences of one source under way. A driver feeds [`Sequences::latest`] to the model, hands the logits to
/// [`Sequences::advance`], and lets its cache keep the rows that [`Sequences::take_parents`] names.
///
/// All sequences begin alike, so the first step takes one row for all of them.
#[derive(Debug, Clone)]
pub struct Sequences {
    settings: Arc<DecodeSettings>,
    source: Vec<u32>,
    state: State,
    /// Whether no step was made yet.
    fresh: bool,
    /// For each row of the coming step, the row of the cache that it continues.
    parents: Vec<usize>,
}

#[derive(Debug, Clone)]
enum State {
    /// Greedy, or samples; those that ended are gone.
    Lines(Vec<Line>),
    Beams(Box<Beams>),
}

impl Sequences {
    /// The beginning. The settings are those that [`DecodeSettings::check`] accepts; `source` are the encoder's ids.
    pub fn new(settings: Arc<DecodeSettings>, source: Vec<u32>) -> Self {
        let state = if settings.num_beams > 1 {
            State::Beams(Box::new(Beams::new(&settings)))
        } else {
            State::Lines((0..settings.num_return_sequences).map(|n| Line::new(n, &settings)).collect())
        };
        Self { settings, source, state, fresh: true, parents: vec![0] }
    }

    /// The settings.
    pub fn settings(&self) -> &DecodeSettings {
        &self.settings
    }

    /// Rows of the coming step; 0 at the end.
    pub fn rows(&self) -> usize {
        self.parents.len()
    }

    /// Rows that coming steps may take at most.
    pub fn rows_ahead(&self) -> usize {
        match &self.state {
            State::Lines(lines) => lines.len(),
            State::Beams(_) if self.is_done() => 0,
            State::Beams(_) => self.settings.num_beams,
        }
    }

    /// Whether nothing is left to make.
    pub fn is_done(&self) -> bool {
        self.parents.is_empty()
    }

    /// Numbers of the sequences that go on; of beams none, as theirs are known at the end.
    pub fn open(&self) -> Vec<usize> {
        match &self.state {
            State::Lines(lines) => lines.iter().map(|line| line.sequence).collect(),
            State::Beams(_) => Vec::new(),
        }
    }

    /// The token that each row of the coming step feeds to the decoder.
    pub fn latest(&self) -> Vec<u32> {
        let mut latest: Vec<u32> = match &self.state {
            State::Lines(lines) => lines.iter().filter_map(|line| line.history.last().copied()).collect(),
            State::Beams(beams) => beams.latest().collect(),
        };
        latest.truncate(self.rows());
        latest
    }

    /// Takes the logits `[rows · vocab]` of the coming step and chooses.
    ///
    /// # Errors
    /// If it cannot choose; the sequences cannot go on then.
    pub fn advance(&mut self, logits: &[f32]) -> Result<Advance, StepError> {
        let rows: Vec<&[f32]> = logits.chunks(logits.len() / self.rows()).collect();
        let fresh = std::mem::take(&mut self.fresh);
        let (settings, source) = (&*self.settings, self.source.as_slice());
        match &mut self.state {
            State::Lines(lines) => {
                let step =
                    |(at, line): (usize, &mut Line)| line.step(rows[if fresh { 0 } else { at }], settings, source);
                let tokens: Vec<_> = if lines.len() == 1 {
                    vec![step((0, &mut lines[0]))?]
                } else {
                    lines.par_iter_mut().enumerate().map(step).collect::<Result<_, _>>()?
                };
                let mut advance = Advance::default();
                let mut kept = Vec::with_capacity(lines.len());
                for ((at, line), token) in std::mem::take(lines).into_iter().enumerate().zip(tokens) {
                    let ended = ended(&token, line.made(), settings);
                    advance.made.push(Made { sequence: line.sequence, token });
                    match ended {
                        Some(reason) => {
                            advance.finished.push(Finished { sequence: line.sequence, reason, score: line.score });
                        }
                        None => {
                            kept.push(if fresh { 0 } else { at });
                            lines.push(line);
                        }
                    }
                }
                self.parents = kept;
                Ok(advance)
            }
            State::Beams(beams) => {
                let parents = beams.step(&rows, settings, source)?;
                self.parents = parents.unwrap_or_default();
                if self.parents.is_empty() { Ok(self.best_beams()) } else { Ok(Advance::default()) }
            }
        }
    }

    /// The result of a beam search that ended.
    fn best_beams(&self) -> Advance {
        let mut advance = Advance::default();
        let State::Beams(beams) = &self.state else { return advance };
        for (sequence, found) in beams.finished().iter().take(self.settings.num_return_sequences).enumerate() {
            let last = found.tokens.last().and_then(|token| ended(token, found.tokens.len(), &self.settings));
            advance.made.extend(found.tokens.iter().cloned().map(|token| Made { sequence, token }));
            let reason = last.unwrap_or(Ended::Length);
            advance.finished.push(Finished { sequence, reason, score: found.score });
        }
        advance
    }

    /// Ends a sequence early, such as at a stop text; its row leaves with the next [`Sequences::take_parents`]. Beams, which
    /// tell their tokens at the end, all end with any of them.
    pub fn stop(&mut self, sequence: usize) {
        match &mut self.state {
            State::Lines(lines) => {
                let Some(at) = lines.iter().position(|line| line.sequence == sequence) else { return };
                lines.remove(at);
                if !self.fresh || lines.is_empty() {
                    self.parents.remove(at.min(self.parents.len() - 1));
                }
            }
            State::Beams(_) => self.parents.clear(),
        }
    }

    /// For each row of the coming step the row that it continues, among those of the step before, or of the last call.
    pub fn take_parents(&mut self) -> Vec<usize> {
        let same = (0..self.parents.len()).collect();
        std::mem::replace(&mut self.parents, same)
    }
}

/// Whether a token ends its sequence of `made` tokens.
fn ended(token: &Token, made: usize, settings: &DecodeSettings) -> Option<Ended> {
    if settings.eos_token_id.contains(&token.id) {
        return Some(Ended::Stop);
    }
    (made >= settings.max_new_tokens).then_some(Ended::Length)
}
