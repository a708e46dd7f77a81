//! Text to token ids and back, by a backbone's `tokenizer.json`.

use super::{Config, Error, Result};
use rayon::prelude::*;
use std::path::Path;

/// The tokenizer of a backbone: SentencePiece Unigram as the tokenizers crate reads it. Shared by threads.
///
/// Truncation and padding that a `tokenizer.json` may ask for are ignored: limits belong to the request, and batches are
/// padded by [`TokenBatch`](super::TokenBatch).
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pad: u32,
    eos: u32,
    unk: u32,
}

impl Tokenizer {
    /// Reads `DIR/tokenizer.json`.
    ///
    /// # Errors
    /// If the directory has none, or the file is no tokenizer with `<pad>`, `</s>` and `<unk>`.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|error| {
            let spiece =
                if dir.join("spiece.model").exists() { "; its spiece.model alone is not read yet" } else { "" };
            Error::Tokenizer(format!(
                "cannot read `{}`: {error}{spiece}; make the file with transformers: \
                 `T5TokenizerFast.from_pretrained(\"{dir}\").save_pretrained(\"{dir}\")`",
                path.display(),
                dir = dir.display()
            ))
        })?;
        Self::from_bytes(&path.display().to_string(), &bytes)
    }

    /// Reads the content of a `tokenizer.json`; `name` is for messages.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let wrong = |what: String| Error::Tokenizer(format!("`{name}` {what}"));
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|error| wrong(format!("is not a tokenizer that can be read ({error}): fetch it again")))?;
        inner.with_truncation(None).map_err(|error| wrong(error.to_string()))?;
        inner.with_padding(None);
        let special = |token: &str| {
            let id = inner.token_to_id(token);
            id.ok_or_else(|| wrong(format!("has no token `{token}`: it is not the tokenizer of a T5")))
        };
        let (pad, eos, unk) = (special("<pad>")?, special("</s>")?, special("<unk>")?);
        let tokenizer = Self { inner, pad, eos, unk };
        // a Unigram model without unk_id loads, and fails at the first unknown character
        tokenizer.encode("\u{10fffd}").map_err(|error| wrong(format!("has no use for unknown characters: {error}")))?;
        Ok(tokenizer)
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
        let encoded = self.inner.encode_fast(text, false);
        let encoded = encoded.map_err(|error| Error::Tokenizer(format!("the text cannot be tokenized: {error}")))?;
        let mut ids = encoded.get_ids().to_vec();
        while ids.last() == Some(&self.eos) {
            ids.pop();
        }
        ids.push(self.eos);
        Ok(ids)
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
    /// embedding has more rows than a tokenizer has tokens) give nothing.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let text = self.inner.decode(ids, skip_special);
        text.map_err(|error| Error::Tokenizer(format!("the ids cannot be turned into text: {error}")))
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
        self.inner.token_to_id(&format!("<extra_id_{n}>"))
    }

    /// One more than the greatest id of a token.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1)
    }
}

/// The text of a row that grows token by token, in parts fit to be sent: never half a character.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    ids: Vec<u32>,
    sent: usize,
}

impl TextStream {
    /// The text that `id` adds, special tokens left out; empty while a character is incomplete.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = tokenizer.decode(&self.ids, true)?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        let new = text.get(self.sent..).unwrap_or_default().to_string();
        self.sent = text.len();
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &[u8] = include_bytes!("../../tests/reference/tiny-v1.0/tokenizer.json");

    fn tiny() -> Tokenizer {
        Tokenizer::from_bytes("tiny", TINY).unwrap()
    }

    /// The tiny tokenizer with one change to its JSON.
    fn changed(change: impl FnOnce(&mut serde_json::Value)) -> Result<Tokenizer> {
        let mut json = serde_json::from_slice(TINY).unwrap();
        change(&mut json);
        Tokenizer::from_bytes("changed.json", json.to_string().as_bytes())
    }

