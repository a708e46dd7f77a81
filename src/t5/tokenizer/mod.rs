//! Text to token ids and back: SentencePiece's pieces, or bytes.
//!
//! [`Tokenizer::open`] takes what a backbone's directory has. Ids and texts are those of transformers 5, but for two
//! things: `</s>` ends a text exactly once, and a tokenizer.json with a pipeline of its own is followed to the letter,
//! of which transformers' `T5Tokenizer` would take the pieces alone.

mod bytes;
mod clean_up;
mod pieces;
mod settings;
mod spiece;
mod stream;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
mod utf8;

pub use stream::{TextPart, TextStream};

use super::{Config, Error, Result};
use bytes::Bytes;
use pieces::Pieces;
use rayon::prelude::*;
use settings::Settings;
use spiece::Spiece;
use std::{path::Path, sync::Arc};

/// The tokenizer of a backbone. Cheap to clone, shared by threads.
///
/// Truncation and padding that a tokenizer.json may ask for are ignored: limits belong to the request, and batches are
/// padded by [`TokenBatch`](super::TokenBatch).
#[derive(Debug, Clone)]
pub struct Tokenizer {
    kind: Kind,
    pad: u32,
    eos: u32,
    unk: u32,
    vocab_size: usize,
    /// Characters of the longest token.
    longest: usize,
    /// Whether decoded text loses the spaces before punctuation.
    clean_up: bool,
}

#[derive(Debug, Clone)]
enum Kind {
    Pieces(Arc<Pieces>),
    Bytes(Arc<Bytes>),
}

impl Tokenizer {
    /// Opens the tokenizer of a Hugging Face directory: tokenizer.json; else spiece.model; else bytes, if
    /// tokenizer_config.json or config.json says that it is a `ByT5Tokenizer`, which has no vocabulary file.
    ///
    /// # Errors
    /// If the directory has none of these, or the file is no tokenizer with `<pad>`, `</s>` and `<unk>`.
    pub fn open(dir: &Path) -> Result<Self> {
        let settings = Settings::read(dir)?;
        let (json, spiece) = (dir.join("tokenizer.json"), dir.join("spiece.model"));
        if json.exists() {
            let named = Named(json.display().to_string());
            let mut pieces = Pieces::from_json(&named.read(&json)?).map_err(|error| named.unreadable(error))?;
            if settings.says_t5() {
                pieces.follow_t5();
            }
            return Self::of_pieces(&named, pieces, settings.clean_up);
        }
        if spiece.exists() {
            let named = Named(spiece.display().to_string());
            let model = Spiece::parse(&named.read(&spiece)?).map_err(|what| named.wrong(what))?;
            let pieces = Pieces::from_spiece(model, &settings).map_err(|error| named.wrong(error.to_string()))?;
            return Self::of_pieces(&named, pieces, settings.clean_up);
        }
        if settings.says_bytes() {
            return Ok(Self::of_bytes(&settings));
        }
        Err(Error::Tokenizer(format!(
            "`{}` has no tokenizer: there is neither a tokenizer.json nor a spiece.model, and neither \
             tokenizer_config.json nor config.json names ByT5Tokenizer, which needs no file; copy the file from where \
             the backbone comes from",
            dir.display()
        )))
    }

