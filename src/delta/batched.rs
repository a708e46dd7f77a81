//! Each row of a batch with modules of its own: requests for different adapters, of every kind, in one forward.

use super::formula::{padded, widest};
use super::rows::Rows;
use super::single::{Module, Single, apply, norm};
use crate::structure::{Kind, PositionId, Positions};
use crate::t5::{Deltas, LinearGroup, Normed};
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::sync::Arc;

/// One adapter, or none, per row; a position that no row touches costs nothing.
#[derive(Debug, Clone)]
pub struct Batched(Form);

#[derive(Debug, Clone)]
enum Form {
    /// On the CPU: each row's modules where they lie.
    Rows(Rows),
    /// On any device: factors gathered once a batch.
    Gathered(Gathered),
}

/// Factors of all rows side by side, so that one product serves all of them.
#[derive(Debug, Clone)]
struct Gathered {
    /// By position index: modules whose factors are `[rows, …, …]`.
    places: Vec<Vec<Module>>,
}

impl Batched {
    /// The view for rows with these adapters; `None` is the bare backbone.
    pub fn new(rows: &[Option<Arc<Single>>], positions: &Positions, device: &Device) -> Self {
        Self(match Rows::new(rows, positions.len()).filter(|_| *device == Device::flex()) {
            Some(rows) => Form::Rows(rows),
            None => Form::Gathered(Gathered::new(rows, positions, device)),
        })
    }

    /// The same as on devices other than the CPU.
    #[cfg(test)]
    pub(super) fn gathered(rows: &[Option<Arc<Single>>], positions: &Positions, device: &Device) -> Self {
        Self(Form::Gathered(Gathered::new(rows, positions, device)))
    }
}

impl Gathered {
    /// Gathers the rows' adapters. `None` is the bare backbone: its factors are zero, which adds exactly nothing.
    fn new<'a>(rows: &'a [Option<Arc<Single>>], positions: &Positions, device: &Device) -> Self {
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
                        single.modules(id).iter().find(|module| module.kind.name() == name).cloned()
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
        match &self.0 {
            Form::Rows(rows) => rows.touches(position),
            Form::Gathered(gathered) => gathered.touches(position),
        }
    }

    fn select(&self, rows: &[usize]) -> Option<Box<dyn Deltas>> {
        Some(match &self.0 {
            Form::Rows(all) => Box::new(Self(Form::Rows(all.select(rows)))),
            Form::Gathered(gathered) => gathered.select(rows)?,
        })
    }

    fn linear(&self, group: &LinearGroup, x: &Tensor<3>) -> Vec<Tensor<3>> {
        match &self.0 {
            Form::Rows(_) => group.split(self.side_by_side(group, x)),
            Form::Gathered(gathered) => gathered.linear(group, x),
        }
    }

    fn side_by_side(&self, group: &LinearGroup, x: &Tensor<3>) -> Tensor<3> {
        match &self.0 {
            Form::Rows(rows) => {
                let touched = group.columns().filter(|(position, _)| rows.touches(*position));
                touched.fold(group.whole(x.clone()), |y, (position, columns)| rows.add(position, x, y, columns, None))
            }
            Form::Gathered(gathered) => gathered.side_by_side(group, x),
        }
    }

    fn norm(&self, position: PositionId, normed: &Normed) -> Tensor<3> {
        match &self.0 {
            Form::Rows(rows) => {
                let d = normed.x.dims()[2];
                rows.add(position, normed.x, normed.output(), 0..d, Some(normed.epsilon))
            }
            Form::Gathered(gathered) => gathered.norm(position, normed),
        }
    }

    fn output(&self, position: PositionId, x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        match &self.0 {
            Form::Rows(rows) => {
                let d = y.dims()[2];
                rows.add(position, x, y, 0..d, None)
            }
            Form::Gathered(gathered) => gathered.output(position, x, y),
        }
    }
}

impl Deltas for Gathered {
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

    fn norm(&self, position: PositionId, normed: &Normed) -> Tensor<3> {
        norm(&self.places[position.index()], normed, |x, y| self.output(position, x, y))
    }

    fn output(&self, position: PositionId, x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        apply(&self.places[position.index()], x, y)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layout;
    use super::*;
    use crate::structure::{DeltaModule, KindName};
    use crate::t5::Backbone;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// An adapter with a module of each kind at every `every`-th position that admits it; sizes vary.
    fn single(backbone: &Backbone, every: usize) -> Arc<Single> {
        let sized = |kind: KindName, n: usize| match kind.with_defaults(10) {
            Kind::Lora { .. } => Kind::Lora { rank: 1 + n % 5, alpha: 2.0 },
            Kind::LowRankAdapter { .. } => Kind::LowRankAdapter { bottleneck: 3 + n % 3, rank: 1 + n % 3 },
            Kind::Adapter { .. } => Kind::Adapter { bottleneck: 1 + n % 7 },
            Kind::ParallelAdapter { .. } => Kind::ParallelAdapter { bottleneck: 2 + n % 6 },
            same => same,
        };
        let of = |kind: KindName| {
            let admitted = backbone.positions.iter().filter(move |(.., site)| sized(kind, 0).admitted_at(*site));
            let some = admitted.enumerate().filter(move |(n, _)| n.is_multiple_of(every));
            some.map(move |(n, (_, path, _))| DeltaModule::new(path, sized(kind, n)))
        };
        let modules: Vec<_> = KindName::ALL.into_iter().flat_map(of).collect();
        let layout = Layout::new(&backbone.positions, &modules).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(every as u64);
        let values: Vec<f32> = (0..layout.len()).map(|_| rng.random_range(-0.3..0.3)).collect();
        Arc::new(Single::new(&layout, values, backbone.positions.len(), backbone.model.device()))
    }

    #[test]
    fn rows_where_they_lie_are_rows_gathered() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tiny-v1.1");
        let backbone = Backbone::open(&dir, &Device::flex()).unwrap();
        let (model, device) = (&backbone.model, backbone.model.device());
        let [two, three] = [2, 3].map(|every| Some(single(&backbone, every)));
        let rows = [three.clone(), None, two.clone(), three, None, two];
        let texts = |most: usize| -> Vec<Vec<u32>> {
            (0..rows.len() as u32).map(|row| (2..3 + (row * 5 + 3) % most as u32).collect()).collect()
        };
        let (sources, inputs) = (model.batch(&texts(17)).unwrap(), model.batch(&texts(4)).unwrap());
        let logits = |deltas: &dyn Deltas| model.decode(&model.encode(&sources, deltas), &inputs, deltas);
        let lie = Batched::new(&rows, &backbone.positions, device);
        let gathered = Batched::gathered(&rows, &backbone.positions, device);
        assert!(matches!((&lie.0, &gathered.0), (Form::Rows(_), Form::Gathered(_))));
        let far = |a: Tensor<3>, b: Tensor<3>| (a - b).abs().max().into_scalar::<f32>();
        assert!(far(logits(&lie), logits(&gathered)) < 1e-4);
        assert!(far(logits(&lie), logits(&crate::t5::Frozen)) > 1e-2, "the modules do something");
        let order = [5, 5, 0, 1, 3, 2];
        let [lie, gathered] = [lie, gathered].map(|batched| batched.select(&order).unwrap());
        assert!(far(logits(&*lie), logits(&*gathered)) < 1e-4);
    }
}
