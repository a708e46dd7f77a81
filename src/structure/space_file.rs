//! User-made search spaces: a small TOML of include and exclude rules.
//!
//! ```toml
//! name = "late-decoder"
//! base = "mix"                         # optional: start from a built-in space
//!
//! [[include]]                          # adds, or replaces the hyper-parameters of what is there
//! kinds = ["lora"]
//! positions = ["EncDecAttention.v"]    # suffixes; none means every position that admits the kind
//! stack = "decoder"
//! layers = [3, 5]                      # first and last block, both included
//! rank = 4
//!
//! [[exclude]]
//! kinds = ["bitfit"]
//! positions = ["k"]
//! ```

use super::{DeltaModule, Error, Kind, KindName, Positions, Result, Site, Space};
use serde::{Deserialize, Serialize};

/// A user-made search space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpaceFile {
    /// Name shown with what is searched in it.
    pub name: String,
    /// Built-in space to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What to add, in order.
    #[serde(default)]
    pub include: Vec<Rule>,
    /// What to take away afterwards.
    #[serde(default)]
    pub exclude: Vec<Rule>,
}

/// Which modules a rule speaks of; what is left out matches everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Kinds; none means all.
    #[serde(default)]
    pub kinds: Vec<KindName>,
    /// Suffixes of positions at a dot, such as `SelfAttention.q`; none means all.
    #[serde(default)]
    pub positions: Vec<String>,
    /// `encoder` or `decoder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// First and last block, both included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<[usize; 2]>,
    /// Rank of the LoRA and low-rank adapters that the rule adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// LoRA's scaling numerator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Inner width of the adapters that the rule adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<usize>,
}

impl SpaceFile {
    /// Reads a space from TOML text.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| Error::Space(format!("the space file is not valid: {error}")))
    }

    pub(super) fn modules(&self, positions: &Positions) -> Result<Vec<DeltaModule>> {
        let mut modules = match &self.base {
            Some(base) => Space::built_in(base, positions.shape())?.modules().to_vec(),
            None => Vec::new(),
        };
        for rule in &self.include {
            let before = modules.len();
            let mut replaced = 0;
            for (_, path, site) in positions.iter().filter(|(_, path, _)| rule.matches_path(path)) {
                for kind in rule.kinds(positions.shape().d_model, site) {
                    let module = DeltaModule::new(path, kind);
                    let same = |m: &&mut DeltaModule| m.position == path && m.kind.name() == kind.name();
                    match modules.iter_mut().find(same) {
                        Some(known) => {
                            *known = module;
                            replaced += 1;
                        }
                        None => modules.push(module),
                    }
                }
            }
            if modules.len() == before && replaced == 0 {
                return Err(Error::Space(format!(
                    "an include rule of the space `{}` matches no position: {}",
                    self.name,
                    serde_json::to_string(rule).unwrap_or_default()
                )));
            }
        }
        modules.retain(|module| !self.exclude.iter().any(|rule| rule.matches(module)));
        Ok(modules)
    }
}

impl Rule {
    fn matches(&self, module: &DeltaModule) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&module.kind.name())) && self.matches_path(&module.position)
    }

    fn matches_path(&self, path: &str) -> bool {
        let suffix = |wanted: &String| {
            path == wanted
                || (path.len() > wanted.len() && path.ends_with(wanted) && {
                    path.as_bytes()[path.len() - wanted.len() - 1] == b'.'
                })
        };
        let mut parts = path.split('.');
        let stack = parts.next();
        let block = parts.nth(1).and_then(|number| number.parse::<usize>().ok());
        (self.positions.is_empty() || self.positions.iter().any(suffix))
            && self.stack.as_deref().is_none_or(|wanted| stack == Some(wanted))
            && self.layers.is_none_or(|[first, last]| block.is_some_and(|block| (first..=last).contains(&block)))
    }

    fn kinds(&self, d_model: usize, site: Site) -> Vec<Kind> {
        let names = if self.kinds.is_empty() { &KindName::ALL[..] } else { &self.kinds[..] };
        let with_own = |name: &KindName| match name.with_defaults(d_model) {
            Kind::Lora { rank, alpha } => {
                Kind::Lora { rank: self.rank.unwrap_or(rank), alpha: self.alpha.unwrap_or(alpha) }
            }
            Kind::LowRankAdapter { bottleneck, rank } => Kind::LowRankAdapter {
                bottleneck: self.bottleneck.unwrap_or(bottleneck),
                rank: self.rank.unwrap_or(rank),
            },
            Kind::Adapter { bottleneck } => Kind::Adapter { bottleneck: self.bottleneck.unwrap_or(bottleneck) },
            Kind::ParallelAdapter { bottleneck } => {
                Kind::ParallelAdapter { bottleneck: self.bottleneck.unwrap_or(bottleneck) }
            }
            other => other,
        };
        names.iter().map(with_own).filter(|kind| kind.admitted_at(site)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::Shape;

    fn shape() -> Shape {
        Shape::small()
    }

    /// One line a case: the file, and what `module count: first module` it gives, or a part of the error.
    #[track_caller]
    fn check(text: &str, wanted: &str) {
        let found = match SpaceFile::parse(text).and_then(|file| Space::from_file(&file, &shape())) {
            Ok(space) => format!("{}: {}", space.len(), space.modules()[0].signature()),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(wanted), "{text}\n gave {found}\nwanted {wanted}");
    }

    #[test]
    fn rules_include_exclude_and_replace() {
        let v = "name='x'\n[[include]]\nkinds=['lora']\npositions=['EncDecAttention.v']\nlayers=[1,1]\nrank=4";
        check(v, r#"1: {"position":"decoder.block.1.layer.1.EncDecAttention.v","kind":"lora","rank":4,"alpha":16.0}"#);
        check("name='x'\nbase='lora'\n[[exclude]]\nstack='encoder'", "14: {\"position\":\"decoder.block.0");
        check("name='x'\nbase='lora'\n[[include]]\nkinds=['lora']\npositions=['q']\nrank=2", "\"rank\":2");
        check("name='x'\n[[include]]\npositions=['nowhere']", "matches no position");
        check("name='x'\nbase='mix'\n[[exclude]]", "has no module");
        check("name='x'\n[[include]]\nkind=['lora']", "unknown field `kind`");
        check("name='x'\nbase='nix'", "unknown space `nix`");
    }
}
