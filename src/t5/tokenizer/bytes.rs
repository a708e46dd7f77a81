//! ByT5's tokenizer: the bytes of UTF-8. It has no vocabulary file. As transformers' `ByT5Tokenizer` does it.
//!
//! ```text
//! 0 <pad>   1 </s>   2 <unk>   3 + b the byte b   259 + n <extra_id_n>, n < 125
//! ```

use super::settings::Settings;
use super::utf8::Characters;
use std::collections::BTreeMap;
use tokenizers::AddedToken;

/// Ids before the first byte.
const OFFSET: u32 = 3;
/// Ids before the first token that is added behind the bytes.
const BYTES_END: u32 = OFFSET + 256;
/// Sentinels where the files say nothing.
const SENTINELS: usize = 125;

/// A byte tokenizer: its tokens that are no bytes, by id.
#[derive(Debug)]
pub(super) struct Bytes {
    added: BTreeMap<u32, AddedToken>,
}

/// A part of a text: plain, or one of the tokens that are no bytes.
enum Part<'a> {
    Plain(&'a str),
    Added(u32, &'a AddedToken),
}

impl Bytes {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut added: BTreeMap<u32, AddedToken> = (0..).zip(settings.named()).collect();
        added.extend(settings.added.iter().map(|(id, token)| (*id, token.clone())));
        for named in added.values_mut().take(3) {
            named.special = true;
        }
        let sentinels =
            (0..settings.extra_ids.unwrap_or(SENTINELS)).map(|n| AddedToken::from(format!("<extra_id_{n}>"), true));
        for token in settings.special.iter().cloned().chain(sentinels) {
            match added.values_mut().find(|known| known.content == token.content) {
                Some(known) => known.special = true,
                None => {
                    let behind = added.range(BYTES_END..).count() as u32;
                    added.insert(BYTES_END + behind, token);
                }
            }
        }
        Self { added }
    }

    /// One more than the greatest id.
    pub(super) fn vocab_size(&self) -> usize {
        self.added.keys().next_back().map_or(0, |id| *id as usize + 1).max(BYTES_END as usize)
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.added.iter().find(|(_, added)| added.content == token).map(|(id, _)| *id)
    }

    /// Ids of the bytes, and of the tokens that the text spells out.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut parts = self.split(text);
        for at in 0..parts.len() {
            let Part::Added(_, AddedToken { lstrip, rstrip, .. }) = parts[at] else { continue };
            if *lstrip
                && at > 0
                && let Part::Plain(left) = &mut parts[at - 1]
            {
                *left = left.trim_end_matches(is_space);
            }
            if *rstrip && let Some(Part::Plain(right)) = parts.get_mut(at + 1) {
                *right = right.trim_start_matches(is_space);
            }
        }
        let mut ids = Vec::with_capacity(text.len() + 1);
        for part in parts {
            match part {
                Part::Plain(text) => ids.extend(text.bytes().map(|byte| u32::from(byte) + OFFSET)),
                Part::Added(id, _) => ids.push(id),
            }
        }
        ids
    }

    /// The added tokens in a text and what stands between them; the first one wins, and of those the longest.
    fn split<'a>(&'a self, text: &'a str) -> Vec<Part<'a>> {
        let mut first = [false; 256];
        self.added
            .values()
            .filter_map(|token| token.content.bytes().next())
            .for_each(|byte| first[byte as usize] = true);
        let token_at = |at: usize| {
            let here = self.added.iter().filter(|(_, token)| text[at..].starts_with(&token.content));
            here.max_by_key(|(_, token)| token.content.len())
        };
        let (mut parts, mut plain, mut at) = (Vec::new(), 0, 0);
        while at < text.len() {
            let starts = first[text.as_bytes()[at] as usize] && text.is_char_boundary(at);
            match if starts { token_at(at) } else { None } {
                Some((id, token)) if !token.content.is_empty() => {
                    if plain < at {
                        parts.push(Part::Plain(&text[plain..at]));
                    }
                    parts.push(Part::Added(*id, token));
                    at += token.content.len();
                    plain = at;
                }
                _ => at += 1,
            }
        }
        if plain < text.len() {
            parts.push(Part::Plain(&text[plain..]));
        }
        parts
    }

    /// The text that `id` adds: bytes that make no character are left out, as with Python's `errors="ignore"`.
    pub(super) fn push(&self, characters: &mut Characters, id: u32, skip_special: bool) -> String {
        match (self.added.get(&id), id) {
            (Some(token), _) if skip_special && token.special => String::new(),
            (Some(token), _) => characters.push(token.content.as_bytes(), ""),
            (None, OFFSET..BYTES_END) => characters.push(&[(id - OFFSET) as u8], ""),
            // transformers fails here; a model whose embedding has such rows has no text for them
            (None, _) => String::new(),
        }
    }

    pub(super) fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut characters = Characters::default();
        ids.iter().map(|id| self.push(&mut characters, *id, skip_special)).collect()
    }
}

/// What Python's `str.strip` takes away: Unicode's white space and four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}
