//! Search spaces: the delta modules that a search may choose from, in canonical order (method.md section 2).

use super::{DeltaModule, Error, KindName, PositionId, Positions, Result, Shape, Site, SpaceFile};
use serde::Serialize;
use std::collections::BTreeMap;

/// An ordered, duplicate-free list of delta modules over one backbone shape.
#[derive(Debug, Clone)]
pub struct Space {
    name: String,
    positions: Positions,
    modules: Vec<DeltaModule>,
    ids: Vec<PositionId>,
    sizes: Vec<usize>,
}

/// A count of modules and of their parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Total {
    /// Delta modules.
    pub modules: usize,
    /// Trained parameters.
    pub parameters: usize,
}

/// What `s3delta space` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SpaceSummary {
    /// Name of the space.
    pub name: String,
    /// Delta modules.
    pub modules: usize,
    /// Trained parameters.
    pub parameters: usize,
    /// The same by kind.
    pub by_kind: BTreeMap<&'static str, Total>,
}

impl Space {
    /// Names of the built-in spaces.
    pub const BUILT_IN: [&'static str; 3] = ["mix", "lora", "full"];

    /// A built-in space by name: `mix` and `lora` are the paper's; `full` adds the cross-attention projections and
    /// leaves out BitFit on every k, whose gradient is zero.
    pub fn built_in(name: &str, shape: &Shape) -> Result<Self> {
        let positions = Positions::new(shape);
        let mut modules = Vec::new();
        for (_, path, site) in positions.iter() {
            let cross = path.contains(".EncDecAttention");
            let kinds: &[KindName] = match (site, name) {
                _ if path == "lm_head" => &[],
                (Site::Linear { .. }, "mix") if cross => &[],
                (Site::Linear { .. }, "full") if path.ends_with(".k") => &[KindName::Lora],
                (Site::Linear { .. }, "mix" | "full") => &[KindName::Lora, KindName::Bitfit],
                (Site::Linear { .. }, "lora") if !cross => &[KindName::Lora],
                (Site::Norm { .. }, "mix" | "full") => &[KindName::Lnfit, KindName::Bitfit],
                (Site::Module { .. }, "mix" | "full") if !cross => &[KindName::LowRankAdapter],
                (_, "mix" | "lora" | "full") => &[],
                _ => {
                    return Err(Error::Space(format!(
                        "unknown space `{name}`: use mix, lora, full, or the path of a TOML file"
                    )));
                }
            };
            modules.extend(kinds.iter().map(|kind| DeltaModule::new(path, kind.with_defaults(shape.d_model))));
        }
        Self::from_modules(name, positions, modules)
    }

    /// A user-made space.
    pub fn from_file(file: &SpaceFile, shape: &Shape) -> Result<Self> {
        let positions = Positions::new(shape);
        let modules = file.modules(&positions)?;
        Self::from_modules(&file.name, positions, modules)
    }

    /// A space of exactly these modules, put into canonical order; refuses none, duplicates and what does not fit.
    pub fn from_modules(name: &str, positions: Positions, mut modules: Vec<DeltaModule>) -> Result<Self> {
        if modules.is_empty() {
            return Err(Error::Space(format!("the space `{name}` has no module: widen its include rules")));
        }
        canonical_order(&positions, &mut modules)?;
        let ids: Vec<_> = modules.iter().map(|module| module.check(&positions)).collect::<Result<_>>()?;
        let sizes = modules.iter().zip(&ids).map(|(module, id)| module.kind.parameters(positions.site(*id))).collect();
        Ok(Self { name: name.into(), positions, modules, ids, sizes })
    }

    /// The space's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The positions of the backbone shape.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// The modules in canonical order.
    pub fn modules(&self) -> &[DeltaModule] {
        &self.modules
    }

    /// Position of each module.
    pub fn ids(&self) -> &[PositionId] {
        &self.ids
    }

    /// Trained parameters of each module, |δ_i|.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Number of modules.
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// Trained parameters of all modules together.
    pub fn parameters(&self) -> usize {
        self.sizes.iter().sum()
    }

    /// Counts in all and by kind.
    pub fn summary(&self) -> SpaceSummary {
        let mut by_kind: BTreeMap<&'static str, Total> = BTreeMap::new();
        for (module, size) in self.modules.iter().zip(&self.sizes) {
            let total = by_kind.entry(module.kind.name().as_str()).or_default();
            total.modules += 1;
            total.parameters += size;
        }
        SpaceSummary { name: self.name.clone(), modules: self.len(), parameters: self.parameters(), by_kind }
    }
}

/// Sorts modules as method.md orders them (bottleneck adapters last) and refuses two of a kind at one position.
pub(super) fn canonical_order(positions: &Positions, modules: &mut [DeltaModule]) -> Result<()> {
    for module in modules.iter() {
        module.check(positions)?;
    }
    let key = |module: &DeltaModule| {
        let kind = module.kind.name();
        (kind.is_bottleneck(), positions.id(&module.position).ok(), kind)
    };
    modules.sort_by_key(key);
    match modules.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
        Some(pair) => Err(Error::Duplicate { kind: pair[0].kind.name().as_str(), position: pair[0].position.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t5_large_counts_are_the_papers() {
        let mix = Space::built_in("mix", &Shape::large()).unwrap().summary();
        assert_eq!((mix.modules, mix.parameters), (916, 1_881_088));
        let by_kind = |name| (mix.by_kind[name].modules, mix.by_kind[name].parameters);
        assert_eq!(by_kind("lora"), (288, 393_216 + 491_520));
        assert_eq!(by_kind("bitfit"), (192 + 96 + 122, 196_608 + 245_760 + 124_928));
        assert_eq!(by_kind("lnfit"), (122, 124_928));
        assert_eq!(by_kind("low_rank_adapter"), (96, 304_128));
        let lora = Space::built_in("lora", &Shape::large()).unwrap().summary();
        assert_eq!((lora.modules, lora.parameters), (288, 884_736));
    }

    #[test]
    fn full_adds_cross_attention_and_drops_bitfit_on_k() {
        let full = Space::built_in("full", &Shape::large()).unwrap();
        // mix + 96 cross LoRA + 72 cross BitFit (q, v, o) - 48 self-attention k BitFit
        assert_eq!(full.len(), 916 + 96 + 72 - 48);
        assert!(!full.modules().iter().any(|m| m.position.ends_with(".k") && m.kind == crate::structure::Kind::Bitfit));
    }

    #[test]
    fn order_is_the_references() {
        let mix = Space::built_in("mix", &Shape::large()).unwrap();
        let text = |m: &DeltaModule| format!("{} {}", m.position, m.kind.name().as_str());
        let first: Vec<_> = mix.modules().iter().take(3).map(text).collect();
        assert_eq!(
            first,
            [
                "encoder.block.0.layer.0.SelfAttention.q lora",
                "encoder.block.0.layer.0.SelfAttention.q bitfit",
                "encoder.block.0.layer.0.SelfAttention.k lora",
            ]
        );
        assert_eq!(text(&mix.modules()[8]), "encoder.block.0.layer.0.layer_norm lnfit");
        assert_eq!(text(&mix.modules()[916 - 96]), "encoder.block.0.layer.0.SelfAttention low_rank_adapter");
    }

    #[test]
    fn gated_feed_forward_has_two_inputs() {
        let shape = Shape { gated: true, ..Shape::large() };
        let space = Space::built_in("mix", &shape).unwrap();
        assert_eq!(space.len(), 916 + 2 * 48);
    }

    #[test]
    fn refusals_name_the_position() {
        let positions = Positions::new(&Shape::large());
        let check = |position: &str, kind| {
            let modules = vec![DeltaModule::new(position, kind)];
            Space::from_modules("x", positions.clone(), modules).unwrap_err().to_string()
        };
        let lora = |rank| crate::structure::Kind::Lora { rank, alpha: 16.0 };
        let unknown = check("encoder.block.24.layer.0.SelfAttention.q", lora(1));
        assert!(
            unknown.contains("block.24") && unknown.contains("encoder.block.0.layer.0.SelfAttention.q"),
            "{unknown}"
        );
        let refused = check("encoder.block.0.layer.0.layer_norm", lora(1));
        assert!(refused.contains("lora cannot be placed") && refused.contains("layer norm"), "{refused}");
        let rank = check("encoder.block.0.layer.0.SelfAttention.q", lora(2000));
        assert!(rank.contains("rank 2000 exceeds the map's smaller width 1024"), "{rank}");
    }
}
