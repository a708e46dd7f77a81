//! Digests and names: how the registry's things are called.

use super::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The first 128 bits of a BLAKE3 hash, written as 32 lower-case hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        blake3::hash(bytes).into()
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&hash.as_bytes()[..16]);
        Self(short)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Digest(text.chars().take(64).collect());
        if text.len() != 32 || !is_hex(text) {
            return Err(wrong());
        }
        u128::from_str_radix(text, 16).map(|value| Self(value.to_be_bytes())).map_err(|_| wrong())
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl utoipa::PartialSchema for Digest {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^[0-9a-f]{32}$"))
            .description(Some("First 128 bits of a BLAKE3 hash, in hexadecimal"))
            .into()
    }
}

impl utoipa::ToSchema for Digest {}

/// Whether the text is lower-case hexadecimal.
pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Refuses names that would not survive a URL, a key of the store or `name@alias`.
pub fn check_name(what: &'static str, name: &str) -> Result<()> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good = (1..=128).contains(&name.len())
        && name.bytes().all(valid)
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if good { Ok(()) } else { Err(Error::Name { what, name: name.chars().take(160).collect(), hint: "" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_32_hex() {
        let digest = Digest::of(b"s3delta");
        assert_eq!(digest.to_string(), &blake3::hash(b"s3delta").to_hex()[..32]);
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        for wrong in ["", "abc", "0123456789ABCDEF0123456789ABCDEF", "+123456789abcdef0123456789abcdef", "../../etc"] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names() {
        let check = |name: &str, good: bool| assert_eq!(check_name("an adapter", name).is_ok(), good, "{name}");
        check("sst2", true);
        check("SST-2_v1.0", true);
        check("", false);
        check(".hidden", false);
        check("a/b", false);
        check("a@b", false);
        check("ä", false);
        check(&"x".repeat(128), true);
        check(&"x".repeat(129), false);
    }
}