    #[track_caller]
    fn check(text: &str, limit: usize, wanted: &str) {
        let tokenizer = tiny();
        let ids = tokenizer.encode_truncated(text, limit).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), wanted, "{ids:?}");
        assert_eq!(ids.iter().filter(|id| **id == tokenizer.eos()).count(), 1, "{ids:?}");
    }

    #[test]
    fn the_end_comes_exactly_once() {
        check("a good film", 9, "a good film</s>");
        check("a good film</s>", 9, "a good film</s>");
        check("a good film</s></s> ", 9, "a good film</s>");
        check("", 9, "</s>");
        check("</s>", 9, "</s>");
        check("a good film", 3, "a good</s>");
        check("a good film", 4, "a good film</s>");
        check("a good film</s>", 4, "a good film</s>");
        check("a good film", 1, "</s>");
        check("a good film", 0, "</s>");
    }

    #[test]
    fn special_tokens_are_known_and_can_be_left_out() {
        let tokenizer = tiny();
        assert_eq!((tokenizer.pad(), tokenizer.eos(), tokenizer.unk()), (0, 1, 2));
        let ids = tokenizer.encode("the <extra_id_0> was☃ not <extra_id_7>").unwrap();
        assert!(ids.contains(&tokenizer.sentinel(0).unwrap()) && ids.contains(&tokenizer.unk()), "{ids:?}");
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), "the was not");
        assert_eq!(tokenizer.sentinel(0).unwrap() as usize, tokenizer.vocab_size() - 1);
        assert_eq!(tokenizer.sentinel(8), None);
        assert_eq!(tokenizer.decode(&[95, 4000], false).unwrap(), "");
    }

    #[test]
    fn a_batch_equals_its_texts_from_many_threads() {
        let tokenizer = tiny();
        let texts: Vec<_> = (0..200).map(|i| format!("the plot of film {i} is not bad")).collect();
        let alone: Vec<_> = texts.iter().map(|text| tokenizer.encode_truncated(text, 7).unwrap()).collect();
        assert_eq!(tokenizer.encode_batch(&texts, 7).unwrap(), alone);
    }

    #[test]
    fn parts_of_a_stream_make_up_the_text() {
        let tokenizer = tiny();
        let ids = tokenizer.encode("the film's plot was very dull, and not good.").unwrap();
        let mut stream = TextStream::default();
        let parts: Vec<_> = ids.iter().map(|id| stream.push(&tokenizer, *id).unwrap()).collect();
        assert_eq!(parts.concat(), tokenizer.decode(&ids, true).unwrap());
        assert!(parts[0] == "the" && parts[1] == " film", "{parts:?}");
    }

    #[test]
    fn limits_of_the_file_are_ignored() {
        let limited = changed(|json| {
            json["truncation"] = serde_json::json!(
                {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
            json["padding"] = serde_json::json!({"strategy": {"Fixed": 32}, "direction": "Right",
                "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"});
        });
        let text = "the plot is not bad";
        assert_eq!(limited.unwrap().encode(text).unwrap(), tiny().encode(text).unwrap());
    }

    #[track_caller]
    fn check_refused(tokenizer: Result<Tokenizer>, wanted: &[&str]) {
        let message = tokenizer.unwrap_err().to_string();
        assert!(wanted.iter().all(|part| message.contains(part)), "{message}");
    }

    #[test]
    fn unusable_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display().to_string();
        check_refused(Tokenizer::open(dir.path()), &[&at, "tokenizer.json", "save_pretrained"]);
        std::fs::write(dir.path().join("spiece.model"), "").unwrap();
        check_refused(Tokenizer::open(dir.path()), &[&at, "spiece.model alone is not read yet"]);
        std::fs::write(dir.path().join("tokenizer.json"), &TINY[..2000]).unwrap();
        check_refused(Tokenizer::open(dir.path()), &[&at, "not a tokenizer that can be read"]);
        let no_pad = changed(|json| {
            json["model"]["vocab"][0][0] = "<nothing>".into();
            json["added_tokens"][0]["content"] = "<nothing>".into();
        });
        check_refused(no_pad, &["changed.json", "`<pad>`"]);
        let no_unk = changed(|json| json["model"]["unk_id"] = serde_json::Value::Null);
        check_refused(no_unk, &["changed.json", "unknown characters"]);
    }

    #[test]
    fn a_tokenizer_of_another_backbone_is_refused() {
        let text = include_str!("../../tests/reference/tiny-v1.0/config.json");
        let config = Config::parse(text, Path::new("config.json")).unwrap();
        tiny().check(&config).unwrap();
        let message = |config| tiny().check(&config).unwrap_err().to_string();
        let small = message(Config { vocab_size: 50, ..config.clone() });
        assert!(small.contains("only 50 rows"), "{small}");
        let other_end = message(Config { eos: 2, ..config });
        assert!(other_end.contains("eos_token_id is 2"), "{other_end}");
    }
}
