//! The bi-level search of sparse structures (method.md). The gate's maths runs in f64 on the host; this module knows
//! nothing of jobs and reports to a `train::Observer`.

mod bilevel;
mod gate;
mod live;
mod settings;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use bilevel::{Found, search};
pub use gate::Gate;
pub use settings::{DevGates, Masks, Order, Settings};
pub(crate) use step::Bilevel;
