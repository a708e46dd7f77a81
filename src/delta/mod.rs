//! Delta modules over tensors, and the two views of them that a forward pass takes: [`Single`] (one set of modules for
//! the whole batch: training, search, evaluation) and [`Batched`] (each row its own: serving).
//!
//! A search's gates need no third view: every Δ is linear in its `outer` tensors, so a gate z on Δ is a gate on those, and
//! [`Layout::fold_gates`] folds it into the values before they become tensors.

mod batched;
mod cost;
mod file;
mod formula;
mod layout;
mod rows;
mod single;
mod view;

pub use batched::Batched;
pub use cost::{Cost, ModuleCosts, measure};
pub use file::{DeltaWeights, Error, Metadata};
pub use layout::Layout;
pub use single::{Leaves, Single, Tracked};
pub use view::View;
