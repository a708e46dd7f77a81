//! The deltas of one batch: the cheapest hook that serves all of its rows.

use super::{Batched, Single};
use crate::t5::{Backbone, Deltas, Frozen};
use std::sync::Arc;

/// What each row of a batch is served with.
#[derive(Debug)]
pub enum View {
    /// All rows the bare backbone.
    Frozen,
    /// All rows one adapter.
    Single(Arc<Single>),
    /// Rows of their own.
    Batched(Batched),
}

impl View {
    /// The view for rows with these adapters.
    pub fn new(rows: &[Option<Arc<Single>>], backbone: &Backbone) -> Self {
        let first = rows.first().and_then(Option::as_ref);
        let same = |row: &Option<Arc<Single>>| match (row, first) {
            (Some(row), Some(first)) => Arc::ptr_eq(row, first),
            (None, None) => true,
            _ => false,
        };
        match first {
            _ if !rows.iter().all(same) => {
                View::Batched(Batched::new(rows, &backbone.positions, backbone.model.device()))
            }
            Some(single) => View::Single(single.of_batch()),
            None => View::Frozen,
        }
    }

    /// The hook for the forward pass.
    pub fn deltas(&self) -> &dyn Deltas {
        match self {
            View::Frozen => &Frozen,
            View::Single(single) => &**single,
            View::Batched(batched) => batched,
        }
    }
}
