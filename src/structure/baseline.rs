//! Structures that need no search (method.md sections 2 and 5): a random draw, and the hand-made ones.

use super::{DeltaModule, KindName, Origin, Positions, Provenance, Result, Shape, Site, Space, Structure, random};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// A structure that needs no search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Baseline {
    /// Drawn uniformly from a space while anything fits the budget.
    Random,
    /// BitFit on self-attention, feed-forward, layer norms and `lm_head`.
    Bitfit,
    /// LNFit on every layer norm.
    Lnfit,
    /// LoRA r = 1 on every self-attention q and v.
    LoraQv,
    /// Low-rank adapters after every self-attention and feed-forward.
    LowRankAdapter,
    /// Dense adapters there.
    Adapter,
}

impl Baseline {
    /// Every baseline.
    pub const ALL: [Self; 6] =
        [Self::Random, Self::Bitfit, Self::Lnfit, Self::LoraQv, Self::LowRankAdapter, Self::Adapter];

    /// The word used in requests and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Bitfit => "bitfit",
            Self::Lnfit => "lnfit",
            Self::LoraQv => "lora_qv",
            Self::LowRankAdapter => "low_rank_adapter",
            Self::Adapter => "adapter",
        }
    }

    /// The baseline of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|baseline| baseline.as_str() == name)
    }

    /// The structure; `space` and `budget` matter to the random draw alone.
    pub fn structure(self, space: &Space, budget: usize, rng: &mut impl Rng) -> Result<Structure> {
        let shape = space.positions().shape();
        if self == Self::Random {
            let chosen = random(space.sizes(), budget, rng);
            let modules = space.modules().iter().zip(chosen).filter(|(_, c)| *c).map(|(m, _)| m.clone()).collect();
            let mut provenance = Provenance::new(Origin::Random);
            (provenance.space, provenance.budget) = (Some(space.name().into()), Some(budget));
            return Structure::new(shape, modules, provenance);
        }
        Structure::new(shape, self.modules(shape), Provenance::new(Origin::Manual))
    }

    fn modules(self, shape: &Shape) -> Vec<DeltaModule> {
        let wanted = |path: &str, site: Site| {
            let own = !path.contains(".EncDecAttention");
            match (self, site) {
                (Self::Bitfit, Site::Linear { .. } | Site::Norm { .. }) => own.then_some(KindName::Bitfit),
                (Self::Lnfit, Site::Norm { .. }) => Some(KindName::Lnfit),
                (Self::LoraQv, _) if path.ends_with("SelfAttention.q") || path.ends_with("SelfAttention.v") => {
                    Some(KindName::Lora)
                }
                (Self::LowRankAdapter, Site::Module { .. }) => own.then_some(KindName::LowRankAdapter),
                (Self::Adapter, Site::Module { .. }) => own.then_some(KindName::Adapter),
                _ => None,
            }
        };
        let positions = Positions::new(shape);
        let module =
            |(_, path, site)| wanted(path, site).map(|kind| DeltaModule::new(path, kind.with_defaults(shape.d_model)));
        positions.iter().filter_map(module).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameter counts of the paper's Table 2 on T5-large.
    #[test]
    fn t5_large_counts_are_the_papers() {
        let shape = Shape::large();
        let space = Space::built_in("mix", &shape).unwrap();
        use rand::SeedableRng;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
        let mut parameters = |baseline: Baseline| baseline.structure(&space, 102_458, &mut rng).unwrap().parameters();
        assert_eq!(parameters(Baseline::Bitfit), 599_396);
        assert_eq!(parameters(Baseline::Lnfit), 124_928);
        assert_eq!(parameters(Baseline::LoraQv), 196_608);
        assert_eq!(parameters(Baseline::LowRankAdapter), 304_128);
        assert_eq!(parameters(Baseline::Adapter), 4_819_200);
        assert!((102_458 - 1024..=102_458).contains(&parameters(Baseline::Random)));
    }
}
