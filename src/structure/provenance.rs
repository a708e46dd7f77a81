//! Where a structure came from, and the p of its search.

use super::{DeltaModule, Error, Objective, Result, Space, sigmoid};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// One way in which a structure came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// What made it.
    pub origin: Origin,
    /// When, in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Task it was searched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_task: Option<String>,
    /// Digest of that task's data and template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_digest: Option<String>,
    /// Digest of the backbone's weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone_digest: Option<String>,
    /// Job that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Digests of the structures it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    /// Seeds whose p were averaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    /// Search settings.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
    /// Name of the search space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// Parameters allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
    /// Why the budget is not filled, or not by what the search kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// By what it was chosen beside p.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Every module of the space with its p, in canonical order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probabilities: Vec<ModuleProbability>,
}

/// What made a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A search.
    Search,
    /// A user's upload or import.
    Upload,
    /// A random draw, as a baseline.
    Random,
    /// A hand-made baseline such as BitFit.
    Manual,
    /// The mean over several structures' p, chosen anew.
    Average,
}

/// A module of a search space with the search's probability for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModuleProbability {
    /// The module.
    pub module: DeltaModule,
    /// Its probability p in [0, 1].
    pub p: f64,
    /// Standard deviation of p over the seeds, where there are several: little where the choice is firm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Logit of p in each seed's search, from which p under another budget follows however near to 1 it is; null where that search
    /// pruned the module, and empty where it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logits: Vec<Option<f64>>,
    /// Its trained parameters.
    pub parameters: usize,
}

impl Provenance {
    /// Whether this is a search's own structure, or that of several searches' mean p, not one chosen anew from their p.
    pub fn is_search(&self) -> bool {
        matches!(self.origin, Origin::Search | Origin::Average) && self.parents.is_empty()
    }

    /// Whether the p told are those of all modules of this space and of no others.
    pub fn is_over(&self, space: &Space) -> bool {
        self.probabilities.len() == space.len() && self.probabilities_of(space.modules()).iter().all(Option::is_some)
    }

    /// p of these modules, where it is told.
    pub fn probabilities_of(&self, modules: &[DeltaModule]) -> Vec<Option<f64>> {
        let told: HashMap<_, _> = self.probabilities.iter().map(|entry| (entry.module.signature(), entry.p)).collect();
        modules.iter().map(|module| told.get(&module.signature()).copied()).collect()
    }

    /// Logits of these modules' p in each search, −∞ where it pruned; none where a module's are not told.
    pub(super) fn logits_of(&self, modules: &[DeltaModule]) -> Option<Vec<Vec<f64>>> {
        let entry = |entry: &ModuleProbability| (entry.module.signature(), entry.logits.clone());
        let told: HashMap<_, _> = self.probabilities.iter().map(entry).collect();
        let of_seed = |seed: usize| {
            let each = modules.iter().map(|module| told.get(&module.signature())?.get(seed).copied());
            each.map(|logit| Some(logit?.unwrap_or(f64::NEG_INFINITY))).collect::<Option<Vec<f64>>>()
        };
        let seeds = self.probabilities.first()?.logits.len();
        (seeds > 0).then(|| (0..seeds).map(of_seed).collect()).flatten()
    }

    /// Refuses two probabilities of one module.
    pub(super) fn check_each_once(&self) -> Result<()> {
        let mut seen = HashSet::new();
        match self.probabilities.iter().find(|entry| !seen.insert(entry.module.signature())) {
            None => Ok(()),
            Some(ModuleProbability { module, .. }) => {
                let (kind, position) = (module.kind.name().as_str(), &module.position);
                Err(Error::Document(format!(
                    "the probability of {kind} at `{position}` is told twice: keep one of the two"
                )))
            }
        }
    }

    /// Refuses logits that are not those of p, or not of as many searches for each module.
    pub(super) fn check_logits(&self) -> Result<()> {
        let seeds = self.probabilities.first().map_or(0, |entry| entry.logits.len());
        for ModuleProbability { module, p, logits, .. } in &self.probabilities {
            let sum: f64 = logits.iter().map(|logit| sigmoid(logit.unwrap_or(f64::NEG_INFINITY))).sum();
            // as far as a document in another program's digits may be off
            let near = seeds == 0 || (sum / seeds as f64 - p).abs() < 1e-6;
            if logits.len() != seeds || !near {
                let (kind, position) = (module.kind.name().as_str(), &module.position);
                let what = "its logits must be one a search, of which p is the mean; leave them out in all modules or mend them";
                return Err(Error::Document(format!("the probability of {kind} at `{position}` is {p}: {what}")));
            }
        }
        Ok(())
    }

    /// A provenance of this origin, now, with nothing else known.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            created: Timestamp::now(),
            source_task: None,
            task_digest: None,
            backbone_digest: None,
            job: None,
            parents: Vec::new(),
            seeds: Vec::new(),
            settings: serde_json::Value::Null,
            space: None,
            budget: None,
            note: None,
            objective: None,
            probabilities: Vec::new(),
        }
    }
}
