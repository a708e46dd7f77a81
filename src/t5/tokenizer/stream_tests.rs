//! Streams against whole texts, for each way in which tokens become text.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Pieces behind those of the tiny vocabulary: bytes, bytes as GPT-2 writes them, and what clean-up looks for.
const MORE: &[&str] = &[
    "<0xE2>", "<0x98>", "<0x83>", "<0xC3>", "<0xA9>", "<0x41>", "<0xFF>", "Ã", "©", "Ġ", "â", "ĺ", "ĥ", "ÿ", "▁▁", "☃",
    "▁.", "▁'", "'s", "n't", "▁!", "\u{fffd}",
];

/// The tiny vocabulary and more, with another decoder.
fn with_decoder(decoder: Value) -> Tokenizer {
    let mut json: Value =
        serde_json::from_slice(include_bytes!("../../../tests/reference/tiny-v1.0/tokenizer.json")).unwrap();
    let vocabulary = json["model"]["vocab"].as_array_mut().unwrap();
    vocabulary.extend(MORE.iter().map(|piece| json!([piece, -9.0])));
    json["decoder"] = decoder;
    Tokenizer::from_bytes("changed.json", json.to_string().as_bytes()).unwrap()
}

fn metaspace() -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})
}

fn sequence(decoders: Value) -> Value {
    json!({"type": "Sequence", "decoders": decoders})
}

