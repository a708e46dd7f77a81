//! The tokenizers of pieces, on small vocabularies.

use super::*;

const TINY: &[u8] = include_bytes!("../../../tests/reference/tiny-v1.0/tokenizer.json");

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
    let parts: Vec<_> = ids.iter().map(|id| stream.push(&tokenizer, *id).unwrap().text).collect();
    assert_eq!(parts.concat(), tokenizer.decode(&ids, true).unwrap());
    assert!(parts[0] == "the" && parts[1] == " film", "{parts:?}");
    assert_eq!(stream.tokens(), ids.len());
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
    check_refused(Tokenizer::open(dir.path()), &[&at, "tokenizer.json", "spiece.model", "ByT5Tokenizer"]);
    std::fs::write(dir.path().join("spiece.model"), "").unwrap();
    check_refused(Tokenizer::open(dir.path()), &[&at, "spiece.model", "no piece for unknown text"]);
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
    let text = include_str!("../../../tests/reference/tiny-v1.0/config.json");
    let config = Config::parse(text, Path::new("config.json")).unwrap();
    tiny().check(&config).unwrap();
    let message = |config| tiny().check(&config).unwrap_err().to_string();
    let small = message(Config { vocab_size: 50, ..config.clone() });
    assert!(small.contains("only 50 rows"), "{small}");
    let other_end = message(Config { eos: 2, ..config });
    assert!(other_end.contains("eos_token_id is 2"), "{other_end}");
}
