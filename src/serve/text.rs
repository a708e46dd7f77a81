//! The backbone's tokenizer as the handle wants it.

use super::{Error, Result, Tokenize};
use crate::t5::{Backbone, TextPart, TextStream, Tokenizer};

/// A backbone's tokenizer, or why it has none: the engine serves ids all the same.
#[derive(Debug)]
pub struct Text(std::result::Result<Tokenizer, String>);

impl Text {
    /// The tokenizer of a backbone.
    pub fn of(backbone: &Backbone) -> Self {
        Self(backbone.tokenizer().cloned().map_err(|error| error.to_string()))
    }

    fn tokenizer(&self) -> Result<&Tokenizer> {
        self.0.as_ref().map_err(|why| Error::Request(why.clone()))
    }
}

impl From<Tokenizer> for Text {
    fn from(tokenizer: Tokenizer) -> Self {
        Self(Ok(tokenizer))
    }
}

impl Tokenize for Text {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer()?.encode(text).map_err(|error| Error::Request(error.to_string()))
    }

    fn most_characters(&self, ids: usize) -> usize {
        self.0.as_ref().map_or(usize::MAX, |tokenizer| tokenizer.most_characters(ids))
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer()?.decode(ids, true).map_err(|error| Error::Internal(error.to_string()))
    }

    fn push(&self, text: &mut TextStream, id: u32) -> Result<TextPart> {
        text.push(self.tokenizer()?, id).map_err(|error| Error::Internal(error.to_string()))
    }

    fn finish(&self, text: &mut TextStream) -> Result<TextPart> {
        text.finish(self.tokenizer()?).map_err(|error| Error::Internal(error.to_string()))
    }
}
