//! A vocabulary of pieces as the tokenizers crate runs it, from tokenizer.json or from SentencePiece's model.

use super::settings::Settings;
use super::spiece::{PieceKind, Spiece};
use super::utf8::Characters;
use serde_json::Value;
use tokenizers::{
    AddedToken, Decoder, DecoderWrapper, ModelWrapper, NormalizerWrapper, Tokenizer,
    models::unigram::Unigram,
    normalizers::precompiled::Precompiled,
    pre_tokenizers::{
        metaspace::{Metaspace, PrependScheme},
        sequence::Sequence,
        whitespace::WhitespaceSplit,
    },
};

/// The crate's way to say what is wrong.
type Crate<T> = tokenizers::Result<T>;

/// Sentinels where tokenizer_config.json says nothing, as transformers' `T5Tokenizer` has them.
const SENTINELS: usize = 100;
/// A token in front of others, so that they are decoded as the ones that follow.
const ANCHOR: &str = "a";

/// A tokenizer of pieces.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) inner: Tokenizer,
    settles: Settles,
}

/// When the text of a token no longer depends on what follows it. Found from the decoder.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Settles {
    /// At once: the decoder turns each token into text by itself, but for the first one.
    AtOnce,
    /// At the next token that is no byte: bytes `<0xHH>` in a row are a text if all of them together are, and otherwise
    /// one U+FFFD each.
    BehindBytes,
    /// As soon as its characters are complete: tokens are bytes, written as GPT-2 does.
    AsCharacters,
    /// At the end of the sequence, for all that is known of the decoder.
    AtTheEnd,
}

/// Tokens whose text is not settled, and whether any was before.
#[derive(Debug, Clone, Default)]
pub(super) struct Unsettled {
    tokens: Vec<String>,
    characters: Characters,
    begun: bool,
}

impl Pieces {
    /// Reads a tokenizer.json. Its limits are ignored: they belong to the request, and batches are padded by
    /// [`TokenBatch`](crate::t5::TokenBatch).
    pub(super) fn from_json(bytes: &[u8]) -> Crate<Self> {
        let mut inner = Tokenizer::from_bytes(bytes)?;
        inner.with_truncation(None)?;
        inner.with_padding(None);
        Ok(Self::new(inner))
    }

    /// A SentencePiece model as transformers' `T5Tokenizer` takes it: its pieces, sentinels behind them, and behind
    /// these what the model lacks of end, unknown and padding. A fall-back to bytes is not followed: what the pieces do
    /// not cover is `<unk>`.
    pub(super) fn from_spiece(model: Spiece, settings: &Settings) -> Crate<Self> {
        let sentinels: Vec<_> =
            (0..settings.extra_ids.unwrap_or(SENTINELS)).map(|n| format!("<extra_id_{n}>")).collect();
        let mut vocabulary: Vec<_> = model.pieces.iter().map(|p| (p.text.clone(), f64::from(p.score))).collect();
        for sentinel in sentinels.iter().rev() {
            if !model.pieces.iter().any(|piece| piece.text == *sentinel) {
                vocabulary.push((sentinel.clone(), 0.0));
            }
        }
        let mut inner = Tokenizer::new(Unigram::from(vocabulary, Some(model.unk), false)?);
        if !model.charsmap.is_empty() {
            let table = Precompiled::from(&model.charsmap).map_err(|error| error.to_string())?;
            inner.with_normalizer(Some(table))?;
        }
        as_t5(&mut inner);
        inner.add_tokens(settings.added.values().cloned().collect::<Vec<_>>())?;
        if let Some((id, token)) =
            settings.added.iter().find(|(id, token)| inner.token_to_id(&token.content) != Some(**id))
        {
            return Err(format!(
                "gives no id {id} to `{}`, as tokenizer_config.json or added_tokens.json says",
                token.content
            )
            .into());
        }
        let own = model.pieces.iter().filter_map(|piece| match piece.kind {
            PieceKind::Control => Some(AddedToken::from(piece.text.clone(), true)),
            PieceKind::UserDefined => Some(AddedToken::from(piece.text.clone(), false).normalized(false)),
            PieceKind::Plain | PieceKind::Unknown => None,
        });
        let named = ["</s>", "<unk>", "<pad>"].map(|name| AddedToken::from(name, true));
        let sentinels = sentinels.into_iter().map(|sentinel| AddedToken::from(sentinel, true));
        let more = named.into_iter().chain(settings.special.iter().cloned()).chain(own).chain(sentinels);
        let known = |token: &AddedToken| settings.added.values().any(|added| added.content == token.content);
        inner.add_tokens(more.filter(|token| !known(token)).collect::<Vec<_>>())?;
        Ok(Self::new(inner))
    }

    fn new(inner: Tokenizer) -> Self {
        let settles = settles(inner.get_decoder());
        Self { inner, settles }
    }

    /// Gives what transformers made of a SentencePiece model the pipeline that its `T5Tokenizer` has today, whatever
    /// its tokenizer.json says. Files with a normalizer or a fall-back to bytes of their own are left as they are.
    pub(super) fn follow_t5(&mut self) {
        let converted = match self.inner.get_normalizer() {
            None => true,
            Some(NormalizerWrapper::Sequence(all)) => all.as_ref().iter().all(converted),
            Some(one) => converted(one),
        };
        if converted && matches!(self.inner.get_model(), ModelWrapper::Unigram(model) if !model.byte_fallback()) {
            as_t5(&mut self.inner);
            self.settles = settles(self.inner.get_decoder());
        }
    }

