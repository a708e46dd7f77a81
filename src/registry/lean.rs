//! Structures without their provenance, kept in memory for those who serve: a request needs the modules, while the p of a
//! whole search space would be most of what it reads.

use super::adapters::ADAPTERS;
use super::store::{Order, Table};
use super::{Adapter, Error, Noun, Registry, Result};
use crate::structure::{DeltaModule, Shape, Structure};
use lru::LruCache;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The table of structures, read without provenance.
const LEAN: Table<Stored> = Table::new("structure/");
/// Modules of all structures that are kept, some hundred bytes each.
const MOST_MODULES: usize = 1 << 19;

#[derive(Serialize, Deserialize)]
struct Stored {
    document: Lean,
}

/// A structure's document but for what is left out.
#[derive(Serialize, Deserialize)]
pub(super) struct Lean {
    format: String,
    id: String,
    shape: Shape,
    modules: Vec<DeltaModule>,
}

impl From<&Structure> for Lean {
    fn from(Structure { format, id, shape, modules, .. }: &Structure) -> Self {
        Self { format: format.clone(), id: id.clone(), shape: shape.clone(), modules: modules.clone() }
    }
}

/// Structures by id, forgotten least recently used first. An id is the digest of shape and modules, so an entry is never
/// stale; whether a structure is still stored is for its readers to know.
pub(super) struct LeanStructures(Mutex<Kept>);

struct Kept {
    structures: LruCache<String, Arc<Structure>>,
    modules: usize,
    limit: usize,
}

impl Default for LeanStructures {
    fn default() -> Self {
        Self::within(MOST_MODULES)
    }
}

impl LeanStructures {
    fn within(limit: usize) -> Self {
        Self(Mutex::new(Kept { structures: LruCache::unbounded(), modules: 0, limit }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &str) -> Option<Arc<Structure>> {
        self.kept().structures.get(id).cloned()
    }

    fn len(&self) -> usize {
        self.kept().structures.len()
    }

    /// Whether another structure of the mean size would have one forgotten.
    fn is_full(&self) -> bool {
        let Kept { structures, modules, limit } = &*self.kept();
        modules + modules / structures.len().max(1) > *limit
    }

    /// Keeps a structure that is stored.
    pub(super) fn keep(&self, Lean { format, id, shape, modules }: Lean) -> Arc<Structure> {
        let structure = Arc::new(Structure { format, id, shape, modules, provenance: Vec::new(), serving: None });
        let mut kept = self.kept();
        kept.modules += structure.modules.len();
        if let Some(old) = kept.structures.put(structure.id.clone(), Arc::clone(&structure)) {
            kept.modules -= old.modules.len();
        }
        while kept.modules > kept.limit
            && let Some((_, old)) = kept.structures.pop_lru()
        {
            kept.modules -= old.modules.len();
        }
        structure
    }
}

impl Registry {
    /// The structure of this whole id without its provenance, which a generation in hand refers to.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is not stored; one that was deleted of late may still be given.
    pub fn structure_to_serve(&self, id: &str) -> Result<Arc<Structure>> {
        let known = &self.inner.lean;
        if let Some(structure) = known.get(id) {
            return Ok(structure);
        }
        let stored = self.store().get(&LEAN, id)?;
        let stored =
            stored.ok_or_else(|| Error::not_found(Noun::Structure, id.chars().take(64).collect::<String>()))?;
        Ok(known.keep(stored.document))
    }

    /// Reads the structures that adapters' names stand for, as long as there is room for them in memory, so that the first
    /// request to an adapter need not wait for the disk. Says how many are in memory.
    ///
    /// # Errors
    /// Of reading the store; a structure that cannot be read is left for its request to tell.
    pub fn read_structures_ahead(&self) -> Result<usize> {
        for entry in self.store().scan(&ADAPTERS, "", None, Order::Rising) {
            let (_, adapter): (_, Adapter) = entry?;
            for digest in adapter.aliases.values() {
                if self.inner.lean.is_full() {
                    return Ok(self.inner.lean.len());
                }
                let _ = adapter.generation(digest).and_then(|found| self.structure_to_serve(&found.structure));
            }
        }
        Ok(self.inner.lean.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::{Kind, ModuleProbability, Origin, Provenance};

    fn structure(layers: usize) -> Structure {
        let shape = Shape { encoder_layers: 9, ..Shape::tiny() };
        let path = |layer| format!("encoder.block.{layer}.layer.0.layer_norm");
        let modules: Vec<_> = (0..layers).map(|layer| DeltaModule::new(path(layer), Kind::Bitfit)).collect();
        let mut provenance = Provenance::new(Origin::Search);
        let entry = |module: &DeltaModule| ModuleProbability {
            module: module.clone(),
            p: 0.5,
            deviation: None,
            logits: Vec::new(),
            parameters: 8,
        };
        provenance.probabilities = modules.iter().map(entry).collect();
        Structure::new(&shape, modules, provenance).unwrap()
    }

    #[test]
    fn modules_and_shape_are_those_of_the_document() {
        let home = tempfile::tempdir().unwrap();
        let registry = Registry::open(home.path()).unwrap();
        let whole = structure(9);
        let missing = registry.structure_to_serve(&whole.id).unwrap_err();
        assert_eq!(missing.code(), "structure_not_found");
        registry.put_structure(&whole).unwrap();
        let lean = Structure { provenance: Vec::new(), ..whole.clone() };
        assert_eq!(*registry.structure_to_serve(&whole.id).unwrap(), lean, "as it was put");
        drop(registry);
        let registry = Registry::open(home.path()).unwrap();
        for _ in 0..2 {
            let found = registry.structure_to_serve(&whole.id).unwrap();
            assert_eq!(*found, lean, "as it was read");
        }
        assert!(registry.structure_to_serve(&whole.id[..8]).is_err(), "a prefix is no id");
    }

    #[test]
    fn the_least_recently_used_leaves_first() {
        let kept = LeanStructures::within(10);
        let all: Vec<_> = [3, 4, 5].into_iter().map(structure).collect();
        kept.keep((&all[0]).into());
        assert!(!kept.is_full(), "there is room for 3 more");
        kept.keep((&all[1]).into());
        assert!(!kept.is_full(), "and for 3 more again");
        kept.keep((&all[0]).into()); // again, and the latest now
        kept.keep((&all[2]).into());
        let there: Vec<_> = all.iter().map(|structure| kept.get(&structure.id).is_some()).collect();
        assert_eq!(there, [true, false, true]);
        assert_eq!(kept.0.lock().unwrap().modules, 8);
        assert!(kept.is_full(), "8 of 10, and 4 a structure: the next would have one forgotten");
    }
}
