//! What a job reports while it runs and when it is done.

use crate::registry::{JobRecord, Score};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a job is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading backbone and task.
    #[default]
    Prepare,
    /// Searching a structure.
    Search,
    /// Training delta weights.
    Retrain,
    /// Scoring.
    Evaluate,
}

/// How far a running job is; what does not apply is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Progress {
    /// What it is at.
    pub phase: Phase,
    /// Seed of this run.
    pub seed: u64,
    /// Steps done in this phase.
    pub step: usize,
    /// Steps of this phase.
    pub total_steps: usize,
    /// Loss on the half that the delta weights learn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_delta: Option<f64>,
    /// Loss on the half that the structural parameters learn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_alpha: Option<f64>,
    /// Expected parameters, Σ p_i |δ_i|.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_parameters: Option<f64>,
    /// Parameters allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
    /// Shift of the global sigmoid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeta: Option<f64>,
    /// Best score on dev so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_score: Option<f64>,
    /// What that score is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Seconds since the job began to run.
    pub seconds: f64,
    /// Seconds that the job is likely to need still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
    /// p of every module of the space, while searching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probabilities: Option<Vec<f64>>,
    /// The modules that `probabilities` speaks of; reported once, and kept in the job's own progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<Vec<ModulePlace>>,
}

/// Where a module of the space stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModulePlace {
    /// Its position.
    pub position: String,
    /// Its kind.
    pub kind: crate::structure::KindName,
}

/// What those who watch a job are told.
#[derive(Debug, Clone)]
pub enum JobEvent {
    /// It came further.
    Progress(Arc<Progress>),
    /// Its state changed; the last one is terminal, or `queued` where the server stops.
    State(Arc<JobRecord>),
}

/// What a search gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SearchResult {
    /// The structure of each seed.
    pub structures: Vec<String>,
    /// The structure of their mean p; the one that was re-trained.
    pub structure: String,
    /// Its parameters.
    pub parameters: usize,
    /// The structure at each of `more_budgets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<BudgetResult>,
    /// The adapter that got a generation, if re-trained.
    pub adapter: Option<String>,
    /// Digest of that generation.
    pub generation: Option<String>,
    /// Its score.
    pub score: Option<Score>,
    /// Seconds of all searches, but for those of a search before it was resumed.
    pub search_seconds: f64,
    /// Seconds of the re-training.
    pub retrain_seconds: Option<f64>,
}

/// A search's structure at another budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BudgetResult {
    /// Parameters allowed.
    pub budget: usize,
    /// Parameters of the structure.
    pub parameters: usize,
    /// The structure.
    pub structure: String,
    /// Why the budget is not filled, or not by what the search kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a re-training gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RetrainResult {
    /// The structure.
    pub structure: String,
    /// Its parameters.
    pub parameters: usize,
    /// The adapter that got a generation.
    pub adapter: String,
    /// Digest of that generation.
    pub generation: String,
    /// Its score.
    pub score: Score,
    /// Seconds.
    pub seconds: f64,
}

/// What a transfer gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TransferResult {
    /// The source's structure.
    pub structure: String,
    /// Its parameters.
    pub parameters: usize,
    /// The adapter that got a generation.
    pub adapter: String,
    /// Digest of that generation: the seed with the best dev score.
    pub generation: String,
    /// What the scores are.
    pub metric: String,
    /// Score of each seed on test.
    pub scores: Vec<f64>,
    /// Their mean.
    pub score_mean: f64,
    /// Their standard deviation.
    pub score_std: f64,
    /// Seconds.
    pub seconds: f64,
}

/// What an evaluation gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EvaluationResult {
    /// The score.
    pub score: Score,
    /// Rows scored.
    pub rows: usize,
    /// Generation that was scored; null for the bare backbone.
    pub generation: Option<String>,
    /// Seconds.
    pub seconds: f64,
}
