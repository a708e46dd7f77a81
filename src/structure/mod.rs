//! Plain data: positions of a backbone, delta modules, search spaces, budgets, selection and structures.
//!
//! This module never imports burn and does no IO: everything here follows from a backbone's [`Shape`] alone, so that
//! T5-large's spaces can be counted without its weights.

mod baseline;
mod budget;
mod document;
mod error;
mod front;
mod kind;
mod position;
mod provenance;
mod reach;
mod searched;
mod selection;
mod shape;
mod space;
mod space_file;

pub use baseline::Baseline;
pub use budget::Budget;
pub use document::{STRUCTURE_FORMAT, Structure};
pub use error::{Error, Result};
pub use front::{FrontPoint, Objective, ServingCost, choose_by, front};
pub use kind::{DeltaModule, Init, Kind, KindName, TensorSpec};
pub use position::{PositionId, Positions, Site};
pub use provenance::{ModuleProbability, Origin, Provenance};
pub use reach::{MeasuredCost, Reach, Serving, reads_source};
pub use searched::Searched;
pub use selection::{Selection, at_budget, average, choose, chosen_probability, deviation, logit, random, sigmoid};
pub use shape::Shape;
pub use space::{Space, SpaceSummary, Total};
pub use space_file::{Rule, SpaceFile};
