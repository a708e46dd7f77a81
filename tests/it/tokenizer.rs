//! The real T5 vocabulary against the ids that transformers gave: `../shared/data/t5-tokenizer/README.md` has the source.

use crate::shared;
use s3delta::t5::Tokenizer;

/// `[text, ids with </s>, decoded text]` each.
type Vector = (String, Vec<u32>, String);

#[test]
fn the_t5_vocabulary_gives_the_ids_of_all_vectors() {
    let Some(dir) = shared("data/t5-tokenizer") else { return };
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let vectors: Vec<Vector> = serde_json::from_slice(&read("t5-base-tests.json")).unwrap();
    assert_eq!(vectors.len(), 1995);
    // two versions of the same vocabulary, as t5-base and as t5-v1_1 publish it
    for name in ["t5-base-tokenizer.json", "t5-v1_1-xxl-tokenizer.json"] {
        let tokenizer = Tokenizer::from_bytes(name, &read(name)).unwrap();
        assert_eq!((tokenizer.pad(), tokenizer.eos(), tokenizer.unk()), (0, 1, 2));
        assert_eq!((tokenizer.vocab_size(), tokenizer.sentinel(0)), (32_100, Some(32_099)));
        let texts: Vec<_> = vectors.iter().map(|(text, ..)| text).collect();
        let encoded = tokenizer.encode_batch(&texts, usize::MAX).unwrap();
        for ((text, ids, _), found) in vectors.iter().zip(&encoded) {
            assert_eq!(found, ids, "{name}: {text:?}");
        }
        let decodes = |(_, ids, text): &&Vector| tokenizer.decode(ids, false).unwrap() == *text;
        let same = vectors.iter().filter(decodes).count();
        // the other 248 were decoded with transformers' clean-up of spaces, or have a space behind <unk>
        assert_eq!(same, 1747, "{name}");
    }
}
