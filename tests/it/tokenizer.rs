//! Tokenizers against transformers' and SentencePiece's: small models offline, the real T5 vocabulary and the fixtures
//! of SentencePiece where ../shared is (`data/t5-tokenizer/README.md` and `data/spm-fixtures/README.md` have the
//! sources).
//!
//! `target/peers/bin/python tests/reference/make_tokenizers.py` makes what is expected here.

use crate::{reference::folder as reference, shared};
use s3delta::t5::{Config, Tokenizer};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

/// `[text, ids with </s>, decoded text]` each.
type Vector = (String, Vec<u32>, String);

#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    tiny: BothWays,
    config: serde_json::Value,
    configured: BothWays,
    map: serde_json::Value,
    mapped: BothWays,
    byt5: Bytes,
    byt5_config: serde_json::Value,
    byt5_strict: Vec<Vec<u32>>,
    byt5_saved: serde_json::Value,
    vectors: Vectors,
    fixtures: BTreeMap<String, Fixture>,
}

#[derive(Deserialize)]
struct BothWays {
    ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
    without_special: Vec<String>,
}

#[derive(Deserialize)]
struct Bytes {
    ids: Vec<Vec<u32>>,
    decoded: Vec<(Vec<u32>, String, String)>,
}

#[derive(Deserialize)]
struct Vectors {
    differ: Vec<usize>,
    differ_cleaned: Vec<usize>,
    plain: String,
    cleaned: String,
}

#[derive(Deserialize)]
struct Fixture {
    odd: Vec<Vec<u32>>,
    vocab_size: usize,
    lines: Vec<String>,
}

fn expected() -> Expected {
    serde_json::from_slice(&fs::read(reference("tokenizers/expected.json")).unwrap()).unwrap()
}

/// 64-bit FNV-1a.
fn digest(bytes: impl IntoIterator<Item = u8>) -> String {
    let value = bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |value: u64, byte| (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{value:016x}")
}

fn digest_ids(rows: &[Vec<u32>]) -> String {
    digest(rows.iter().flatten().flat_map(|id| id.to_le_bytes()))
}

fn digest_texts(texts: &[String]) -> String {
    digest(texts.iter().flat_map(|text| text.bytes().chain([0])))
}

/// A directory with copies of files and the content of others.
fn dir(copies: &[(&str, &Path)], texts: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, from) in copies {
        fs::copy(from, dir.path().join(name)).unwrap();
    }
    texts.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
    dir
}

