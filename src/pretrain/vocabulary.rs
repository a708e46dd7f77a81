//! Trains a Unigram vocabulary, or reads one.
//!
//! The pipeline is T5's (NFKC, one space between words, `▁` before each word, `</s>` at the end) with byte fallback. Ids are
//! laid out as in T5: padding 0, end 1, unknown 2, bytes, pieces, and the sentinels last, `<extra_id_0>` the highest.

use super::config::{SPECIAL, VocabularyConfig};
use super::{Error, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::{NormalizedString, Normalizer, Tokenizer};

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Vocabulary(error.to_string())
}

/// Trains a vocabulary on passages; words with rare characters do not count.
///
/// The trainer sums in parallel, so that scores may differ in their last bits from one run to the next; a run that resumes
/// reads the vocabulary of the first.
///
/// # Errors
/// If the text is too little for `config.size` pieces.
pub fn train_vocabulary<'a>(
    passages: impl IntoIterator<Item = &'a String>,
    config: &VocabularyConfig,
) -> Result<Tokenizer> {
    let words = count_words(passages, config)?;
    let reserved = SPECIAL + config.sentinels + if config.byte_fallback { 256 } else { 0 };
    let wanted = config.size - reserved;
    let trainer = UnigramTrainer::builder().show_progress(false).vocab_size(wanted as u32).build().map_err(failed)?;
    let mut model = Unigram::default();
    trainer.do_train(words, &mut model).map_err(failed)?;
    let mut pieces: Vec<(String, f64)> = model.iter().cloned().collect();
    if pieces.len() < wanted {
        return Err(Error::Vocabulary(format!(
            "the text gave {} pieces, vocabulary.size {} needs {wanted}: give more text or a smaller size",
            pieces.len(),
            config.size
        )));
    }
    // the trainer's tables are hashed by a random key: equal scores would come in another order each time
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    build(&pieces, config)
}

/// How often each word occurs, in order of words, as the trainer wants them. Rare words count too: the trainer's first pieces
/// are substrings that several different words have, and what is in no word but one never becomes a piece. (Measured on
/// Wikipedia, 7,901 pieces: 3.93 characters a piece; 3.61 without words seen less than 3 times.)
fn count_words<'a>(
    passages: impl IntoIterator<Item = &'a String>,
    config: &VocabularyConfig,
) -> Result<Vec<(String, u32)>> {
    let pipeline = build(&[("▁".into(), 0.0)], &VocabularyConfig { size: 0, ..config.clone() })?;
    let normalizer = pipeline.get_normalizer().expect("the pipeline has one");
    let (mut words, mut characters, mut read) = (BTreeMap::new(), BTreeMap::new(), 0);
    for passage in passages {
        let mut text = NormalizedString::from(passage.as_str());
        normalizer.normalize(&mut text).map_err(failed)?;
        for word in text.get().split(' ').filter(|word| !word.is_empty()) {
            *words.entry(word.to_string()).or_insert(0u32) += 1;
        }
        for character in text.get().chars().filter(|c| *c != ' ') {
            *characters.entry(character).or_insert(0usize) += 1;
            read += 1;
        }
    }
    let mut by_count: Vec<_> = characters.into_iter().collect();
    by_count.sort_by_key(|(character, count)| (std::cmp::Reverse(*count), *character));
    let (mut seen, enough) = (0, read as f64 * config.coverage);
    let covered: BTreeSet<char> = by_count
        .into_iter()
        .take_while(|(_, count)| {
            let take = (seen as f64) < enough;
            seen += count;
            take
        })
        .map(|(character, _)| character)
        .collect();
    let known = words.into_iter().filter(|(word, _)| word.chars().all(|c| covered.contains(&c)));
    Ok(known.map(|(word, count)| (format!("▁{word}"), count)).collect())
}

/// A tokenizer in Hugging Face's layout around trained pieces.
fn build(pieces: &[(String, f64)], config: &VocabularyConfig) -> Result<Tokenizer> {
    let mut vocabulary: Vec<(String, f64)> = ["<pad>", "</s>", "<unk>"].map(|piece| (piece.to_string(), 0.0)).into();
    if config.byte_fallback {
        vocabulary.extend((0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), 0.0)));
    }
    vocabulary.extend_from_slice(pieces);
    let sentinels = (0..config.sentinels).rev().map(|number| (format!("<extra_id_{number}>"), 0.0));
    vocabulary.extend(sentinels);
    let special = |id: usize| {
        json!({
            "id": id, "content": vocabulary[id].0, "single_word": false, "lstrip": id >= SPECIAL, "rstrip": id >= SPECIAL,
            "normalized": false, "special": true,
        })
    };
    let first_sentinel = vocabulary.len() - config.sentinels;
    let added: Vec<Value> = (0..SPECIAL).chain(first_sentinel..vocabulary.len()).map(special).collect();
    let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let end = json!({"SpecialToken": {"id": "</s>", "type_id": 0}});
    let (a, b) = (json!({"Sequence": {"id": "A", "type_id": 0}}), json!({"Sequence": {"id": "B", "type_id": 0}}));
    let document = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFKC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
            {"type": "Strip", "strip_left": true, "strip_right": true},
        ]},
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [a, end],
            "pair": [a, end, b, end],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace]},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": vocabulary, "byte_fallback": config.byte_fallback},
    });
    Tokenizer::from_bytes(document.to_string().as_bytes()).map_err(failed)
}

