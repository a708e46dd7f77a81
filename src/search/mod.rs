//! The bi-level search of sparse structures (method.md). The gate's maths runs in f64 on the host; this module knows
//! nothing of jobs and reports to a `train::Observer`.

mod bilevel;
mod gate;
mod state;
mod step;

pub use bilevel::{Found, Order, Settings, search};
pub use gate::Gate;
pub(crate) use step::Bilevel;
