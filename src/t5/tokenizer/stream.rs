//! Text of a sequence that grows token by token, in parts fit to be sent: never half a character, never a change of
//! what was sent, never past a stop text.
//!
//! ```text
//! id ─► token ─► settled text ─► cleaned text ─► text before a stop text
//!       Pieces, Bytes            CleanUp         Stops
//! ```
//!
//! Each step keeps back what may still change, a few tokens or letters, and never looks at what it gave. So the work
//! for a token does not grow with the sequence, and the parts put together are [`Tokenizer::decode`] of all ids, up to
//! the first stop text. One exception: where a tokenizer.json has a decoder that turns tokens into text in a way that
//! is not known here, all text comes at the end.

use super::clean_up::{CleanUp, begun};
use super::pieces::Unsettled;
use super::utf8::Characters;
use super::{Kind, Result, Tokenizer, undecodable};

/// The text of one row as it grows. It belongs to one tokenizer, which each call is given.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    tokens: usize,
    unsettled: Unsettled,
    characters: Characters,
    clean_up: CleanUp,
    stops: Stops,
}

/// What one more token, or the end, adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPart {
    /// Text that may be sent now.
    pub text: String,
    /// Whether a stop text came, which is not part of the text: nothing may follow.
    pub stopped: bool,
}

impl TextStream {
    /// A text that ends before the first of the stop texts; empty ones are ignored.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops: Stops::new(stops), ..Self::default() }
    }

    /// Number of tokens so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The text that `id` adds, special tokens left out; empty while it is not known.
    ///
    /// # Errors
    /// If the tokenizer cannot decode.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<TextPart> {
        self.tokens += 1;
        let text = match &tokenizer.kind {
            Kind::Pieces(pieces) => pieces.push(&mut self.unsettled, id).map_err(undecodable)?,
            Kind::Bytes(bytes) => bytes.push(&mut self.characters, id, true),
        };
        let text = if tokenizer.clean_up { self.clean_up.push(text) } else { text };
        Ok(self.stops.push(text))
    }

    /// What was kept back, once no more tokens come. A stop text may be in it.
    ///
    /// # Errors
    /// If the tokenizer cannot decode.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<TextPart> {
        let text = match &tokenizer.kind {
            Kind::Pieces(pieces) => pieces.finish(&mut self.unsettled).map_err(undecodable)?,
            Kind::Bytes(_) => self.characters.finish(""),
        };
        let text = if tokenizer.clean_up { self.clean_up.push(text) + &self.clean_up.finish() } else { text };
        Ok(self.stops.finish(text))
    }
}

/// Looks for stop texts; keeps back the end of the text that one may begin with.
#[derive(Debug, Clone, Default)]
struct Stops {
    stops: Vec<String>,
    kept: String,
}

impl Stops {
    fn new(mut stops: Vec<String>) -> Self {
        stops.retain(|stop| !stop.is_empty());
        Self { stops, kept: String::new() }
    }

    fn push(&mut self, text: String) -> TextPart {
        self.kept += &text;
        if let Some(at) = self.stops.iter().filter_map(|stop| self.kept.find(stop.as_str())).min() {
            self.kept.truncate(at);
            return TextPart { text: std::mem::take(&mut self.kept), stopped: true };
        }
        let pending = self.stops.iter().map(|stop| begun(&self.kept, stop)).max().unwrap_or(0);
        let rest = self.kept.split_off(self.kept.len() - pending);
        TextPart { text: std::mem::replace(&mut self.kept, rest), stopped: false }
    }

    fn finish(&mut self, text: String) -> TextPart {
        let mut part = self.push(text);
        if !part.stopped {
            part.text += &std::mem::take(&mut self.kept);
        }
        part
    }
}
