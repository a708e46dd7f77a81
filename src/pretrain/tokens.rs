//! Turns passages into token streams, and keeps those on disk.
//!
//! Passages are joined without end tokens, as T5's pre-training does it (`reduce_concat_tokens`, then `split_tokens`, in its
//! preprocessors): an example may hold the end of one passage and the beginning of the next, and `</s>` stands only at the end
//! of its source and target.

use super::checkpoint::{digest, write_atomically};
use super::corpus::is_held_out;
use super::{Error, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::HashMap;
use std::path::Path;
use tokenizers::Tokenizer;

/// Token ids of one source of text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// For training.
    pub train: Vec<u32>,
    /// For measuring the loss: of one passage in 200.
    pub held_out: Vec<u32>,
}

/// Bytes of text that are tokenised together, in parallel.
const CHUNK: usize = 1 << 20;

/// Tokenises passages as they come.
#[derive(Debug)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    waiting: Vec<String>,
    bytes: usize,
    done: usize,
    tokens: Tokens,
}

impl<'a> Encoder<'a> {
    /// An encoder that has seen nothing.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, waiting: Vec::new(), bytes: 0, done: 0, tokens: Tokens::default() }
    }

    /// Takes the next passage.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn push(&mut self, passage: &str) -> Result<()> {
        self.bytes += passage.len();
        self.waiting.push(passage.to_string());
        if self.bytes >= CHUNK { self.encode() } else { Ok(()) }
    }

    /// The tokens of all passages.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn finish(mut self) -> Result<Tokens> {
        self.encode()?;
        Ok(self.tokens)
    }

    fn encode(&mut self) -> Result<()> {
        self.bytes = 0;
        let texts = std::mem::take(&mut self.waiting);
        let encoded = self.tokenizer.encode_batch_fast(texts, false);
        for encoding in encoded.map_err(|error| Error::Vocabulary(error.to_string()))? {
            let stream = if is_held_out(self.done) { &mut self.tokens.held_out } else { &mut self.tokens.train };
            stream.extend_from_slice(encoding.get_ids());
            self.done += 1;
        }
        Ok(())
    }
}

/// Writes tokens, each under a name, with a key that says what they were made from. Ids are below 65,536.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write_tokens(path: &Path, key: &str, streams: &[(&str, &Tokens)]) -> Result<()> {
    let parts = streams.iter().flat_map(|(name, tokens)| {
        [
            (format!("{name}.train"), to_le_bytes(&tokens.train)),
            (format!("{name}.held_out"), to_le_bytes(&tokens.held_out)),
        ]
    });
    let parts: Vec<(String, Vec<u8>)> = parts.collect();
    let metadata = HashMap::from([
        ("key".to_string(), key.to_string()),
        ("digest".to_string(), digest(parts.iter().map(|(_, bytes)| bytes.as_slice()))),
    ]);
    let views = parts.iter().map(|(name, bytes)| {
        (name, TensorView::new(Dtype::U16, vec![bytes.len() / 2], bytes).expect("the shape fits the bytes"))
    });
    let bytes = safetensors::serialize(views, Some(metadata)).expect("plain tensors");
    write_atomically(path, &bytes)
}

/// Reads what [`write_tokens`] wrote, in the order of `names`; nothing where there is no file.
///
/// # Errors
/// A text that says why the file does not do: it is damaged, or has another key.
pub(super) fn read_tokens(path: &Path, key: &str, names: &[&str]) -> Result<Option<Vec<Tokens>>, String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read ({error})")),
    };
    let damaged = |error: &dyn std::fmt::Display| format!("is damaged ({error})");
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(&error))?;
    let field = |name: &str| header.metadata().as_ref().and_then(|metadata| metadata.get(name));
    if field("key").map(String::as_str) != Some(key) {
        return Err("belongs to another text, vocabulary or setting".into());
    }
    let view = |name: String| match file.tensor(&name) {
        Ok(view) if view.dtype() == Dtype::U16 => Ok(view),
        Ok(_) => Err(damaged(&format!("`{name}` is not of 16 bits"))),
        Err(error) => Err(damaged(&error)),
    };
    let views = names.iter().flat_map(|name| [view(format!("{name}.train")), view(format!("{name}.held_out"))]);
    let views: Vec<TensorView<'_>> = views.collect::<Result<_, _>>()?;
    if field("digest") != Some(&digest(views.iter().map(TensorView::data))) {
        return Err(damaged(&"the digest does not fit"));
    }
    let tokens = views.as_chunks::<2>().0.iter().map(|[train, held_out]| Tokens {
        train: from_le_bytes(train.data()),
        held_out: from_le_bytes(held_out.data()),
    });
    Ok(Some(tokens.collect()))
}

fn to_le_bytes(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| (*id as u16).to_le_bytes()).collect()
}

fn from_le_bytes(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(add: u32) -> Tokens {
        Tokens { train: (add..add + 300).collect(), held_out: vec![add, 65_535] }
    }

    #[test]
    fn they_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.safetensors");
        assert_eq!(read_tokens(&path, "k", &["a"]), Ok(None));
        write_tokens(&path, "k", &[("b", &tokens(7)), ("a", &tokens(9))]).unwrap();
        assert_eq!(read_tokens(&path, "k", &["b", "a"]), Ok(Some(vec![tokens(7), tokens(9)])));
    }

    #[test]
    fn damage_and_other_keys_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.safetensors");
        write_tokens(&path, "k", &[("a", &tokens(7))]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        let cases: [(&[u8], &str, &str); 4] = [
            (&whole, "other", "another text"),
            (&whole[..whole.len() - 2], "k", "damaged"),
            (&changed, "k", "digest"),
            (b"", "k", "damaged"),
        ];
        for (bytes, key, wanted) in cases {
            std::fs::write(&path, bytes).unwrap();
            let error = read_tokens(&path, key, &["a"]).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn one_passage_in_200_is_held_out_in_chunks_too() {
        let tokenizer = Tokenizer::from_file("models/pocket-t5/tokenizer.json").unwrap();
        let mut encoder = Encoder::new(&tokenizer);
        let long = "word ".repeat(2000);
        for number in 0..1000 {
            encoder.push(if is_held_out(number) { "x" } else { &long }).unwrap();
        }
        let tokens = encoder.finish().unwrap();
        let one = tokenizer.encode_fast("x", false).unwrap().get_ids().to_vec();
        assert_eq!(tokens.held_out, one.repeat(5));
        assert_eq!(tokens.train.len(), 995 * tokenizer.encode_fast(long.as_str(), false).unwrap().len());
    }
}