const T5: (&str, &str) = ("config.json", r#"{"model_type": "t5"}"#);

/// What transformers gives for a text: as it is, but for a text that spells out `</s>` at its end, which it ends twice.
fn ends_once(ids: &[u32], eos: u32) -> Vec<u32> {
    let end = ids.iter().rposition(|id| *id != eos).map_or(0, |at| at + 1);
    [&ids[..end], &[eos]].concat()
}

#[track_caller]
fn check_ids(tokenizer: &Tokenizer, texts: &[String], wanted: &[Vec<u32>], name: &str) {
    assert_eq!(texts.len(), wanted.len());
    for (text, ids) in texts.iter().zip(wanted) {
        assert_eq!(tokenizer.encode(text).unwrap(), ends_once(ids, tokenizer.eos()), "{name}: {text:?}");
    }
}

#[track_caller]
fn check_both_ways(tokenizer: &Tokenizer, texts: &[String], wanted: &BothWays) {
    check_ids(tokenizer, texts, &wanted.ids, "both ways");
    for ((ids, decoded), without) in wanted.ids.iter().zip(&wanted.decoded).zip(&wanted.without_special) {
        assert_eq!(tokenizer.decode(ids, false).unwrap(), *decoded, "{ids:?}");
        assert_eq!(tokenizer.decode(ids, true).unwrap(), *without, "{ids:?}");
    }
}

#[test]
fn a_sentencepiece_model_is_read_as_transformers_does() {
    let expected = expected();
    let model = reference("tokenizers/spiece.model");
    let plain = dir(&[("spiece.model", &model)], &[T5]);
    let tokenizer = Tokenizer::open(plain.path()).unwrap();
    check_both_ways(&tokenizer, &expected.texts, &expected.tiny);
    assert_eq!((tokenizer.pad(), tokenizer.eos(), tokenizer.unk()), (0, 1, 2));
    assert_eq!((tokenizer.vocab_size(), tokenizer.sentinel(0), tokenizer.sentinel(100)), (260, Some(259), None));
    // a user-defined piece is one token and stays in the text
    let ids = tokenizer.encode("and[X]more").unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "and[X] more");

    let map = expected.map.to_string();
    let mapped = dir(&[("spiece.model", &model)], &[T5, ("special_tokens_map.json", &map)]);
    let tokenizer = Tokenizer::open(mapped.path()).unwrap();
    check_both_ways(&tokenizer, &expected.texts, &expected.mapped);
    // `[CLS]`, which the map alone lists, is no token there either
    assert_eq!(tokenizer.vocab_size(), 260);

    let config = expected.config.to_string();
    let configured = dir(&[("spiece.model", &model)], &[T5, ("tokenizer_config.json", &config)]);
    let tokenizer = Tokenizer::open(configured.path()).unwrap();
    let texts = [expected.texts, vec!["a<mine>b <sep>c<mine> . d".into()]].concat();
    check_both_ways(&tokenizer, &texts, &expected.configured);
    assert_eq!((tokenizer.vocab_size(), tokenizer.sentinel(0), tokenizer.sentinel(3)), (165, Some(162), None));

    let wrong = dir(&[("spiece.model", &model)], &[("added_tokens.json", r#"{"<mine>": 999}"#)]);
    let error = Tokenizer::open(wrong.path()).unwrap_err().to_string();
    assert!(error.contains("spiece.model") && error.contains("no id 999 to `<mine>`"), "{error}");
}

#[test]
fn bytes_are_those_of_transformers() {
    let expected = expected();
    let saved = expected.byt5_saved.to_string();
    for names in [
        ("tokenizer_config.json", r#"{"tokenizer_class": "ByT5Tokenizer"}"#),
        ("config.json", r#"{"model_type": "t5", "tokenizer_class": "ByT5Tokenizer"}"#),
        ("tokenizer_config.json", &saved),
    ] {
        let dir = dir(&[], &[names]);
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        check_ids(&tokenizer, &expected.texts, &expected.byt5.ids, "ByT5");
        for (ids, text, without_special) in &expected.byt5.decoded {
            assert_eq!(tokenizer.decode(ids, false).unwrap(), *text, "{ids:?}");
            assert_eq!(tokenizer.decode(ids, true).unwrap(), *without_special, "{ids:?}");
        }
        assert_eq!(
            (tokenizer.vocab_size(), tokenizer.sentinel(0), tokenizer.sentinel(124)),
            (384, Some(259), Some(383))
        );
        assert_eq!((tokenizer.pad(), tokenizer.eos(), tokenizer.unk()), (0, 1, 2));
    }
    let config = expected.byt5_config.to_string();
    let dir = dir(&[], &[("tokenizer_config.json", &config)]);
    let tokenizer = Tokenizer::open(dir.path()).unwrap();
    check_ids(&tokenizer, &expected.texts, &expected.byt5_strict, "ByT5 with a configuration");
    assert_eq!(tokenizer.vocab_size(), 262);
}

#[test]
fn the_t5_vocabulary_gives_the_ids_and_texts_of_all_vectors() {
    let Some(shared) = shared("data/t5-tokenizer") else { return };
    let vectors: Vec<Vector> = serde_json::from_slice(&fs::read(shared.join("t5-base-tests.json")).unwrap()).unwrap();
    assert_eq!(vectors.len(), 1995);
    let expected = expected().vectors;
    let texts: Vec<_> = vectors.iter().map(|(text, ..)| text).collect();
    // two versions of the same vocabulary, as t5-base and as t5-v1_1 publish it, and the model that both were made of
    let xxl = shared.join("t5-v1_1-xxl-tokenizer_config.json");
    let clean = r#"{"tokenizer_class": "T5Tokenizer", "clean_up_tokenization_spaces": true}"#;
    let spiece = shared.join("spiece.model");
    let cases = [
        (dir(&[("tokenizer.json", &shared.join("t5-base-tokenizer.json"))], &[T5]), false),
        (
            dir(
                &[("tokenizer.json", &shared.join("t5-v1_1-xxl-tokenizer.json")), ("tokenizer_config.json", &xxl)],
                &[T5],
            ),
            true,
        ),
        (dir(&[("spiece.model", &spiece)], &[T5]), false),
        (dir(&[("spiece.model", &spiece)], &[T5, ("tokenizer_config.json", clean)]), true),
    ];
    for (case, (dir, cleaned)) in cases.iter().enumerate() {
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        assert_eq!((tokenizer.pad(), tokenizer.eos(), tokenizer.unk()), (0, 1, 2));
        assert_eq!((tokenizer.vocab_size(), tokenizer.sentinel(0)), (32_100, Some(32_099)));
        let encoded = tokenizer.encode_batch(&texts, usize::MAX).unwrap();
        for ((text, ids, _), found) in vectors.iter().zip(&encoded) {
            assert_eq!(found, ids, "case {case}: {text:?}");
        }
        let decoded: Vec<_> = vectors.iter().map(|(_, ids, _)| tokenizer.decode(ids, false).unwrap()).collect();
        let differs = |at: &usize| decoded[*at] != vectors[*at].2;
        let differ: Vec<_> = (0..vectors.len()).filter(differs).collect();
        // transformers itself decodes these otherwise: without clean-up of spaces, and with it those with an <unk>
        let wanted =
            if *cleaned { (&expected.differ_cleaned, &expected.cleaned) } else { (&expected.differ, &expected.plain) };
        assert_eq!((&differ, &digest_texts(&decoded)), wanted, "case {case}");
    }
}

/// transformers splits at any white space, whatever pre-tokenizer the tokenizer.json of a T5 has.
#[test]
fn a_converted_tokenizer_follows_the_t5_tokenizer_of_today() {
    let Some(shared) = shared("data/t5-tokenizer") else { return };
    let file = shared.join("t5-v1_1-xxl-tokenizer.json");
    let as_t5 = dir(&[("tokenizer.json", &file)], &[T5]);
    let as_it_is = dir(
        &[("tokenizer.json", &file)],
        &[("tokenizer_config.json", r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#)],
    );
    let ids = |dir: &Path| Tokenizer::open(dir).unwrap().encode("x\u{85}y").unwrap();
    assert_eq!(ids(as_t5.path()), [3, 226, 3, 63, 1]);
    assert_eq!(ids(as_it_is.path()), [3, 226, 2, 63, 1]);
}

#[test]
fn the_fixtures_of_sentencepiece_load_right_or_are_refused_by_name() {
    let Some(shared) = shared("data/spm-fixtures") else { return };
    let expected = expected();
    let text = fs::read_to_string(shared.join("google-sentencepiece-botchan.txt")).unwrap();
    let lines: Vec<_> = text.split('\n').collect();
    let open = |name: &str| Tokenizer::open(dir(&[("spiece.model", &shared.join(name))], &[T5]).path());
    let check = |name: &str, (pad, eos, unk): (u32, u32, u32)| {
        let (tokenizer, expected) = (open(name).unwrap(), (&expected.texts, &expected.fixtures[name]));
        let (texts, fixture) = expected;
        check_ids(&tokenizer, texts, &fixture.odd, name);
        assert_eq!((tokenizer.pad(), tokenizer.eos(), tokenizer.unk()), (pad, eos, unk), "{name}");
        assert_eq!(tokenizer.vocab_size(), fixture.vocab_size, "{name}");
        let ids = tokenizer.encode_batch(&lines, usize::MAX).unwrap();
        let found: Vec<_> = ids.chunks(100).map(digest_ids).collect();
        assert_eq!(found, fixture.lines, "{name}");
    };
    // padding, end and unknown; what the model lacks of them stands behind its pieces and 100 sentinels
    check("google-sentencepiece-test_model.model", (1100, 2, 0));
    check("hf-spiece.model", (0, 30_100, 1));
    check("hf-test_sentencepiece.model", (1100, 2, 0));
    check("hf-test_sentencepiece_no_bos.model", (1100, 1, 2));
    check("hf-test_sentencepiece_with_bytefallback.model", (2100, 2, 0));
    check("seqio-sentencepiece.model", (0, 1, 2));
    let error = open("hf-test_sentencepiece_bpe.model").unwrap_err().to_string();
    assert!(error.contains("type `bpe`"), "{error}");
    // the eighth file is the text
    let error = open("google-sentencepiece-botchan.txt").unwrap_err().to_string();
    assert!(error.contains("not a SentencePiece model"), "{error}");
}

#[test]
fn a_directory_without_a_tokenizer_names_what_was_looked_for() {
    let empty = dir(&[], &[T5]);
    let error = Tokenizer::open(empty.path()).unwrap_err().to_string();
    let wanted = [empty.path().to_str().unwrap(), "tokenizer.json", "spiece.model", "ByT5Tokenizer"];
    assert!(wanted.iter().all(|part| error.contains(part)), "{error}");
    let broken = dir(&[], &[("tokenizer_config.json", "{")]);
    let error = Tokenizer::open(broken.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json"), "{error}");
}

#[test]
fn a_tokenizer_may_be_smaller_than_the_embedding() {
    let text = fs::read_to_string(reference("tiny-v1.0/config.json")).unwrap();
    let config = Config::parse(&text, Path::new("config.json")).unwrap();
    let check = |rows| Tokenizer::bytes().check(&Config { vocab_size: rows, ..config.clone() });
    check(384).unwrap();
    check(400).unwrap();
    let error = check(383).unwrap_err().to_string();
    assert!(error.contains("384 tokens") && error.contains("383 rows"), "{error}");
}
