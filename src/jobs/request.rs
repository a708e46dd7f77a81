//! What a job is asked to do: fields, defaults, and what can be checked without looking anything up.

use super::bounds::{at_least, check_seeds};
use super::training::{DEFAULT_EPOCHS, Length, Training};
use super::{Error, Result, SearchRequest};
use crate::{
    registry::JobKind,
    structure::{Baseline, Budget, Shape, Space, SpaceFile},
    task::Split,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Training of a given structure on a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrainRequest {
    /// A structure's id, or a baseline: `random`, `bitfit`, `lnfit`, `lora_qv`, `low_rank_adapter`, `adapter`.
    pub structure: String,
    /// Task to train on.
    pub task: String,
    /// Digest of the task's rows and template; filled in when the job is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_digest: Option<String>,
    /// Digest of the backbone's weights; filled in when the job is accepted, so that it never goes on over another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone_digest: Option<String>,
    /// Space that a random structure is drawn from.
    #[serde(default)]
    pub space: SpaceChoice,
    /// Parameters of a random structure; refused elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Seed of the initial values, the order of rows, and a random structure's draw.
    #[serde(default)]
    pub seed: u64,
    /// Steps; excludes `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Passes over the training rows; 5 if `steps` is absent too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Rows of a step.
    #[serde(default = "batch_size")]
    pub batch_size: usize,
    /// Learning rate of the delta weights.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// Training rows to use; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_rows: Option<usize>,
    /// Tokens of a source text; longer ones are cut.
    #[serde(default = "max_source_tokens")]
    pub max_source_tokens: usize,
    /// Whether rows of like length share a batch: less is padded, and batches are less alike.
    #[serde(default)]
    pub group_by_length: bool,
    /// Dev evaluations during the training.
    #[serde(default = "evaluations")]
    pub evaluations: usize,
    /// Adapter that gets the new generation; the task's name if absent, with the baseline's name behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

/// Training of a source task's structure on a target task (the paper's Table 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferRequest {
    /// A task that a structure was searched on (the newest is taken), or a structure's id; the id once the job is accepted, so that it
    /// never goes on with another one.
    pub source: String,
    /// The task that the source was searched on; filled in when the job is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_task: Option<String>,
    /// Task to train on.
    pub target: String,
    /// Digest of the target's rows and template; filled in when the job is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_digest: Option<String>,
    /// Digest of the backbone's weights; filled in when the job is accepted, so that it never goes on over another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone_digest: Option<String>,
    /// One training per seed.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Steps; excludes `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Passes over the training rows; 5 if `steps` is absent too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Rows of a step.
    #[serde(default = "batch_size")]
    pub batch_size: usize,
    /// Learning rate of the delta weights.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// Training rows to use; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_rows: Option<usize>,
    /// Tokens of a source text; longer ones are cut.
    #[serde(default = "max_source_tokens")]
    pub max_source_tokens: usize,
    /// Whether rows of like length share a batch: less is padded, and batches are less alike.
    #[serde(default)]
    pub group_by_length: bool,
    /// Dev evaluations during each training.
    #[serde(default = "evaluations")]
    pub evaluations: usize,
    /// Adapter that gets the new generation; `<target>-from-<source>` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

/// Scoring of an adapter, or of the bare backbone, on a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRequest {
    /// Adapter reference; null for the bare backbone.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Task to score on.
    pub task: String,
    /// Digest of the task's rows and template; filled in when the job is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_digest: Option<String>,
    /// Digest of the backbone's weights; filled in when the job is accepted, so that it never goes on over another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone_digest: Option<String>,
    /// Rows to score on; `test` if absent.
    #[serde(default = "test")]
    pub split: Split,
    /// How many of them; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// Tokens of a source text; longer ones are cut.
    #[serde(default = "max_source_tokens")]
    pub max_source_tokens: usize,
}

pub(super) fn one_seed() -> Vec<u64> {
    vec![0]
}
pub(super) fn batch_size() -> usize {
    16
}
pub(super) fn learning_rate() -> f64 {
    3e-4
}
pub(super) fn max_source_tokens() -> usize {
    128
}
pub(super) fn evaluations() -> usize {
    10
}
pub(super) fn yes() -> bool {
    true
}
fn test() -> Split {
    Split::Test
}

/// A search space by name or in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "a space must be `mix`, `lora`, `full`, or an object with name, include and exclude")]
pub enum SpaceChoice {
    /// A built-in space.
    Name(String),
    /// A space of one's own.
    File(SpaceFile),
}

impl Default for SpaceChoice {
    fn default() -> Self {
        Self::Name("mix".into())
    }
}

impl SpaceChoice {
    /// The space over a backbone of this shape.
    pub fn space(&self, shape: &Shape) -> crate::structure::Result<Space> {
        match self {
            SpaceChoice::Name(name) => Space::built_in(name, shape),
            SpaceChoice::File(file) => Space::from_file(file, shape),
        }
    }
}

macro_rules! training {
    ($($request:ty, |$this:ident| $batch_size:expr;)*) => {$(
        impl $request {
            /// How to train.
            pub fn training(&self) -> Training {
                let $this = self;
                Training {
                    length: Length::of(self.steps, self.epochs),
                    batch_size: $batch_size,
                    learning_rate: self.learning_rate,
                    train_rows: self.train_rows,
                    max_source_tokens: self.max_source_tokens,
                    group_by_length: self.group_by_length,
                    evaluations: self.evaluations,
                }
            }

            fn check_training(&self) -> Result<()> {
                self.training().check(self.steps, self.epochs)
            }
        }
    )*};
}
training! {
    RetrainRequest, |request| request.batch_size;
    TransferRequest, |request| request.batch_size;
    SearchRequest, |request| request.rows_a_step();
}

impl RetrainRequest {
    /// The baseline asked for, unless a structure is.
    pub fn baseline(&self) -> Option<Baseline> {
        Baseline::named(&self.structure)
    }

    /// The adapter that gets the new generation.
    pub fn adapter_name(&self) -> String {
        match (&self.adapter, self.baseline()) {
            (Some(name), _) => name.clone(),
            (None, Some(baseline)) => format!("{}-{}", self.task, baseline.as_str()),
            (None, None) => self.task.clone(),
        }
    }
}

impl TransferRequest {
    /// The adapter that gets the new generation.
    pub fn adapter_name(&self) -> String {
        self.adapter.clone().unwrap_or_else(|| format!("{}-from-{}", self.target, self.source))
    }
}

/// Any job's request.
#[derive(Debug, Clone, PartialEq)]
pub enum JobRequest {
    /// Find a structure.
    Search(SearchRequest),
    /// Train a given structure.
    Retrain(RetrainRequest),
    /// Train a source task's structure on a target task.
    Transfer(TransferRequest),
    /// Score.
    Evaluation(EvaluationRequest),
}

impl JobRequest {
    /// The kind of job.
    pub fn kind(&self) -> JobKind {
        match self {
            JobRequest::Search(_) => JobKind::Search,
            JobRequest::Retrain(_) => JobKind::Retrain,
            JobRequest::Transfer(_) => JobKind::Transfer,
            JobRequest::Evaluation(_) => JobKind::Evaluation,
        }
    }

    /// The request of a stored job.
    pub fn from_value(kind: JobKind, value: &Value) -> serde_json::Result<Self> {
        let mut request = match kind {
            JobKind::Search => JobRequest::Search(Deserialize::deserialize(value)?),
            JobKind::Retrain => JobRequest::Retrain(Deserialize::deserialize(value)?),
            JobKind::Transfer => JobRequest::Transfer(Deserialize::deserialize(value)?),
            JobKind::Evaluation => JobRequest::Evaluation(Deserialize::deserialize(value)?),
        };
        request.settle();
        Ok(request)
    }

    /// Fills in what the preset or the defaults say where it depends on other fields, so that the stored request tells all.
    pub(super) fn settle(&mut self) {
        let (steps, epochs) = match self {
            JobRequest::Search(request) => {
                request.settle();
                (request.steps, &mut request.epochs)
            }
            JobRequest::Retrain(request) => {
                request.adapter = Some(request.adapter_name());
                (request.steps, &mut request.epochs)
            }
            JobRequest::Transfer(request) => {
                request.adapter = Some(request.adapter_name());
                (request.steps, &mut request.epochs)
            }
            JobRequest::Evaluation(_) => return,
        };
        if steps.is_none() {
            epochs.get_or_insert(DEFAULT_EPOCHS);
        }
    }

    /// As it is stored.
    pub fn to_value(&self) -> serde_json::Result<Value> {
        match self {
            JobRequest::Search(request) => serde_json::to_value(request),
            JobRequest::Retrain(request) => serde_json::to_value(request),
            JobRequest::Transfer(request) => serde_json::to_value(request),
            JobRequest::Evaluation(request) => serde_json::to_value(request),
        }
    }

    /// The digest of the backbone that the job is for.
    pub fn backbone_digest(&self) -> Option<&str> {
        match self {
            JobRequest::Search(request) => request.backbone_digest.as_deref(),
            JobRequest::Retrain(request) => request.backbone_digest.as_deref(),
            JobRequest::Transfer(request) => request.backbone_digest.as_deref(),
            JobRequest::Evaluation(request) => request.backbone_digest.as_deref(),
        }
    }

    pub(super) fn backbone_digest_mut(&mut self) -> &mut Option<String> {
        match self {
            JobRequest::Search(request) => &mut request.backbone_digest,
            JobRequest::Retrain(request) => &mut request.backbone_digest,
            JobRequest::Transfer(request) => &mut request.backbone_digest,
            JobRequest::Evaluation(request) => &mut request.backbone_digest,
        }
    }

    /// What can be told from the request alone.
    pub(super) fn validate(&self) -> Result<()> {
        match self {
            JobRequest::Search(request) => {
                request.check_training()?;
                request.check()
            }
            JobRequest::Retrain(request) => {
                request.check_training()?;
                let is_random = request.baseline() == Some(Baseline::Random);
                if !is_random && request.space != SpaceChoice::default() {
                    let message = format!("`{}` is drawn from no space: leave `space` out", request.structure);
                    return Err(Error::invalid("space", message));
                }
                match (request.baseline(), &request.budget) {
                    (Some(Baseline::Random), None) => {
                        Err(Error::invalid("budget", "a random structure needs a `budget`, such as 5.447%"))
                    }
                    (Some(Baseline::Random), Some(_)) | (_, None) => Ok(()),
                    (_, Some(_)) => Err(Error::invalid(
                        "budget",
                        format!("`{}` fixes the parameters itself: leave `budget` out", request.structure),
                    )),
                }
            }
            JobRequest::Transfer(request) => {
                request.check_training()?;
                check_seeds(&request.seeds)
            }
            JobRequest::Evaluation(request) => {
                at_least("rows", request.rows, 1)?;
                at_least("max_source_tokens", Some(request.max_source_tokens), 2)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// One line a case: the request, and `fine` or a part of the error.
    #[track_caller]
    fn check(kind: JobKind, request: Value, wanted: &str) {
        let found = match JobRequest::from_value(kind, &request) {
            Ok(read) => read.validate().map_or_else(|error| error.to_string(), |()| "fine".into()),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(wanted), "{request} gave {found}");
    }

    #[test]
    fn searches() {
        let search = |request| (JobKind::Search, request);
        let check = |(kind, request), wanted| check(kind, request, wanted);
        check(search(json!({"task": "a", "budget": "5.447%"})), "fine");
        check(search(json!({"task": "a", "budget": 102458})), "fine");
        check(search(json!({"task": "a", "budget": "5%", "space": {"name": "x", "base": "mix"}})), "fine");
        check(search(json!({"task": "a", "budget": "5%", "space": 3})), "a space must be `mix`");
        check(search(json!({"task": "a"})), "missing field `budget`");
        check(search(json!({"task": "a", "budget": "5%", "sedes": [1]})), "unknown field `sedes`");
        check(search(json!({"task": "a", "budget": "lots"})), "budget `lots`");
        check(search(json!({"task": "a", "budget": "5%", "seeds": []})), "1 to 64 seeds");
        check(search(json!({"task": "a", "budget": "5%", "seeds": [1, 1]})), "each once");
        check(search(json!({"task": "a", "budget": "5%", "steps": 1, "epochs": 1})), "exclude each other");
        check(search(json!({"task": "a", "budget": "5%", "steps": 0})), "`steps` is 0");
        check(search(json!({"task": "a", "budget": "5%", "steps": 999_999_999})), "`steps` 999999999 is more than");
        check(search(json!({"task": "a", "budget": "5%", "batch_size": 9999})), "`batch_size` 9999 is more than 4096");
        check(search(json!({"task": "a", "budget": "5%", "evaluations": 0})), "`evaluations` is 0");
        check(search(json!({"task": "a", "budget": "5%", "train_rows": 1})), "at least 2 rows");
        check(search(json!({"task": "a", "budget": "5%", "learning_rate": 0})), "`learning_rate` is 0");
        check(search(json!({"task": "a", "budget": "5%", "order": "third"})), "unknown variant `third`");
        check(search(json!({"task": "a", "budget": "5%", "preset": "s3delta-paper"})), "fine");
        check(search(json!({"task": "a", "budget": "5%", "preset": "paper"})), "unknown variant `paper`");
        check(
            search(json!({"task": "a", "budget": "5%", "dropout": 1})),
            "`dropout` is 1: give a number from 0, below 1",
        );
        check(search(json!({"task": "a", "budget": "5%", "prune_below": -0.5})), "`prune_below` is -0.5");
        check(search(json!({"task": "a", "budget": "5%", "tau": 0})), "`tau` is 0");
        check(search(json!({"task": "a", "budget": "5%", "delta_share": 1})), "`delta_share` is 1");
        check(search(json!({"task": "a", "budget": "5%", "l0": -1})), "`l0` is -1");
        check(search(json!({"task": "a", "budget": "5%", "more_budgets": vec!["1%"; 65]})), "65 is more than 64");
    }

    #[test]
    fn retrains_transfers_and_evaluations() {
        check(JobKind::Retrain, json!({"task": "a", "structure": "bitfit"}), "fine");
        check(JobKind::Retrain, json!({"task": "a", "structure": "random"}), "needs a `budget`");
        check(JobKind::Retrain, json!({"task": "a", "structure": "random", "budget": "5%"}), "fine");
        check(JobKind::Retrain, json!({"task": "a", "structure": "bitfit", "budget": "5%"}), "leave `budget` out");
        check(JobKind::Transfer, json!({"source": "a", "target": "b"}), "fine");
        check(JobKind::Transfer, json!({"source": "a", "task": "b"}), "unknown field `task`");
        check(JobKind::Evaluation, json!({"task": "a"}), "fine");
        check(JobKind::Evaluation, json!({"task": "a", "rows": 0}), "`rows` is 0");
    }

    #[test]
    fn defaults_and_names() {
        let read = |kind, value| JobRequest::from_value(kind, &value).unwrap();
        let JobRequest::Search(search) = read(JobKind::Search, json!({"task": "sst2", "budget": "5%"})) else {
            panic!("a search")
        };
        assert_eq!(search.training().length, Length::Epochs(DEFAULT_EPOCHS));
        assert_eq!((search.adapter_name().as_str(), search.retrain), ("sst2", true));
        let JobRequest::Retrain(retrain) =
            read(JobKind::Retrain, json!({"task": "a", "structure": "lnfit", "steps": 9}))
        else {
            panic!("a re-training")
        };
        assert_eq!((retrain.training().length, retrain.adapter_name().as_str()), (Length::Steps(9), "a-lnfit"));
        let JobRequest::Transfer(transfer) = read(JobKind::Transfer, json!({"source": "a", "target": "b"})) else {
            panic!("a transfer")
        };
        assert_eq!(transfer.adapter_name(), "b-from-a");
    }

    #[test]
    fn stored_requests_read_back() {
        let value = json!({"task": "a", "budget": "1.389e-4", "space": {"name": "x", "base": "lora"}, "seeds": [3]});
        let request = JobRequest::from_value(JobKind::Search, &value).unwrap();
        assert_eq!(JobRequest::from_value(JobKind::Search, &request.to_value().unwrap()).unwrap(), request);
    }
}
