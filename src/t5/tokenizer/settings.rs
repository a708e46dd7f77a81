//! What the small files of a backbone's directory say of its tokenizer.
//!
//! Read as transformers does: tokenizer_config.json; where that has no `added_tokens_decoder`, special_tokens_map.json
//! and added_tokens.json too; and of config.json the model type and the tokenizer's class.

use super::{Error, Result};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, path::Path};
use tokenizers::AddedToken;

/// What the files say; the defaults are those of a directory that has none of them.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// `tokenizer_class` without its ending `Fast`.
    class: Option<String>,
    /// `model_type` of config.json.
    model_type: Option<String>,
    /// `extra_ids`: the number of sentinels.
    pub(super) extra_ids: Option<usize>,
    /// `clean_up_tokenization_spaces`: whether decoded text loses the spaces before punctuation.
    pub(super) clean_up: bool,
    /// Tokens with their ids, from `added_tokens_decoder` or added_tokens.json.
    pub(super) added: BTreeMap<u32, AddedToken>,
    /// `extra_special_tokens`, or `additional_special_tokens` as it was called.
    pub(super) special: Vec<AddedToken>,
    /// The named tokens, where the files tell more of them than their text.
    named: Named,
}

/// A token in JSON: its text, or its text and flags.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Full {
        content: String,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        normalized: Option<bool>,
        #[serde(default)]
        special: bool,
    },
}

#[derive(Debug, Default, Clone, Deserialize)]
struct Named {
    pad_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
}

/// Lists of tokens; transformers also writes an object of named ones, whose names do not matter here.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tokens {
    List(Vec<Token>),
    Names(BTreeMap<String, Token>),
}

#[derive(Default, Deserialize)]
struct TokenizerConfig {
    tokenizer_class: Option<String>,
    extra_ids: Option<usize>,
    clean_up_tokenization_spaces: Option<bool>,
    added_tokens_decoder: Option<BTreeMap<u32, Token>>,
    #[serde(flatten)]
    map: SpecialTokensMap,
}

#[derive(Default, Deserialize)]
struct SpecialTokensMap {
    extra_special_tokens: Option<Tokens>,
    additional_special_tokens: Option<Tokens>,
    #[serde(flatten)]
    named: Named,
}

#[derive(Default, Deserialize)]
struct ModelConfig {
    model_type: Option<String>,
    tokenizer_class: Option<String>,
}

impl Settings {
    /// Reads the files that are there.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let config: TokenizerConfig = read(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        let model: ModelConfig = read(&dir.join("config.json"))?.unwrap_or_default();
        let class = config.tokenizer_class.or(model.tokenizer_class);
        let mut settings = Self {
            class: class.map(|class| class.strip_suffix("Fast").unwrap_or(&class).to_string()),
            model_type: model.model_type,
            extra_ids: config.extra_ids,
            clean_up: config.clean_up_tokenization_spaces.unwrap_or(false),
            ..Self::default()
        };
        settings.take(config.map);
        match config.added_tokens_decoder {
            Some(added) => settings.added = added.into_iter().map(|(id, token)| (id, token.added(false))).collect(),
            None => {
                let map: SpecialTokensMap = read(&dir.join("special_tokens_map.json"))?.unwrap_or_default();
                // transformers overwrites the old name's list with the model's own tokens where it stands in this file
                settings.take(SpecialTokensMap { additional_special_tokens: None, ..map });
                let added: BTreeMap<String, u32> = read(&dir.join("added_tokens.json"))?.unwrap_or_default();
                let special = |text: &str| settings.special.iter().any(|token| token.content == text);
                let added = added.into_iter().map(|(text, id)| (id, AddedToken::from(&*text, special(&text))));
                settings.added = added.collect();
            }
        }
        Ok(settings)
    }

    fn take(&mut self, map: SpecialTokensMap) {
        let lists = [map.extra_special_tokens, map.additional_special_tokens];
        for token in lists.into_iter().flatten().flat_map(Tokens::into_vec) {
            let token = token.added(true);
            if !self.special.iter().any(|known| known.content == token.content) {
                self.special.push(token);
            }
        }
        let Named { pad_token, eos_token, unk_token } = map.named;
        self.named.pad_token = pad_token.or(self.named.pad_token.take());
        self.named.eos_token = eos_token.or(self.named.eos_token.take());
        self.named.unk_token = unk_token.or(self.named.unk_token.take());
    }

    /// Whether the tokenizer is bytes, without a vocabulary file.
    pub(super) fn says_bytes(&self) -> bool {
        self.class.as_deref() == Some("ByT5Tokenizer") || self.model_type.as_deref() == Some("byt5")
    }

    /// Whether transformers opens the directory as its `T5Tokenizer`, which makes a pipeline of its own of whatever
    /// pieces the files hold. It takes UMT5's tokenizer.json, and that of a class it does not know, as they are.
    pub(super) fn says_t5(&self) -> bool {
        let class = self.class.as_deref().is_none_or(|class| matches!(class, "T5Tokenizer" | "MT5Tokenizer"));
        class && self.model_type.as_deref() != Some("umt5")
    }

    /// Padding, end and unknown as a ByT5 has them: with the flags that the files tell, and otherwise taking the spaces
    /// around them away.
    pub(super) fn named(&self) -> [AddedToken; 3] {
        let strips = |token: &Option<Token>, text: &str| match token {
            Some(token @ Token::Full { .. }) => token.clone().added(true),
            Some(Token::Text(text)) => AddedToken::from(text.as_str(), true).lstrip(true).rstrip(true),
            None => AddedToken::from(text, true).lstrip(true).rstrip(true),
        };
        let Named { pad_token, eos_token, unk_token } = &self.named;
        [strips(pad_token, "<pad>"), strips(eos_token, "</s>"), strips(unk_token, "<unk>")]
    }
}

impl Tokens {
    fn into_vec(self) -> Vec<Token> {
        match self {
            Self::List(tokens) => tokens,
            Self::Names(tokens) => tokens.into_values().collect(),
        }
    }
}

impl Token {
    /// `always_special`: where the list that the token stands in makes it special.
    fn added(self, always_special: bool) -> AddedToken {
        match self {
            Self::Text(content) => AddedToken::from(content, always_special),
            Self::Full { content, single_word, lstrip, rstrip, normalized, special } => {
                let special = special || always_special;
                let normalized = normalized.unwrap_or(!special);
                AddedToken { content, single_word, lstrip, rstrip, normalized, special }
            }
        }
    }
}

/// A file's content; none if there is no such file.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let wrong = |what: String| Error::Tokenizer(format!("`{}` {what}", path.display()));
    match std::fs::read(path) {
        Ok(bytes) => {
            let value = serde_json::from_slice(&bytes);
            value.map(Some).map_err(|error| wrong(format!("is not what transformers writes: {error}")))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(format!("cannot be read: {error}"))),
    }
}