    /// Whether the model merges pairs, for which transformers does not clean decoded text up.
    pub(super) fn is_bpe(&self) -> bool {
        matches!(self.inner.get_model(), ModelWrapper::BPE(_))
    }

    /// The text that `id` settles, special tokens left out.
    pub(super) fn push(&self, unsettled: &mut Unsettled, id: u32) -> Crate<String> {
        let special = |token: &String| self.inner.get_added_vocabulary().is_special_token(token);
        let Some(token) = self.inner.id_to_token(id).filter(|token| !special(token)) else { return Ok(String::new()) };
        match self.settles {
            Settles::AsCharacters => return Ok(unsettled.characters.push(&gpt2_bytes(&token), "\u{fffd}")),
            Settles::AtOnce => unsettled.tokens.push(token),
            Settles::AtTheEnd => {
                unsettled.tokens.push(token);
                return Ok(String::new());
            }
            Settles::BehindBytes => {
                let byte = is_byte(&token);
                unsettled.tokens.push(token);
                if byte {
                    return Ok(String::new());
                }
            }
        }
        self.settle(unsettled)
    }

    /// The text of what is left when no more tokens come.
    pub(super) fn finish(&self, unsettled: &mut Unsettled) -> Crate<String> {
        Ok(self.settle(unsettled)? + &unsettled.characters.finish("\u{fffd}"))
    }

    fn settle(&self, unsettled: &mut Unsettled) -> Crate<String> {
        let mut tokens = std::mem::take(&mut unsettled.tokens);
        if tokens.is_empty() {
            return Ok(String::new());
        }
        let begun = std::mem::replace(&mut unsettled.begun, true);
        if !begun {
            return decode(self.inner.get_decoder(), tokens);
        }
        tokens.insert(0, ANCHOR.into());
        let text = decode(self.inner.get_decoder(), tokens)?;
        Ok(text.strip_prefix(ANCHOR).unwrap_or(&text).to_string())
    }
}

/// The pipeline of transformers' `T5Tokenizer` behind its normalizer.
fn as_t5(inner: &mut Tokenizer) {
    let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
    inner.with_pre_tokenizer(Some(Sequence::new(vec![WhitespaceSplit.into(), metaspace.clone().into()])));
    inner.with_decoder(Some(metaspace));
}

/// Whether a normalizer is one of those that transformers' conversions of SentencePiece models have. All but the table
/// are about spaces at the end and spaces in a row, where words are split anyway.
fn converted(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Precompiled(_) | NormalizerWrapper::StripNormalizer(_) => true,
        NormalizerWrapper::Replace(_) => {
            let spaces = serde_json::json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"});
            serde_json::to_value(normalizer).is_ok_and(|value| value == spaces)
        }
        _ => false,
    }
}

fn decode(decoder: Option<&DecoderWrapper>, tokens: Vec<String>) -> Crate<String> {
    match decoder {
        Some(decoder) => decoder.decode(tokens),
        None => Ok(tokens.join(" ")),
    }
}

/// Reads from a decoder's JSON when it settles a token's text.
fn settles(decoder: Option<&DecoderWrapper>) -> Settles {
    let Some(decoder) = decoder else { return Settles::AtOnce };
    let value = serde_json::to_value(decoder).unwrap_or_default();
    let steps = match &value["decoders"] {
        Value::Array(steps) => steps.as_slice(),
        _ => std::slice::from_ref(&value),
    };
    if steps.len() == 1 && steps[0]["type"] == "ByteLevel" {
        return Settles::AsCharacters;
    }
    let (mut settles, mut fused) = (Settles::AtOnce, false);
    for step in steps {
        let known = match step["type"].as_str().unwrap_or_default() {
            "Metaspace" | "WordPiece" => !fused,
            // bytes are to be seen as they stand in the vocabulary
            "Replace" => !fused && step["pattern"]["String"] == "▁",
            "ByteFallback" => {
                settles = Settles::BehindBytes;
                !fused
            }
            "Fuse" => {
                fused = true;
                true
            }
            // of the whole text, or of each token; only the first letter of the text is known to be its first
            "Strip" => step["stop"] == 0 && (!fused || step["start"] == 1 || step["start"] == 0),
            _ => false,
        };
        if !known {
            return Settles::AtTheEnd;
        }
    }
    let anchor = decode(Some(decoder), vec![ANCHOR.into()]);
    if anchor.is_ok_and(|text| text == ANCHOR) { settles } else { Settles::AtTheEnd }
}

/// Whether the decoder `ByteFallback` takes a token for a byte.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// The bytes of a token of a byte-level vocabulary: printable Latin-1 stands for itself, the other bytes are U+0100 and
/// what follows, in their order. A token with any other character is itself.
fn gpt2_bytes(token: &str) -> Vec<u8> {
    let printable = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let byte = |c: char| match u8::try_from(c) {
        Ok(byte) => printable(&byte).then_some(byte),
        Err(_) => (0..=255).filter(|byte| !printable(byte)).nth((u32::from(c) - 0x100) as usize),
    };
    token.chars().map(byte).collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec())
}
