//! What a structure's modules take of this machine's processor.

use super::rows::Rows;
use super::{Layout, Single};
use crate::structure::{DeltaModule, Origin, PositionId, Positions, Provenance, Site, Space, Structure, reads_source};
use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Measurements at most, of which the shortest counts, and how long they may take.
const ROUNDS: usize = 9;
const PATIENCE: Duration = Duration::from_millis(30);

/// How long a structure's modules take for one request, in microseconds on one thread of the CPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// For a source of the asked number of tokens: modules of the encoder, and of cross-attention's keys and values.
    pub source: f64,
    /// For each token that is made: the other modules.
    pub token: f64,
}

/// Measures the modules, with made-up values, in the loops that serve mixed batches on the CPU: each alone on an activation of
/// its place, the shortest of a few rounds.
///
/// # Errors
/// If a module does not stand where the structure says.
pub fn measure(structure: &Structure, source_tokens: usize) -> crate::structure::Result<Cost> {
    let (positions, device) = (Positions::new(&structure.shape), Device::flex());
    let layout = Layout::new(&positions, &structure.modules)?;
    let values: Vec<f32> = (0..layout.len()).map(|at| (at % 7) as f32 * 0.01 - 0.03).collect();
    let single = Arc::new(Single::new(&layout, values, positions.len(), &device));
    let rows = Rows::new(&[Some(single)], positions.len()).expect("the values are on the host");
    let mut places: Vec<Place> = positions
        .iter()
        .filter(|(id, ..)| rows.touches(*id))
        .map(|(id, path, site)| Place::new(id, site, reads_source(path), source_tokens, &device))
        .collect();
    let (started, mut least) = (Instant::now(), Cost { source: f64::INFINITY, token: f64::INFINITY });
    for round in 0..ROUNDS {
        let mut cost = Cost { source: 0.0, token: 0.0 };
        for place in &mut places {
            let seconds = place.run(&rows);
            *(if place.of_source { &mut cost.source } else { &mut cost.token }) += seconds * 1e6;
        }
        least = Cost { source: least.source.min(cost.source), token: least.token.min(cost.token) };
        if round > 0 && started.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(least)
}

/// Microseconds that modules add to a request of so many source tokens and tokens made, each kind on each place measured once, as
/// [`measure`] does.
#[derive(Debug, Clone)]
pub struct ModuleCosts {
    source_tokens: usize,
    new_tokens: usize,
    known: BTreeMap<String, f64>,
}

impl ModuleCosts {
    /// With what was measured before.
    pub fn new(source_tokens: usize, new_tokens: usize, known: BTreeMap<String, f64>) -> Self {
        Self { source_tokens, new_tokens, known }
    }

    /// All that was measured.
    pub fn known(&self) -> &BTreeMap<String, f64> {
        &self.known
    }

    /// Of each module of a space.
    ///
    /// # Errors
    /// If a module does not stand where the space says.
    pub fn of(&mut self, space: &Space) -> crate::structure::Result<Vec<f64>> {
        let modules = space.modules().iter().zip(space.ids());
        modules.map(|(module, id)| self.one(module, *id, space.positions())).collect()
    }

    fn one(&mut self, module: &DeltaModule, id: PositionId, positions: &Positions) -> crate::structure::Result<f64> {
        let Self { source_tokens, new_tokens, .. } = *self;
        let part = if reads_source(&module.position) { "source" } else { "target" };
        let site = positions.site(id);
        // the loops of another version may take longer
        let version = env!("CARGO_PKG_VERSION");
        let key = format!("{version}, {source_tokens} to {new_tokens} tokens, {part}: {:?} on {site:?}", module.kind);
        if let Some(cost) = self.known.get(&key) {
            return Ok(*cost);
        }
        let alone = Structure::new(positions.shape(), vec![module.clone()], Provenance::new(Origin::Manual))?;
        let Cost { source, token } = measure(&alone, source_tokens)?;
        let cost = source + token * new_tokens as f64;
        self.known.insert(key, cost);
        Ok(cost)
    }
}

/// A touched position with what goes in and out.
struct Place {
    id: PositionId,
    of_source: bool,
    epsilon: Option<f64>,
    x: Tensor<3>,
    y: Option<Tensor<3>>,
}

impl Place {
    fn new(id: PositionId, site: Site, of_source: bool, source_tokens: usize, device: &Device) -> Self {
        let tokens = if of_source { source_tokens } else { 1 };
        let d_in = if let Site::Linear { d_in, .. } = site { d_in } else { site.d_out() };
        Self {
            id,
            of_source,
            epsilon: matches!(site, Site::Norm { .. }).then_some(1e-6),
            x: Tensor::full([1, tokens, d_in], 0.5, device),
            y: Some(Tensor::zeros([1, tokens, site.d_out()], device)),
        }
    }

    /// Seconds that its modules take.
    fn run(&mut self, rows: &Rows) -> f64 {
        let y = self.y.take().expect("it is put back below");
        let d_out = y.dims()[2];
        let started = Instant::now();
        self.y = Some(rows.add(self.id, &self.x, y, 0..d_out, self.epsilon));
        started.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::{Kind, Shape};

    #[test]
    fn each_part_is_measured_for_what_stands_in_it() {
        let shape = Shape { encoder_layers: 1, decoder_layers: 1, gated: false, ..Shape::small() };
        let cost = |modules: &[(&str, Kind)]| {
            let modules = modules.iter().map(|(position, kind)| DeltaModule::new(*position, *kind)).collect();
            let structure = Structure::new(&shape, modules, Provenance::new(Origin::Manual)).unwrap();
            measure(&structure, 64).unwrap()
        };
        let encoder = ("encoder.block.0.layer.1.DenseReluDense", Kind::Adapter { bottleneck: 24 });
        let values = ("decoder.block.0.layer.1.EncDecAttention.v", Kind::Lora { rank: 8, alpha: 16.0 });
        let norm = ("decoder.final_layer_norm", Kind::Lnfit);
        for source in [encoder, values] {
            let cost = cost(&[source]);
            assert!(cost.source > 0.0 && cost.token == 0.0, "{cost:?}");
        }
        let found = cost(&[norm]);
        assert!(found.source == 0.0 && found.token > 0.0, "{found:?}");
        let both = cost(&[encoder, norm]);
        assert!(both.source > both.token, "64 tokens through a bottleneck take longer than one norm: {both:?}");
    }

    #[test]
    fn each_kind_of_place_is_measured_once() {
        let shape = Shape { gated: false, ..Shape::small() };
        let space = Space::built_in("mix", &shape).unwrap();
        let mut costs = ModuleCosts::new(16, 4, BTreeMap::new());
        let first = costs.of(&space).unwrap();
        assert!(first.len() == space.len() && first.iter().all(|cost| *cost > 0.0));
        let kinds = costs.known.len();
        assert!(kinds < space.len() / 2, "{kinds} of {}", space.len());
        assert_eq!(costs.of(&space).unwrap(), first);
    }
}
