//! The modules that a search has not pruned, and the ways between their numbers and values and those of the whole space.

use super::Gate;
use crate::delta::Layout;
use std::ops::Range;

/// The modules that are still searched.
pub(super) struct Live {
    /// Their numbers in the space.
    pub(super) modules: Vec<usize>,
    /// Their values' places in the whole layout.
    ranges: Vec<Range<usize>>,
    pub(super) layout: Layout,
    pub(super) gate: Gate,
}

impl Live {
    /// The modules with these numbers; `all` is the layout of all modules, `layout` theirs, `gate` that of all.
    pub(super) fn new(modules: Vec<usize>, all: &Layout, layout: Layout, gate: &Gate) -> Self {
        let ranges: Vec<_> = all.ranges().collect();
        let sizes = modules.iter().map(|module| gate.sizes[*module]).collect();
        let ranges = modules.iter().map(|module| ranges[*module].clone()).collect();
        Self { modules, ranges, layout, gate: Gate { sizes, ..gate.clone() } }
    }

    /// Their part of what there is one of for each module.
    pub(super) fn pick(&self, of: &[f32]) -> Vec<f32> {
        self.modules.iter().map(|module| of[*module]).collect()
    }

    /// And back, 0 elsewhere.
    pub(super) fn spread(&self, of: &[f64], len: usize) -> Vec<f64> {
        let mut all = vec![0.0; len];
        self.modules.iter().zip(of).for_each(|(module, value)| all[*module] = *value);
        all
    }

    /// From the whole layout to that of the modules searched.
    pub(super) fn gather(&self, values: &[f32]) -> Vec<f32> {
        self.ranges.iter().flat_map(|range| &values[range.clone()]).copied().collect()
    }

    /// And back, 0 elsewhere.
    pub(super) fn scatter(&self, values: &[f32], len: usize) -> Vec<f32> {
        let mut whole = vec![0.0; len];
        let mut rest = values;
        for range in &self.ranges {
            let (part, after) = rest.split_at(range.len());
            whole[range.clone()].copy_from_slice(part);
            rest = after;
        }
        whole
    }
}

/// Numbers of the modules that are searched at these α.
pub(super) fn searched(alpha: &[f32]) -> impl Iterator<Item = usize> {
    alpha.iter().enumerate().filter(|(_, alpha)| **alpha != f32::NEG_INFINITY).map(|(module, _)| module)
}
