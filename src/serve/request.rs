//! What generations and scorings have in common, and what makes either of them unservable.

use super::generation::{MOST_EVENTS, events};
use super::joining::LONG_GROUPS;
use super::{Adapter, Command, Error, Result, Settings, Shared, scoring};
use crate::structure::Shape;
use crate::t5::decoder_positions;
use std::sync::Arc;
use std::time::Instant;

/// Targets of one score request.
const MOST_TARGETS: usize = 1024;

impl Command {
    /// The adapter; none for the bare backbone.
    pub(super) fn adapter(&self) -> Option<&Arc<Adapter>> {
        match self {
            Command::Generate(generate) => generate.request.adapter.as_ref(),
            Command::Score(score) => score.request.adapter.as_ref(),
        }
    }

    /// Source token ids.
    pub(super) fn ids(&self) -> &[u32] {
        match self {
            Command::Generate(generate) => &generate.request.ids,
            Command::Score(score) => &score.request.ids,
        }
    }

    /// Rows of the decoding batch that it takes at most.
    pub(super) fn rows(&self) -> usize {
        match self {
            Command::Generate(generate) => generate.request.settings.rows(),
            Command::Score(_) => 0,
        }
    }

    /// Decoder positions that its scoring takes; the request is one that [`Command::check`] accepts.
    pub(super) fn positions(&self) -> usize {
        match self {
            Command::Generate(_) => 0,
            Command::Score(score) => decoder_positions(&score.request.targets),
        }
    }

    /// Turns that it takes at most once it has its room, where `encoded` source tokens take one, and between two of its own each other
    /// long group that joins has one, and a short one before each. `positions` are those of [`Command::positions`].
    pub(super) fn turns(&self, encoded: usize, positions: usize) -> usize {
        let joins = self.ids().len().div_ceil(encoded) + positions.div_ceil(scoring::POSITIONS);
        2 * LONG_GROUPS * joins + self.steps()
    }

    /// Steps of the decoder that it takes at most.
    pub(super) fn steps(&self) -> usize {
        match self {
            Command::Generate(generate) => generate.request.settings.max_new_tokens,
            Command::Score(_) => 0,
        }
    }

    /// Tells what is shared with other requests.
    pub(super) fn share(&self, shared: Shared) {
        match self {
            Command::Generate(generate) => generate.share(shared),
            Command::Score(score) => score.share(shared),
        }
    }

    /// Whether the client left.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Command::Generate(generate) => generate.is_abandoned(),
            Command::Score(score) => score.is_abandoned(),
        }
    }

    /// When it is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Command::Generate(generate) => generate.deadline,
            Command::Score(score) => score.deadline,
        }
    }

    /// Whether nothing is to be done for it any more: its client left, or its time is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.is_abandoned() || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Answers with an error.
    pub(super) fn fail(self, error: Error) {
        match self {
            Command::Generate(generate) => generate.fail(error),
            Command::Score(score) => score.reply(Err(error)),
        }
    }

    /// Refuses what this backbone cannot serve or the settings do not allow, so that it never reaches a batch.
    pub(super) fn check(&self, shape: &Shape, settings: &Settings) -> Result<()> {
        tokens("the input", self.ids(), settings.max_source_tokens, shape.vocab_size)?;
        match self {
            Command::Generate(generate) => {
                let (wanted, most) = (&generate.request.settings, settings.max_new_tokens);
                wanted.check(shape.vocab_size).map_err(|error| Error::Request(error.to_string()))?;
                if wanted.max_new_tokens > most {
                    let found = wanted.max_new_tokens;
                    return refuse(format!("`max_new_tokens` is {found}, the limit is {most}: ask for fewer"));
                }
                let (rows, most) = (wanted.rows(), settings.share());
                if rows > most || events(wanted) > MOST_EVENTS {
                    return refuse(format!(
                        "{rows} sequences or beams of one source (`n`, `num_beams`), the limit is {most}: ask for fewer"
                    ));
                }
            }
            Command::Score(score) => {
                let targets = &score.request.targets;
                if targets.is_empty() || targets.len() > MOST_TARGETS {
                    let found = targets.len();
                    return refuse(format!("{found} targets: give between 1 and {MOST_TARGETS}"));
                }
                for (number, target) in targets.iter().enumerate() {
                    tokens(&format!("target {number}"), target, settings.max_new_tokens, shape.vocab_size)?;
                }
            }
        }
        match self.adapter().map(|adapter| adapter.structure.check_fits(shape)) {
            Some(Err(error)) => Err(Error::Adapter(error.to_string())),
            _ => Ok(()),
        }
    }
}

fn tokens(what: &str, ids: &[u32], most: usize, vocab: usize) -> Result<()> {
    if ids.is_empty() {
        return refuse(format!("{what} has no token: give at least the end token"));
    }
    if ids.len() > most {
        return refuse(format!("{what} has {} tokens, the limit is {most}: shorten it", ids.len()));
    }
    match ids.iter().find(|id| **id as usize >= vocab) {
        Some(id) => refuse(format!("{what} holds id {id}, which is not below the vocabulary's {vocab}")),
        None => Ok(()),
    }
}

fn refuse(what: String) -> Result<()> {
    Err(Error::Request(what))
}