/// Reads a tokenizer.json whose pieces fit the settings; truncation and padding are switched off.
///
/// # Errors
/// If it cannot be read, or the pieces do not fit; the text says which.
pub fn read_vocabulary(path: &Path, config: &VocabularyConfig) -> Result<Tokenizer> {
    let wrong = |what: String| Error::Vocabulary(format!("`{}`: {what}", path.display()));
    let bytes = std::fs::read(path).map_err(Error::read(path))?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| wrong(error.to_string()))?;
    tokenizer.with_truncation(None).map_err(failed)?.with_padding(None);
    let pieces = tokenizer.get_vocab(true);
    let highest = pieces.values().max().map_or(0, |id| *id as usize + 1);
    if pieces.len() != config.size || highest != config.size {
        return Err(wrong(format!(
            "{} pieces with ids up to {}, vocabulary.size is {}: they must be equal",
            pieces.len(),
            highest.saturating_sub(1),
            config.size
        )));
    }
    let mut wanted = vec![("<pad>".to_string(), 0), ("</s>".to_string(), 1), ("<unk>".to_string(), 2)];
    wanted.extend((0..config.sentinels).map(|number| (format!("<extra_id_{number}>"), config.size - 1 - number)));
    for (piece, id) in wanted {
        match pieces.get(&piece) {
            Some(found) if *found as usize == id => {}
            Some(found) => return Err(wrong(format!("`{piece}` is {found}, it must be {id}"))),
            None => return Err(wrong(format!("no `{piece}`, which must be {id}"))),
        }
    }
    if pieces.contains_key("<0x00>") != config.byte_fallback {
        return Err(wrong(format!("vocabulary.byte_fallback is {}, that of the file is not", config.byte_fallback)));
    }
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<String> {
        let nouns = ["river", "mountain", "painter", "garden", "letter", "engine", "window", "teacher"];
        let verbs = ["follows", "describes", "finds", "repairs", "remembers", "answers", "watches"];
        let one = |i: usize| format!("The {} {} the {}, {i}.", nouns[i % 8], verbs[i % 7], nouns[(i / 3) % 8]);
        (0..400).map(one).collect()
    }

    fn config() -> VocabularyConfig {
        VocabularyConfig {
            size: 320,
            sentinels: 8,
            byte_fallback: true,
            characters: 1_000_000,
            coverage: 1.0,
            tokenizer: None,
        }
    }

    #[test]
    fn ids_are_laid_out_as_in_t5() {
        let tokenizer = train_vocabulary(&text(), &config()).unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), 320);
        let cases =
            [("<pad>", 0), ("</s>", 1), ("<unk>", 2), ("<0x00>", 3), ("<extra_id_0>", 319), ("<extra_id_7>", 312)];
        for (piece, id) in cases {
            assert_eq!(tokenizer.token_to_id(piece), Some(id), "{piece}");
        }
    }

    #[test]
    fn text_comes_back() {
        let tokenizer = train_vocabulary(&text(), &config()).unwrap();
        let cases = [
            "The river finds the garden, 3.",
            "Words it has never seen: Łódź, 東京, 🦀!",
            "tabs\tand   spaces  become one ",
            "literal <0x41 and </ s>",
        ];
        for case in cases {
            let ids = tokenizer.encode_fast(case, true).unwrap().get_ids().to_vec();
            assert_eq!(ids.last(), Some(&1), "{case}");
            assert!(!ids.contains(&2), "unknown piece in {case}");
            let wanted = case.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), wanted);
        }
    }

    #[test]
    fn sentinels_are_single_ids_within_text() {
        let tokenizer = train_vocabulary(&text(), &config()).unwrap();
        let ids = tokenizer.encode_fast("The <extra_id_0> finds", true).unwrap().get_ids().to_vec();
        assert_eq!(ids.iter().filter(|id| **id == 319).count(), 1);
        let without = tokenizer.encode_fast("finds", true).unwrap().get_ids().to_vec();
        assert!(ids.ends_with(&without), "the word after a sentinel begins anew: {ids:?}");
    }

    #[test]
    fn too_little_text_is_refused() {
        let error = train_vocabulary(&["one word".to_string()], &config()).unwrap_err().to_string();
        assert!(error.contains("more text"), "{error}");
    }
    #[test]
    fn a_vocabulary_is_read_where_it_fits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        let tokenizer = train_vocabulary(&text(), &config()).unwrap();
        let document = tokenizer.to_string(false).unwrap();
        std::fs::write(&path, &document).unwrap();
        assert_eq!(read_vocabulary(&path, &config()).unwrap().to_string(false).unwrap(), document);

        let cases = [
            (VocabularyConfig { size: 321, ..config() }, "320 pieces"),
            (VocabularyConfig { sentinels: 9, ..config() }, "no `<extra_id_8>`, which must be 311"),
            (VocabularyConfig { byte_fallback: false, ..config() }, "vocabulary.byte_fallback is false"),
        ];
        for (config, wanted) in cases {
            let error = read_vocabulary(&path, &config).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("tokenizer.json"), "{error}");
        }
        std::fs::write(&path, document.replace("<extra_id_0>", "<extra_id_00>")).unwrap();
        let error = read_vocabulary(&path, &config()).unwrap_err().to_string();
        assert!(error.contains("no `<extra_id_0>`"), "{error}");
    }
}
