//! Budgets: how many parameters a structure may train.

use super::{Error, Result, Space};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A budget as users write it: `102458` parameters, `1.389e-4` of the backbone, or `5.447%` of the space.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub enum Budget {
    /// A number of parameters.
    Count(usize),
    /// A ratio of the backbone's parameters (tied weights once).
    Ratio(f64),
    /// A share of the search space's parameters, in (0, 1].
    Share(f64),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "give parameters (102458), a ratio of the backbone (1.389e-4), or a share of the space (5.447%)"
)]
enum Written {
    Number(serde_json::Number),
    Text(String),
}

impl TryFrom<Written> for Budget {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::Number(number) => number.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl utoipa::PartialSchema for Budget {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        let examples = ["102458", "1.389e-4", "5.447%"];
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("Parameters, a ratio of the backbone, or a share of the search space"))
            .examples(examples)
            .into()
    }
}

impl utoipa::ToSchema for Budget {}

impl From<Budget> for String {
    fn from(budget: Budget) -> String {
        budget.to_string()
    }
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Err(Error::Budget(format!("budget `{text}` {why}")));
        let forms = "is not 102458 (parameters), 1.389e-4 (of the backbone) or 5.447% (of the space)";
        let text = text.trim();
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.trim().parse::<f64>() {
                Ok(value) if value > 0.0 && value <= 100.0 => Ok(Budget::Share(value / 100.0)),
                Ok(_) => wrong("must lie above 0% and at most at 100% of the space"),
                Err(_) => wrong(forms),
            };
        }
        if let Ok(count) = text.parse::<usize>() {
            return if count == 0 { wrong("trains nothing: give at least 1") } else { Ok(Budget::Count(count)) };
        }
        match text.parse::<f64>() {
            Ok(value) if value > 0.0 && value < 1.0 => Ok(Budget::Ratio(value)),
            Ok(_) => wrong("must be a whole number of parameters, or a ratio between 0 and 1"),
            Err(_) => wrong(forms),
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Budget::Count(count) => write!(f, "{count}"),
            Budget::Ratio(ratio) => write!(f, "{ratio:e}"),
            // rounding hides 5.447 / 100 * 100 = 5.446999…
            Budget::Share(share) => write!(f, "{}%", (share * 1e14).round() / 1e12),
        }
    }
}

impl Budget {
    /// The number of parameters B that this allows, rounded to nearest.
    ///
    /// # Errors
    /// If not even the smallest module of the space fits; the message names that module. At or above the whole space
    /// the answer is the whole space.
    pub fn resolve(self, space: &Space, backbone_parameters: usize) -> Result<usize> {
        let total = space.parameters();
        let allowed = match self {
            Budget::Count(count) => count,
            Budget::Ratio(ratio) => (ratio * backbone_parameters as f64).round() as usize,
            Budget::Share(share) => (share * total as f64).round() as usize,
        };
        let (smallest, module) =
            space.sizes().iter().zip(space.modules()).min_by_key(|(size, _)| **size).expect("a space is not empty");
        if allowed < *smallest {
            return Err(Error::Budget(format!(
                "the budget {self} allows {allowed} parameters, fewer than the smallest module of `{}` needs: {} at `{}` \
                 has {smallest}; give at least {smallest}, or a share of the space such as 5.447%",
                space.name(),
                module.kind.name().as_str(),
                module.position,
            )));
        }
        Ok(allowed.min(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        let found = text.parse::<Budget>().map_or_else(|error| error.to_string(), |budget| format!("{budget:?}"));
        assert!(found.contains(wanted), "{text} gave {found}");
    }

    #[test]
    fn forms() {
        check("102458", "Count(102458)");
        check("1.389e-4", "Ratio(0.0001389)");
        check("5.447%", "Share(0.05447");
        check("100%", "Share(1.0)");
        check("0", "at least 1");
        check("101%", "at most at 100%");
        check("-3", "whole number");
        check("nan", "whole number");
        check("many", "is not 102458");
        for text in ["102458", "1.389e-4", "5.447%", "1.365%"] {
            assert_eq!(text.parse::<Budget>().unwrap().to_string(), text);
        }
    }
}
