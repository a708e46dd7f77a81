//! Bytes that come one by one, as characters.

/// Takes bytes and gives whole characters; keeps at most the three bytes of a character that is not complete yet.
///
/// Bytes that can no longer become a character are replaced as Python's `bytes.decode` and Rust's `from_utf8_lossy` do,
/// each longest part that could have begun one at once: by nothing for `errors="ignore"`, by U+FFFD for
/// `errors="replace"`.
#[derive(Debug, Clone, Default)]
pub(super) struct Characters {
    incomplete: Vec<u8>,
}

impl Characters {
    /// The characters that `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8], replacement: &str) -> String {
        self.incomplete.extend(bytes);
        let (mut text, mut left) = (String::new(), Vec::new());
        let mut chunks = self.incomplete.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text += chunk.valid();
            // at the end, what may still become a character waits
            if chunks.peek().is_none() && may_continue(chunk.invalid()) {
                left = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                text += replacement;
            }
        }
        self.incomplete = left;
        text
    }

    /// What stands for an incomplete character when no more bytes come.
    pub(super) fn finish(&mut self, replacement: &str) -> String {
        let left = std::mem::take(&mut self.incomplete);
        if left.is_empty() { String::new() } else { replacement.into() }
    }
}

/// Whether invalid bytes are the beginning of a character.
fn may_continue(invalid: &[u8]) -> bool {
    std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that begin, continue and break characters.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            any::<u8>(),
            Just(b'a'),
            0x80..0xc0u8,
            prop::sample::select(vec![0xc3, 0xe0, 0xe2, 0xed, 0xf0, 0xf4])
        ];
        prop::collection::vec(byte, 0..40)
    }

    proptest! {
        #[test]
        fn pieces_equal_the_whole(bytes in bytes()) {
            let whole = String::from_utf8_lossy(&bytes);
            for replacement in ["\u{fffd}", ""] {
                let mut characters = Characters::default();
                let mut text: String = bytes.iter().map(|byte| characters.push(&[*byte], replacement)).collect();
                prop_assert!(characters.incomplete.len() < 4);
                text += &characters.finish(replacement);
                prop_assert_eq!(text, whole.replace('\u{fffd}', replacement));
            }
        }
    }
}
