//! Who may do what: bearer tokens with scopes, kept hashed in `HOME/tokens.json`.
//!
//! A server without tokens answers everyone, which is why it listens on loopback only (see `serve`).

use super::{ApiError, AppState, extract::header};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION, request::Parts},
};
use rand::{TryRng, rngs::SysRng};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    io,
    marker::PhantomData,
    path::{Path, PathBuf},
    str::FromStr,
};

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at everything stored.
    Read,
    /// Ask the model.
    Infer,
    /// Submit, cancel and resume jobs; put tasks.
    Train,
    /// Upload and delete; move aliases.
    Admin,
}

impl Scope {
    /// The word used in JSON and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Infer => "infer",
            Scope::Train => "train",
            Scope::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Read, Self::Infer, Self::Train, Self::Admin]
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| format!("unknown scope `{text}`: use read, infer, train or admin"))
    }
}

/// A token as stored: its hash, never itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Whose it is, for people.
    pub name: String,
    /// BLAKE3 of the token, in hex.
    pub hash: String,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created: jiff::Timestamp,
}

/// The tokens of a home.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    path: PathBuf,
    tokens: Vec<Token>,
}

impl Tokens {
    /// Reads `HOME/tokens.json`; none if there is no such file.
    ///
    /// # Errors
    /// If the file is there and cannot be read: a broken file must not open the server to everyone.
    pub fn open(home: &Path) -> io::Result<Self> {
        let path = home.join("tokens.json");
        let tokens = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("tokens.json: {error}")))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, tokens })
    }

    /// The stored tokens.
    pub fn list(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether there is none, so that everyone may do everything.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Makes a token and stores its hash; the token itself is returned this once.
    pub fn create(&mut self, name: &str, scopes: BTreeSet<Scope>) -> io::Result<String> {
        let mut secret = [0u8; 32];
        SysRng.try_fill_bytes(&mut secret).map_err(io::Error::other)?;
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = format!("s3d_{hex}");
        let hash = blake3::hash(token.as_bytes()).to_hex().to_string();
        self.tokens.push(Token { name: name.into(), hash, scopes, created: jiff::Timestamp::now() });
        self.store()?;
        Ok(token)
    }

    /// Removes all tokens of a name; whether there was one.
    pub fn revoke(&mut self, name: &str) -> io::Result<bool> {
        let before = self.tokens.len();
        self.tokens.retain(|token| token.name != name);
        self.store()?;
        Ok(self.tokens.len() < before)
    }

    fn store(&self) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.path.parent().unwrap_or(Path::new(".")))?;
        serde_json::to_writer_pretty(&mut file, &self.tokens)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }

    /// What the caller may do: everything where there are no tokens.
    fn scopes(&self, headers: &HeaderMap) -> Result<Option<&BTreeSet<Scope>>, ApiError> {
        if self.is_empty() {
            return Ok(None);
        }
        let refused = |code, message| ApiError::new(StatusCode::UNAUTHORIZED, code, message);
        let given = header(headers, AUTHORIZATION.as_str())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| blake3::hash(token.trim().as_bytes()))
            .ok_or_else(|| refused("token_missing", "this server wants a token: send `Authorization: Bearer …`"))?;
        // blake3::Hash compares in constant time; every token is compared, whichever matches
        let matches = |token: &Token| blake3::Hash::from_hex(&token.hash).is_ok_and(|hash| hash == given);
        let found = self.tokens.iter().fold(None, |found, token| if matches(token) { Some(token) } else { found });
        let found = found.ok_or_else(|| refused("token_invalid", "the token is not known to this server"))?;
        Ok(Some(&found.scopes))
    }
}

/// A kind of caller, as a type.
pub(crate) trait Scoped: Send + Sync {
    /// What such a caller may do.
    const SCOPE: Scope;
}

macro_rules! scopes {
    ($($name:ident),*) => {$(
        /// A caller with this scope.
        #[derive(Debug)]
        pub(crate) struct $name;
        impl Scoped for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )*};
}
scopes!(Read, Infer, Train, Admin);

/// First argument of a handler: refuses callers without the scope before the body is read.
#[derive(Debug)]
pub(crate) struct May<S>(PhantomData<S>);

impl<S: Scoped> FromRequestParts<AppState> for May<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        match state.tokens.scopes(&parts.headers)? {
            Some(scopes) if !scopes.contains(&S::SCOPE) => {
                let scope = S::SCOPE.as_str();
                let message = format!("this needs a token with the scope `{scope}`");
                Err(ApiError::new(StatusCode::FORBIDDEN, "scope_missing", message))
            }
            _ => Ok(Self(PhantomData)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn tokens_are_kept_hashed_and_can_be_revoked() {
        let home = tempfile::tempdir().unwrap();
        let mut tokens = Tokens::open(home.path()).unwrap();
        assert_eq!(tokens.scopes(&HeaderMap::new()).unwrap(), None);
        let secret = tokens.create("ci", BTreeSet::from([Scope::Read])).unwrap();
        let stored = std::fs::read_to_string(home.path().join("tokens.json")).unwrap();
        assert!(!stored.contains(&secret) && !stored.contains(secret.trim_start_matches("s3d_")));
        let again = Tokens::open(home.path()).unwrap();
        let scopes = again.scopes(&headers(&format!("Bearer {secret}"))).unwrap();
        assert_eq!(scopes, Some(&BTreeSet::from([Scope::Read])));
        assert!(tokens.revoke("ci").unwrap() && !tokens.revoke("ci").unwrap());
        assert!(Tokens::open(home.path()).unwrap().is_empty());
    }

    #[test]
    fn missing_and_wrong_tokens_are_told_apart() {
        let home = tempfile::tempdir().unwrap();
        let mut tokens = Tokens::open(home.path()).unwrap();
        let secret = tokens.create("ci", BTreeSet::from([Scope::Read])).unwrap();
        let check = |value: &str, wanted: &str| {
            let found = tokens.scopes(&headers(value)).map_or_else(|error| error.code().to_string(), |_| "fine".into());
            assert_eq!(found, wanted, "{value}");
        };
        check(&format!("bearer {secret}"), "fine");
        check(&format!("Basic {secret}"), "token_missing");
        check("Bearer s3d_00", "token_invalid");
        check("Bearer", "token_missing");
    }

    #[test]
    fn a_broken_file_is_not_no_tokens() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("tokens.json"), "[").unwrap();
        assert!(Tokens::open(home.path()).unwrap_err().to_string().contains("tokens.json"));
    }
}
