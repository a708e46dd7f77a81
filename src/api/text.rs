//! Tokens to text as it is sent: never half a character, never past a stop text.

use crate::serve::{Result, Tokenize};

/// The text of a growing sequence.
#[derive(Debug, Default)]
pub(crate) struct Text {
    ids: Vec<u32>,
    sent: usize,
    stops: Vec<String>,
}

/// What one more token, or the end, adds.
#[derive(Debug, PartialEq)]
pub(crate) struct Piece {
    /// Text that may be sent now.
    pub(crate) text: String,
    /// Whether a stop text came: nothing may follow.
    pub(crate) stopped: bool,
}

impl Text {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, ..Self::default() }
    }

    /// Number of tokens so far.
    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Adds a token.
    pub(crate) fn push(&mut self, tokenizer: &dyn Tokenize, id: u32) -> Result<Piece> {
        self.ids.push(id);
        let text = tokenizer.decode(&self.ids)?;
        if let Some(stop) = self.stops.iter().filter_map(|stop| text.find(stop.as_str())).min() {
            return Ok(Piece { text: self.send(&text, stop), stopped: true });
        }
        // the bytes of an incomplete character decode to the replacement character
        let whole = text.trim_end_matches('\u{fffd}');
        Ok(Piece { text: self.send(whole, whole.len() - self.pending(whole)), stopped: false })
    }

    /// What was held back, once no more tokens come.
    pub(crate) fn finish(&mut self, tokenizer: &dyn Tokenize) -> Result<String> {
        let text = tokenizer.decode(&self.ids)?;
        Ok(self.send(&text, text.len()))
    }

    /// The part of `text` up to `end` that was not sent yet.
    fn send(&mut self, text: &str, end: usize) -> String {
        let piece = text.get(self.sent..end).unwrap_or_default();
        self.sent += piece.len();
        piece.into()
    }

    /// Length of the longest end of `text` that a stop text begins with.
    fn pending(&self, text: &str) -> usize {
        let begins = |stop: &String| {
            (1..stop.len()).rev().find(|n| stop.is_char_boundary(*n) && text.ends_with(&stop[..*n])).unwrap_or(0)
        };
        self.stops.iter().map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids are bytes.
    struct Bytes;

    impl Tokenize for Bytes {
        fn encode(&self, text: &str) -> Result<Vec<u32>> {
            Ok(text.bytes().map(u32::from).collect())
        }
        fn decode(&self, ids: &[u32]) -> Result<String> {
            let bytes: Vec<u8> = ids.iter().map(|id| *id as u8).collect();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
    }

    /// One line a case: the text made byte by byte, the stop texts, and the pieces sent, the last one at the end.
    #[track_caller]
    fn check(made: &str, stops: &[&str], wanted: &[&str]) {
        let mut text = Text::new(stops.iter().map(|stop| (*stop).into()).collect());
        let mut found = Vec::new();
        for id in Bytes.encode(made).unwrap() {
            let piece = text.push(&Bytes, id).unwrap();
            found.push(piece.text);
            if piece.stopped {
                assert_eq!(found, wanted, "{made}");
                return;
            }
        }
        found.push(text.finish(&Bytes).unwrap());
        assert_eq!(found, wanted, "{made}");
    }

    #[test]
    fn pieces() {
        check("abc", &[], &["a", "b", "c", ""]);
        check("aé", &[], &["a", "", "é", ""]);
        check("abcd", &["bc"], &["a", "", ""]);
        check("abd", &["bc"], &["a", "", "bd", ""]);
        check("ab", &["bc"], &["a", "", "b"]);
        check("xx", &["x"], &[""]);
        check("aab", &["ab", "aac"], &["", "", "a"]);
    }
}
