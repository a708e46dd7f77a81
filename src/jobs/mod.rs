//! Jobs: searches, re-trainings, transfers and evaluations, one after the other on a thread of their own.
//!
//! Requests are plain data shared by the API, the command line and the web page. The queue and its worker know how to
//! persist, stop and resume a job, and nothing of what it computes: that is the [`Runner`], given at construction, of which
//! [`runner`] makes the real one.

mod bounds;
mod check;
mod control;
mod error;
mod priority;
mod progress;
mod queue;
mod request;
mod run;
mod search_request;
mod stage;
mod training;
mod worker;

#[cfg(test)]
mod tests;

pub use check::structure_of;
pub use control::{Control, Failure, Stop};
pub use error::{Error, Result};
pub use progress::{
    BudgetResult, EvaluationResult, JobEvent, ModulePlace, Phase, Progress, RetrainResult, SearchResult, TransferResult,
};
pub use queue::{Jobs, Runner};
pub use request::{EvaluationRequest, JobRequest, RetrainRequest, SpaceChoice, TransferRequest};
pub(crate) use run::mean_and_deviation;
pub use run::runner;
pub use search_request::{Preset, SearchRequest};
pub use training::{Length, Training};
