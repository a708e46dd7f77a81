//! Log-probabilities of a text's tokens in the shape of OpenAI's completions.

use super::completions::Logprobs;
use crate::serve::{Result, Tokenize};
use crate::t5::Token;
use std::collections::{BTreeMap, VecDeque};

/// Tokens with a text before one that are decoded with it, as its text depends on what it follows.
const CONTEXT: usize = 8;

/// The log-probabilities of a growing text.
#[derive(Debug)]
pub(crate) struct Recorder {
    alternatives: bool,
    /// The last tokens, [`CONTEXT`] of them with a text, each with whether it has one.
    before: VecDeque<(u32, bool)>,
    /// Characters of the tokens so far.
    characters: usize,
    pending: Logprobs,
}

impl Recorder {
    /// For tokens with so many alternatives each.
    pub(crate) fn new(alternatives: usize) -> Self {
        let alternatives = alternatives > 0;
        Self { alternatives, before: VecDeque::new(), characters: 0, pending: empty(alternatives) }
    }

    /// Adds a token.
    pub(crate) fn push(&mut self, tokenizer: &dyn Tokenize, token: &Token) -> Result<()> {
        let before: Vec<u32> = self.before.iter().map(|(id, _)| *id).collect();
        let head = tokenizer.decode(&before)?;
        let text = |id: u32| -> Result<Option<String>> {
            let whole = tokenizer.decode(&[before.as_slice(), &[id]].concat())?;
            // a character of which bytes are missing decodes to the replacement character
            let rest = whole.strip_prefix(&head).or_else(|| whole.strip_prefix(head.trim_end_matches('\u{fffd}')));
            Ok(rest.filter(|rest| !rest.is_empty()).map(String::from))
        };
        let name = |id: u32, text: Option<String>| text.unwrap_or_else(|| format!("token_id:{id}"));
        if let Some(tops) = &mut self.pending.top_logprobs {
            let mut top = BTreeMap::new();
            for (id, logprob) in &token.top {
                // of two tokens of one text the likelier one has it, and comes first
                let known = name(*id, text(*id)?);
                let key = if top.contains_key(&known) { name(*id, None) } else { known };
                top.insert(key, *logprob);
            }
            tops.push(top);
        }
        let own = text(token.id)?;
        self.remember(token.id, own.is_some());
        self.pending.text_offset.push(self.characters);
        self.characters += own.as_ref().map_or(0, |own| own.chars().count());
        self.pending.tokens.push(name(token.id, own));
        self.pending.token_logprobs.push(token.logprob);
        Ok(())
    }

    fn remember(&mut self, id: u32, has_text: bool) {
        self.before.push_back((id, has_text));
        let mut texts = self.before.iter().filter(|(_, has_text)| *has_text).count();
        while texts > CONTEXT {
            let first = self.before.pop_front();
            texts -= usize::from(first.is_some_and(|(_, has_text)| has_text));
        }
    }

    /// The tokens not yet told that begin within the first `sent` characters, or all of them where `sent` is none. The rest
    /// wait: a stop text may still cut them off.
    pub(crate) fn take(&mut self, sent: Option<usize>) -> Logprobs {
        let Some(sent) = sent else { return std::mem::replace(&mut self.pending, empty(self.alternatives)) };
        let from = &mut self.pending;
        let count = from.text_offset.partition_point(|offset| *offset < sent);
        Logprobs {
            tokens: from.tokens.drain(..count).collect(),
            token_logprobs: from.token_logprobs.drain(..count).collect(),
            text_offset: from.text_offset.drain(..count).collect(),
            top_logprobs: from.top_logprobs.as_mut().map(|top| top.drain(..count).collect()),
        }
    }
}

fn empty(alternatives: bool) -> Logprobs {
    Logprobs { top_logprobs: alternatives.then(Vec::new), ..Logprobs::default() }
}

impl Logprobs {
    /// Adds those of the next part.
    pub(crate) fn extend(&mut self, part: Logprobs) {
        self.tokens.extend(part.tokens);
        self.token_logprobs.extend(part.token_logprobs);
        self.text_offset.extend(part.text_offset);
        match (&mut self.top_logprobs, part.top_logprobs) {
            (Some(all), Some(part)) => all.extend(part),
            (all @ None, part) => *all = part,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Text;
    use crate::t5::Tokenizer;

    /// ByT5's: the id of a byte is 3 more.
    fn bytes() -> Text {
        Text::from(Tokenizer::bytes())
    }

    fn id(byte: u8) -> u32 {
        u32::from(byte) + 3
    }

    #[test]
    fn tokens_have_their_texts_offsets_and_alternatives() {
        let mut recorder = Recorder::new(2);
        for (at, byte) in "aé.".bytes().enumerate() {
            let top = vec![(id(byte), -0.1), (1, -3.0), (0, -4.0)];
            recorder.push(&bytes(), &Token { id: id(byte), logprob: -0.5 - at as f32, top }).unwrap();
        }
        let found = recorder.take(None);
        assert_eq!(found.tokens, ["a", "token_id:198", "é", "."]);
        assert_eq!(found.token_logprobs, [-0.5, -1.5, -2.5, -3.5]);
        let top: Vec<_> = found.top_logprobs.as_ref().unwrap()[0].iter().map(|(text, p)| (text.as_str(), *p)).collect();
        assert_eq!(top, [("a", -0.1), ("token_id:0", -4.0), ("token_id:1", -3.0)]);
        assert_eq!(recorder.take(None), Logprobs { top_logprobs: Some(Vec::new()), ..Logprobs::default() });
    }

    /// A word keeps its space, however many tokens without a text stand before it.
    #[test]
    fn tokens_without_text_do_not_hide_what_is_before_them() {
        let file = include_bytes!("../../tests/reference/tiny-v1.0/tokenizer.json");
        let tokenizer = Tokenizer::from_bytes("tiny", file).unwrap();
        let words = tokenizer.encode_truncated("good film", 9).unwrap();
        let (end, words) = words.split_last().unwrap();
        let pads = [0; 2 * CONTEXT];
        let ids = [&words[..1], &pads[..], &words[1..], &[*end]].concat();
        let tokenizer = Text::from(tokenizer);
        let mut recorder = Recorder::new(0);
        for id in ids {
            recorder.push(&tokenizer, &Token { id, logprob: -1.0, top: Vec::new() }).unwrap();
        }
        let found = recorder.take(None);
        let text: String =
            found.tokens.iter().filter(|token| !token.starts_with("token_id:")).map(String::as_str).collect();
        assert_eq!(text, "good film", "{found:?}");
        assert_eq!(recorder.before.len(), words.len() + pads.len() + 1, "few texts, so all are kept");
    }

    #[test]
    fn what_a_stop_text_cuts_off_is_not_told() {
        let mut recorder = Recorder::new(0);
        for byte in "abc".bytes() {
            recorder.push(&bytes(), &Token { id: id(byte), logprob: -1.0, top: Vec::new() }).unwrap();
        }
        assert_eq!(recorder.take(Some(0)), Logprobs::default(), "its text is held back");
        let found = recorder.take(Some(1));
        assert_eq!((found.tokens, found.text_offset, found.top_logprobs), (vec!["a".to_string()], vec![0], None));
    }
}