    /// Reads the content of a tokenizer.json; `name` is for messages.
    ///
    /// # Errors
    /// If it is no tokenizer with `<pad>`, `</s>` and `<unk>`.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let named = Named(name.into());
        let pieces = Pieces::from_json(bytes).map_err(|error| named.unreadable(error))?;
        Self::of_pieces(&named, pieces, false)
    }

    /// ByT5's tokenizer, as it is without any file: 259 ids for specials and bytes, 125 sentinels.
    pub fn bytes() -> Self {
        Self::of_bytes(&Settings::default())
    }

    fn of_pieces(named: &Named, pieces: Pieces, clean_up: bool) -> Result<Self> {
        let special = |token: &str| {
            let id = pieces.inner.token_to_id(token);
            id.ok_or_else(|| named.wrong(format!("has no token `{token}`: it is not the tokenizer of a T5")))
        };
        let vocabulary = pieces.inner.get_vocab(true);
        let tokenizer = Self {
            pad: special("<pad>")?,
            eos: special("</s>")?,
            unk: special("<unk>")?,
            vocab_size: vocabulary.values().max().map_or(0, |id| *id as usize + 1),
            longest: vocabulary.keys().map(|token| token.chars().count()).max().unwrap_or(1),
            clean_up: clean_up && !pieces.is_bpe(),
            kind: Kind::Pieces(Arc::new(pieces)),
        };
        // a Unigram model without unk_id loads, and fails at the first unknown character
        let unknown = tokenizer.encode("\u{10fffd}");
        unknown.map_err(|error| named.wrong(format!("has no use for unknown characters: {error}")))?;
        Ok(tokenizer)
    }

    fn of_bytes(settings: &Settings) -> Self {
        let bytes = Bytes::new(settings);
        let vocab_size = bytes.vocab_size();
        let (kind, longest) = (Kind::Bytes(Arc::new(bytes)), "<extra_id_124>".len());
        Self { kind, pad: 0, eos: 1, unk: 2, vocab_size, longest, clean_up: settings.clean_up }
    }

    /// Checks that the backbone knows every id and means the same by pad and end.
    pub fn check(&self, config: &Config) -> Result<()> {
        if self.vocab_size() > config.vocab_size {
            return Err(Error::Tokenizer(format!(
                "the tokenizer has {} tokens, the backbone's embedding only {} rows: they do not belong together",
                self.vocab_size(),
                config.vocab_size
            )));
        }
        for (token, id, field, wanted) in
            [("<pad>", self.pad, "pad_token_id", config.pad), ("</s>", self.eos, "eos_token_id", config.eos)]
        {
            if id != wanted {
                return Err(Error::Tokenizer(format!(
                    "the tokenizer's `{token}` is id {id}, but config.json's {field} is {wanted}"
                )));
            }
        }
        Ok(())
    }

    /// The ids of a text, `</s>` at their end exactly once, also where the text ends with it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = match &self.kind {
            Kind::Bytes(bytes) => bytes.encode(text),
            Kind::Pieces(pieces) => {
                let encoded = pieces.inner.encode_fast(text, false);
                let wrong = |error| Error::Tokenizer(format!("the text cannot be tokenized: {error}"));
                encoded.map_err(wrong)?.get_ids().to_vec()
            }
        };
        while ids.last() == Some(&self.eos) {
            ids.pop();
        }
        ids.push(self.eos);
        Ok(ids)
    }

    /// Characters, white space aside, of the longest text that may be read where so many ids are allowed: four times what these may
    /// stand for, as normalization joins some characters. A longer one need not be tokenized to be refused.
    pub fn most_characters(&self, ids: usize) -> usize {
        ids.saturating_mul(self.longest).saturating_mul(4)
    }

    /// At most `limit` ids (at least 1) of a text: the first ones and `</s>`.
    pub fn encode_truncated(&self, text: &str, limit: usize) -> Result<Vec<u32>> {
        let mut ids = self.encode(text)?;
        if ids.len() > limit {
            ids.truncate(limit.max(1));
            *ids.last_mut().expect("one id at least") = self.eos;
        }
        Ok(ids)
    }

    /// [`Tokenizer::encode_truncated`] of many texts, in parallel and in their order.
    pub fn encode_batch<S: AsRef<str> + Sync>(&self, texts: &[S], limit: usize) -> Result<Vec<Vec<u32>>> {
        texts.par_iter().map(|text| self.encode_truncated(text.as_ref(), limit)).collect()
    }

    /// The text of ids; `skip_special` leaves out `<pad>`, `</s>`, `<unk>` and sentinels. Ids without a token (an
    /// embedding has more rows than a tokenizer has tokens) and bytes that make no character give nothing.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let text = match &self.kind {
            Kind::Bytes(bytes) => bytes.decode(ids, skip_special),
            Kind::Pieces(pieces) => pieces.inner.decode(ids, skip_special).map_err(undecodable)?,
        };
        Ok(if self.clean_up { clean_up::clean_up(text) } else { text })
    }

    /// The id of padding.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The id of `</s>`, which ends every text.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The id of what the vocabulary lacks.
    pub fn unk(&self) -> u32 {
        self.unk
    }

    /// The id of `<extra_id_n>`, which stands for the n-th masked span in pre-training.
    pub fn sentinel(&self, n: usize) -> Option<u32> {
        let token = format!("<extra_id_{n}>");
        match &self.kind {
            Kind::Bytes(bytes) => bytes.id(&token),
            Kind::Pieces(pieces) => pieces.inner.token_to_id(&token),
        }
    }

    /// `pieces`, or `bytes` of a ByT5.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Pieces(_) => "pieces",
            Kind::Bytes(_) => "bytes",
        }
    }

    /// One more than the greatest id of a token.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

/// A file's name, for messages about it.
struct Named(String);

impl Named {
    fn wrong(&self, what: String) -> Error {
        Error::Tokenizer(format!("`{}` {what}", self.0))
    }

    fn unreadable(&self, error: tokenizers::Error) -> Error {
        self.wrong(format!("is not a tokenizer that can be read ({error}): fetch it again"))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        std::fs::read(path).map_err(|error| self.wrong(format!("cannot be read: {error}")))
    }
}

fn undecodable(error: tokenizers::Error) -> Error {
    Error::Tokenizer(format!("the ids cannot be turned into text: {error}"))
}
