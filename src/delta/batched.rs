//! Each row of a batch with modules of its own: requests for different adapters, of every kind, in one forward.

use super::formula::{padded, widest};
use super::single::{Module, Single, apply};
use crate::structure::{Kind, PositionId, Positions};
use crate::t5::Deltas;
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::sync::Arc;

/// One adapter, or none, per row. Factors are gathered once a batch; a position that no row touches costs nothing.
#[derive(Debug, Clone)]
pub struct Batched {
    /// By position index: modules whose factors are `[rows, …, …]`.
    places: Vec<Vec<Module>>,
}

impl Batched {
    /// Gathers the rows' adapters. `None` is the bare backbone: its factors are zero, which adds exactly nothing.
    pub fn new<'a>(rows: &'a [Option<Arc<Single>>], positions: &Positions, device: &Device) -> Self {
        let mut slots: Vec<&'a Arc<Single>> = Vec::new(); // slot 0 is no adapter
        let mut slot = |row: &'a Option<Arc<Single>>| {
            let Some(single) = row else { return 0 };
            let known = slots.iter().position(|slot| Arc::ptr_eq(slot, single));
            let index = known.unwrap_or_else(|| {
                slots.push(single);
                slots.len() - 1
            });
            index as i32 + 1
        };
        let ids: Vec<i32> = rows.iter().map(&mut slot).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows.len()]), device);
        let places = positions
            .iter()
            .map(|(id, _, site)| {
                let mut names: Vec<_> =
                    slots.iter().flat_map(|slot| &slot.places()[id.index()]).map(|module| module.kind.name()).collect();
                names.sort();
                names.dedup();
                let stack = |name| {
                    let of = |single: &&Arc<Single>| {
                        single.places()[id.index()].iter().find(|module| module.kind.name() == name).cloned()
                    };
                    let modules: Vec<Option<Module>> = slots.iter().map(of).collect();
                    let kinds = modules.iter().flatten().map(|module| module.kind);
                    let kind = kinds.clone().reduce(widest).map(|kind| widest(kind, kind)).expect("some row has it");
                    let shapes = shapes(kind, site);
                    let zero = || shapes.iter().map(|[r, c]| Tensor::zeros([1, *r, *c], device)).collect::<Vec<_>>();
                    let mut all = vec![zero()];
                    all.extend(modules.iter().map(|module| match module {
                        Some(module) => padded(module.kind, &module.factors, &shapes),
                        None => zero(),
                    }));
                    let factors = (0..shapes.len())
                        .map(|i| Tensor::cat(all.iter().map(|f| f[i].clone()).collect(), 0).select(0, ids.clone()))
                        .collect();
                    Module { kind, factors }
                };
                names.into_iter().map(stack).collect()
            })
            .collect();
        Self { places }
    }
}

/// Shapes of a kind's factors as matrices.
fn shapes(kind: Kind, site: crate::structure::Site) -> Vec<[usize; 2]> {
    let matrix = |shape: &[usize]| match shape {
        [columns] => [1, *columns],
        [rows, columns] => [*rows, *columns],
        _ => unreachable!("delta tensors are vectors or matrices"),
    };
    kind.tensors(site).iter().map(|spec| matrix(&spec.shape)).collect()
}

impl Deltas for Batched {
    fn touches(&self, position: PositionId) -> bool {
        !self.places[position.index()].is_empty()
    }

    fn select(&self, rows: &[usize]) -> Option<Box<dyn Deltas>> {
        let select = |module: &Module| {
            let pick = |factor: &Tensor<3>| {
                let ids: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
                factor.clone().select(0, Tensor::from_data(TensorData::new(ids, [rows.len()]), &factor.device()))
            };
            Module { kind: module.kind, factors: module.factors.iter().map(pick).collect() }
        };
        let places = self.places.iter().map(|modules| modules.iter().map(select).collect()).collect();
        Some(Box::new(Self { places }))
    }

    fn norm(&self, position: PositionId, x_hat: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        self.output(position, x_hat, y)
    }

    fn output(&self, position: PositionId, x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        apply(&self.places[position.index()], x, y)
    }
}
