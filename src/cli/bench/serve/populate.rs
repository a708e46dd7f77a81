//! Random adapters in a registry of the generator's own, written directly: uploads of thousands would take minutes.

use super::super::random::{AdapterKind, values};
use crate::delta::{DeltaWeights, Layout, Metadata};
use crate::registry::{DEFAULT_ALIAS, NewGeneration, Registry};
use crate::structure::{Positions, Shape};
use anyhow::Result;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What adapters to make.
#[derive(Debug, Clone)]
pub(super) struct Population {
    pub(super) count: usize,
    pub(super) kind: AdapterKind,
    pub(super) rank: usize,
    pub(super) shape: Shape,
    pub(super) backbone_digest: String,
}

/// Threads that write: most of the time goes into waiting for the disk.
const WRITERS: usize = 8;

impl Population {
    /// Name of adapter number `index`.
    pub(super) fn name(index: usize) -> String {
        format!("bench-{index:06}")
    }

    /// Makes those adapters that the registry of this folder does not have yet; says how many it made.
    pub(super) fn make(&self, home: &Path) -> Result<usize> {
        let registry = Registry::open(home)?;
        let (next, made) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let write = || -> Result<()> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= self.count {
                    return Ok(());
                }
                if registry.adapter(&Self::name(index)).is_err() {
                    self.put(&registry, index)?;
                    made.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
            writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
        })?;
        Ok(made.into_inner())
    }

    fn put(&self, registry: &Registry, index: usize) -> Result<()> {
        let structure = self.kind.structure(&self.shape, self.rank, index as u64)?;
        let positions = Positions::new(&self.shape);
        let layout = Layout::new(&positions, &structure.modules)?;
        let metadata =
            Metadata { structure: structure.id.clone(), backbone: self.backbone_digest.clone(), ..Metadata::default() };
        let weights = DeltaWeights { values: values(&layout, index as u64), metadata };
        let bytes = weights.to_bytes(&positions, &structure)?;
        registry.put_structure(&structure)?;
        let generation = NewGeneration {
            structure: structure.id,
            weights: registry.put_blob_bytes(&bytes)?,
            backbone_digest: self.backbone_digest.clone(),
            task: None,
            score: None,
            job: None,
            allow_backbone_mismatch: false,
        };
        registry.put_generation(&Self::name(index), generation, &[DEFAULT_ALIAS])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t5::Backbone;

    #[test]
    fn adapters_are_made_once_and_can_be_served() {
        let home = tempfile::tempdir().unwrap();
        let shape = Backbone::resolve_config("builtin:pocket-t5").unwrap().shape();
        let (kind, rank, backbone_digest) = (AdapterKind::MixStructure, 2, "00".repeat(32));
        let mut population = Population { count: 3, kind, rank, shape, backbone_digest };
        assert_eq!(population.make(home.path()).unwrap(), 3);
        population.count = 5;
        assert_eq!(population.make(home.path()).unwrap(), 2);
        let registry = Registry::open(home.path()).unwrap();
        let found = registry.resolve(&Population::name(4)).unwrap();
        found.structure.check_fits(&population.shape).unwrap();
        found.generation.check_backbone(&found.name, &population.backbone_digest).unwrap();
        let bytes = found.weights.read().unwrap();
        DeltaWeights::from_bytes(&bytes, &Positions::new(&population.shape), &found.structure).unwrap();
    }
}
