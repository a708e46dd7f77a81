//! Replacements in a text that grows: transformers' clean-up of the spaces before punctuation.

/// What is replaced, one pattern behind the other over the whole text, as `clean_up_tokenization` of transformers does
/// where tokenizer_config.json says `clean_up_tokenization_spaces: true`.
const PATTERNS: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// The clean-up of a text that comes in parts. Each pattern keeps back the end of its text that may become one.
#[derive(Debug, Clone, Default)]
pub(super) struct CleanUp {
    kept: [String; PATTERNS.len()],
}

impl CleanUp {
    /// The text that is clean whatever follows.
    pub(super) fn push(&mut self, text: String) -> String {
        self.kept.iter_mut().zip(PATTERNS).fold(text, |text, (kept, pattern)| replace(kept, pattern, &text))
    }

    /// What was kept back, when no more text comes.
    pub(super) fn finish(&mut self) -> String {
        self.kept.iter_mut().zip(PATTERNS).fold(String::new(), |text, (kept, pattern)| {
            let text = replace(kept, pattern, &text);
            text + &std::mem::take(kept)
        })
    }
}

/// A whole text, cleaned up.
pub(super) fn clean_up(text: String) -> String {
    PATTERNS.iter().fold(text, |text, (pattern, with)| text.replace(pattern, with))
}

/// One pattern: takes more text, gives what it settles, and keeps the end that the pattern may begin in.
fn replace(kept: &mut String, (pattern, with): (&str, &str), text: &str) -> String {
    kept.push_str(text);
    let rest = kept.match_indices(pattern).last().map_or(0, |(at, _)| at + pattern.len());
    let end = kept.len() - begun(&kept[rest..], pattern);
    let settled = kept[..end].replace(pattern, with);
    kept.drain(..end);
    settled
}

/// Length of the longest end of `text` that `pattern` begins with, and is longer than.
pub(super) fn begun(text: &str, pattern: &str) -> usize {
    let ends = |n: &usize| pattern.is_char_boundary(*n) && text.as_bytes().ends_with(&pattern.as_bytes()[..*n]);
    (1..pattern.len()).rev().find(ends).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spaces_before_punctuation_go() {
        let clean = |text: &str| clean_up(text.into());
        assert_eq!(clean("Is n't it , he 's said ? No !"), "Isn't it, he's said? No!");
        assert_eq!(clean("a  . b ' s"), "a . b's");
    }

    proptest! {
        #[test]
        fn parts_equal_the_whole(parts in prop::collection::vec("[ '.?,nmtsvre☃]{0,4}", 0..30)) {
            let mut clean = CleanUp::default();
            let mut text: String = parts.iter().map(|part| clean.push(part.clone())).collect();
            prop_assert!(clean.kept.iter().all(|kept| kept.len() < 4));
            text += &clean.finish();
            prop_assert_eq!(text, clean_up(parts.concat()));
        }
    }
}