/// A tokenizer of each kind, and whether each token's text comes at once.
static TOKENIZERS: LazyLock<Vec<(&str, Tokenizer, bool)>> = LazyLock::new(|| {
    let spaces = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let (bytes, fuse) = (json!({"type": "ByteFallback"}), json!({"type": "Fuse"}));
    let llama = sequence(json!([spaces, bytes, fuse, strip]));
    let pocket = include_bytes!("../../../models/pocket-t5/tokenizer.json");
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let never = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true});
    let clean = Tokenizer { clean_up: true, ..with_decoder(metaspace()) };
    vec![
        ("metaspace", with_decoder(metaspace()), true),
        ("metaspace without a space before", with_decoder(never), true),
        ("no decoder", with_decoder(Value::Null), true),
        ("word pieces", with_decoder(json!({"type": "WordPiece", "prefix": "##", "cleanup": true})), true),
        ("cleaned up", clean, false),
        ("bytes, then metaspace", Tokenizer::from_bytes("pocket", pocket).unwrap(), false),
        ("bytes, fused", with_decoder(llama), false),
        ("byte level", with_decoder(byte_level), false),
        (
            "unknown",
            with_decoder(json!({"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true})),
            false,
        ),
        ("ByT5", Tokenizer::bytes(), false),
    ]
});

/// Ids, among which those of bytes and those in [`MORE`] are likely, and some without a token.
fn ids() -> impl Strategy<Value = Vec<u32>> {
    let id = prop_oneof![
        0..420u32,
        78..101u32,
        3..259u32,
        0..8u32,
        prop::sample::select(vec![100u32, 198, 172, 229, 155, 134])
    ];
    prop::collection::vec(id, 0..60)
}

/// The stream's text, whether a stop text ended it, and what came at the end.
fn streamed(tokenizer: &Tokenizer, ids: &[u32], stops: &[String]) -> (String, bool, String) {
    let mut stream = TextStream::new(stops.to_vec());
    let mut text = String::new();
    for id in ids {
        let part = stream.push(tokenizer, *id).unwrap();
        text += &part.text;
        if part.stopped {
            return (text, true, String::new());
        }
    }
    let end = stream.finish(tokenizer).unwrap();
    assert_eq!(stream.finish(tokenizer).unwrap().text, "", "nothing is left");
    (text + &end.text, end.stopped, end.text)
}

proptest! {
    #[test]
    fn parts_make_up_the_whole_text(ids in ids()) {
        for (name, tokenizer, at_once) in &*TOKENIZERS {
            let (text, stopped, end) = streamed(tokenizer, &ids, &[]);
            prop_assert_eq!(text, tokenizer.decode(&ids, true).unwrap(), "{}", name);
            prop_assert!(!stopped && (!at_once || end.is_empty()), "{}", name);
        }
    }

    #[test]
    fn a_text_ends_before_its_stop_text(
        ids in ids(),
        random in prop::collection::vec("[a-z' .!]{1,3}", 0..3),
        cut in 0..40usize,
    ) {
        for (name, tokenizer, _) in &*TOKENIZERS {
            let whole = tokenizer.decode(&ids, true).unwrap();
            // a stop text that is likely to come, across tokens
            let likely: String = whole.chars().skip(cut).take(4).collect();
            let stops: Vec<_> = random.iter().cloned().chain([likely]).filter(|stop| !stop.is_empty()).collect();
            let (text, stopped, _) = streamed(tokenizer, &ids, &stops);
            prop_assert!(!stops.iter().any(|stop| text.contains(stop.as_str())), "{}: {:?}", name, text);
            if stopped {
                let before = stops.iter().any(|stop| whole.starts_with(&format!("{text}{stop}")));
                prop_assert!(before, "{}: {:?} of {:?}", name, text, whole);
            } else {
                prop_assert_eq!(text, whole, "{}", name);
            }
        }
    }
}

/// One line a case: bytes made one by one, the stop texts, and the parts sent, the last one at the end.
#[track_caller]
fn check(made: &[u8], stops: &[&str], wanted: &[&str]) {
    let tokenizer = Tokenizer::bytes();
    let mut stream = TextStream::new(stops.iter().map(|stop| (*stop).into()).collect());
    let mut found = Vec::new();
    for byte in made {
        let part = stream.push(&tokenizer, u32::from(*byte) + 3).unwrap();
        found.push(part.text);
        if part.stopped {
            assert_eq!(found, wanted);
            return;
        }
    }
    found.push(stream.finish(&tokenizer).unwrap().text);
    assert_eq!(found, wanted);
}

#[test]
fn parts() {
    check(b"abc", &[], &["a", "b", "c", ""]);
    check("aé".as_bytes(), &[], &["a", "", "é", ""]);
    check(&[b'a', 0xe2, 0x98, b'b'], &[], &["a", "", "", "b", ""]);
    check(&[b'a', 0xe2, 0x98], &[], &["a", "", "", ""]);
    check(b"abcd", &["bc"], &["a", "", ""]);
    check(b"abd", &["bc"], &["a", "", "bd", ""]);
    check(b"ab", &["bc"], &["a", "", "b"]);
    check(b"xx", &["x"], &[""]);
    check(b"aab", &["ab", "aac"], &["", "", "a"]);
    check("eé".as_bytes(), &["é!"], &["e", "", "", "é"]);
    check(b"ab", &[""], &["a", "b", ""]);
}

/// Bytes in a row are a text if all of them are; so none is sent before the row ends.
#[test]
fn bytes_of_a_fall_back_wait_for_the_end_of_their_row() {
    let tokenizer = &TOKENIZERS.iter().find(|(name, ..)| *name == "bytes, fused").unwrap().1;
    let id = |token: &str| 78 + MORE.iter().position(|piece| *piece == token).unwrap() as u32;
    let snowman = [id("<0xE2>"), id("<0x98>"), id("<0x83>")];
    let mut stream = TextStream::default();
    let mut push = |id| stream.push(tokenizer, id).unwrap().text;
    snowman.iter().for_each(|id| assert_eq!(push(*id), ""));
    assert_eq!(push(id("▁.")), "☃ .");
    snowman.iter().chain([&id("<0xFF>")]).for_each(|id| assert_eq!(push(*id), ""));
    // a special token in between does not end it, as it is left out
    assert_eq!(push(tokenizer.unk()), "");
    assert_eq!(push(id("'s")), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}'s");
}
