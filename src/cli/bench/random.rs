//! Random adapters that look like found ones: what they cost depends on where their modules stand, not on their values.

use crate::delta::Layout;
use crate::structure::{
    DeltaModule, Kind, ModuleProbability, Origin, Positions, Provenance, Shape, Site, Space, Structure,
};
use anyhow::{Result, bail};
use rand::seq::index::sample;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::num::NonZeroUsize;

/// Modules of a random structure, as many as searches find on T5-small at the paper's budget.
const MODULES: usize = 60;
/// Rank of LoRA where none is said, PEFT's default.
const RANK: usize = 8;
/// Bound of the values: each module changes the output, none overflows it.
const BOUND: f32 = 0.1;

/// What kind of adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AdapterKind {
    /// About 60 modules of the space `mix`, drawn for each adapter.
    MixStructure,
    /// LoRA on every q and v, cross-attention's too, as PEFT's target_modules=["q", "v"] places it.
    LoraQv,
}

/// Which random adapters to make.
#[derive(Debug, clap::Args)]
pub(super) struct Drawn {
    /// What the adapters are.
    #[arg(long, value_enum, default_value = "mix-structure")]
    pub(super) kind: AdapterKind,
    /// Rank of lora-qv [default: 8].
    #[arg(long, value_name = "R")]
    rank: Option<NonZeroUsize>,
}

impl Drawn {
    /// The rank of LoRA.
    pub(super) fn rank(&self) -> Result<usize> {
        if self.rank.is_some() && self.kind == AdapterKind::MixStructure {
            bail!("--rank is for --kind lora-qv: the modules of a structure have ranks of their own");
        }
        Ok(self.rank.map_or(RANK, NonZeroUsize::get))
    }
}

impl AdapterKind {
    /// The structure of adapter number `index`; `rank` is that of LoRA.
    pub(super) fn structure(self, shape: &Shape, rank: usize, index: u64) -> Result<Structure> {
        match self {
            Self::MixStructure => mix(shape, index),
            Self::LoraQv => {
                let positions = Positions::new(shape);
                let taken = |path: &str, site| {
                    matches!(site, Site::Linear { .. }) && (path.ends_with(".q") || path.ends_with(".v"))
                };
                let kind = Kind::Lora { rank, alpha: rank as f64 };
                let module = |(_, path, site)| taken(path, site).then(|| DeltaModule::new(path, kind));
                let modules = positions.iter().filter_map(module).collect();
                Ok(Structure::new(shape, modules, Provenance::new(Origin::Manual))?)
            }
        }
    }
}

/// A structure as a search leaves it, the p of its whole space included.
fn mix(shape: &Shape, index: u64) -> Result<Structure> {
    let mut rng = rng(index, 0);
    let space = Space::built_in("mix", shape)?;
    let mut chosen = vec![false; space.len()];
    sample(&mut rng, space.len(), MODULES.min(space.len())).iter().for_each(|at| chosen[at] = true);
    let each = space.modules().iter().zip(space.sizes()).zip(&chosen);
    let mut provenance = Provenance::new(Origin::Search);
    provenance.probabilities = each
        .map(|((module, parameters), chosen)| {
            let p = if *chosen { rng.random_range(0.5..1.0) } else { rng.random_range(0.0..0.5) };
            ModuleProbability {
                module: module.clone(),
                p,
                deviation: None,
                logits: Vec::new(),
                parameters: *parameters,
            }
        })
        .collect();
    provenance.space = Some(space.name().into());
    let modules = space.modules().iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|(module, _)| module.clone());
    Ok(Structure::new(shape, modules.collect(), provenance)?)
}

/// The modules of such a structure that stand in the decoder.
pub(super) fn decoder_side(shape: &Shape, index: u64) -> Result<Structure> {
    let mut modules = mix(shape, index)?.modules;
    modules.retain(|module| module.position.starts_with("decoder."));
    Ok(Structure::new(shape, modules, Provenance::new(Origin::Manual))?)
}

/// Values of adapter number `index`, flat in its layout.
pub(super) fn values(layout: &Layout, index: u64) -> Vec<f32> {
    let mut rng = rng(index, 1);
    (0..layout.len()).map(|_| rng.random_range(-BOUND..BOUND)).collect()
}

fn rng(index: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(index);
    rng.set_stream(stream);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t5::Backbone;

    #[test]
    fn structures_differ_by_their_number_alone() {
        let shape = Backbone::resolve_config("builtin:pocket-t5").unwrap().shape();
        let mix = |index| AdapterKind::MixStructure.structure(&shape, 8, index).unwrap();
        assert_eq!((mix(3).id, mix(3).modules.len()), (mix(3).id, MODULES));
        assert_ne!(mix(3).id, mix(4).id);
        let valid = mix(3).validate().unwrap();
        assert_eq!(valid.provenance[0].probabilities.len(), Space::built_in("mix", &shape).unwrap().len());
        let lora = AdapterKind::LoraQv.structure(&shape, 8, 0).unwrap();
        assert_eq!(lora.modules.len(), 2 * (shape.encoder_layers + 2 * shape.decoder_layers));
        let layout = Layout::new(&Positions::new(&shape), &lora.modules).unwrap();
        assert_ne!(values(&layout, 0), values(&layout, 1));
    }
}
