//! Where each tensor of a list of modules lies in one flat vector.

use crate::structure::{DeltaModule, Init, Positions, Result, TensorSpec};
use rand::{Rng, RngExt};
use std::ops::Range;

/// The flat layout of the trained values of a list of modules, in their order.
#[derive(Debug, Clone)]
pub struct Layout {
    modules: Vec<ModuleLayout>,
    len: usize,
}

/// One module's part of a [`Layout`].
#[derive(Debug, Clone)]
pub(super) struct ModuleLayout {
    pub(super) module: DeltaModule,
    pub(super) position: crate::structure::PositionId,
    pub(super) tensors: Vec<(TensorSpec, Range<usize>)>,
}

impl Layout {
    /// Lays out `modules` over a backbone's positions; refuses what does not stand there.
    pub fn new(positions: &Positions, modules: &[DeltaModule]) -> Result<Self> {
        let mut len = 0;
        let mut place = |module: &DeltaModule| {
            let position = module.check(positions)?;
            let specs = module.kind.tensors(positions.site(position));
            let mut ranged = |spec: TensorSpec| {
                let range = len..len + spec.len();
                len = range.end;
                (spec, range)
            };
            let tensors = specs.into_iter().map(&mut ranged).collect();
            Ok(ModuleLayout { module: module.clone(), position, tensors })
        };
        let modules = modules.iter().map(&mut place).collect::<Result<Vec<_>>>()?;
        Ok(Self { modules, len })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no module.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn modules(&self) -> &[ModuleLayout] {
        &self.modules
    }

    /// Each module's values.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.modules.iter().map(|module| {
            let ends = module.tensors.first().zip(module.tensors.last());
            ends.map_or(0..0, |((_, first), (_, last))| first.start..last.end)
        })
    }

    /// Stored name, shape and place of every tensor.
    pub fn tensors(&self) -> impl Iterator<Item = (String, &[usize], Range<usize>)> {
        self.modules.iter().flat_map(|m| {
            m.tensors.iter().map(|(spec, range)| (m.module.tensor_name(spec), spec.shape.as_slice(), range.clone()))
        })
    }

    /// Initial values as method.md section 1 says, from this generator.
    pub fn init(&self, rng: &mut impl Rng) -> Vec<f32> {
        let mut values = vec![0.0; self.len];
        for (spec, range) in self.modules.iter().flat_map(|module| &module.tensors) {
            let values = &mut values[range.clone()];
            match spec.init {
                Init::Zero => {}
                Init::Uniform(bound) => values.iter_mut().for_each(|v| *v = rng.random_range(-bound..bound)),
                Init::Normal(deviation) => values.iter_mut().for_each(|v| *v = deviation * normal(rng)),
            }
        }
        values
    }

    /// The values with module i's `outer` tensors times `gates[i]`: Δ_i times its gate.
    pub fn fold_gates(&self, values: &[f32], gates: &[f64]) -> Vec<f32> {
        let mut folded = values.to_vec();
        self.scale_outer(&mut folded, gates);
        folded
    }

    /// Turns the gradient with respect to the folded values into that with respect to the values, in place, and gives
    /// ∂L/∂z per module: `⟨θ_outer, ∂L/∂(z θ_outer)⟩`, which needs no division by z.
    pub fn unfold_gradient(&self, values: &[f32], gates: &[f64], gradient: &mut [f32]) -> Vec<f64> {
        let inner = |module: &ModuleLayout| {
            let outer = module.tensors.iter().filter(|(spec, _)| spec.outer).map(|(_, range)| range.clone());
            outer.flatten().map(|i| f64::from(values[i]) * f64::from(gradient[i])).sum()
        };
        let by_gate = self.modules.iter().map(inner).collect();
        self.scale_outer(gradient, gates);
        by_gate
    }

    fn scale_outer(&self, values: &mut [f32], gates: &[f64]) {
        for (module, gate) in self.modules.iter().zip(gates) {
            for (_, range) in module.tensors.iter().filter(|(spec, _)| spec.outer) {
                values[range.clone()].iter_mut().for_each(|value| *value *= *gate as f32);
            }
        }
    }
}

/// A standard normal draw (Box–Muller).
fn normal(rng: &mut impl Rng) -> f32 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}
