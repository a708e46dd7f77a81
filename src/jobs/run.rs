//! What jobs compute: searches, re-trainings, transfers and evaluations over one shared backbone.

use super::stage::{Stage, Watch};
use super::{
    BudgetResult, Control, EvaluationRequest, EvaluationResult, Failure, JobRequest, Phase, RetrainRequest,
    RetrainResult, Runner, SearchRequest, SearchResult, Training, TransferRequest, TransferResult, structure_of,
};
use crate::delta::{DeltaWeights, Layout, Metadata, Single};
use crate::registry::{JobRecord, NewGeneration, Registry, Score, TaskRecord, TaskRef, TransferRecord};
use crate::search::search;
use crate::structure::{Baseline, Origin, Provenance, Structure, at_budget};
use crate::t5::{Backbone, Frozen};
use crate::task::{Split, Task};
use crate::train::{self, EncodedTask, evaluate, longer_part, retrain};
use jiff::Timestamp;
use rand::SeedableRng;
use std::sync::Arc;
use std::time::Instant;

/// The alias that every new generation of an adapter gets.
const LATEST: &str = "latest";

/// A runner that computes jobs over this backbone and keeps what they give in this registry; see
/// [`train::Settings::kept_activation_bytes`].
pub fn runner(backbone: Arc<Backbone>, registry: Registry, kept_activation_bytes: usize) -> Runner {
    Arc::new(move |job, control| {
        let request = JobRequest::from_value(job.kind, &job.request)
            .map_err(|error| Failure::new("job_unreadable", format!("the stored request cannot be read: {error}")))?;
        if let Some(wanted) = request.backbone_digest().filter(|wanted| *wanted != backbone.digest) {
            let error = super::Error::OtherBackbone { wanted: wanted.into(), found: backbone.digest.clone() };
            return Err(Failure::new("backbone_mismatch", error.to_string()));
        }
        let run = Run { backbone: &backbone, registry: &registry, job, control, kept_activation_bytes };
        let result = match request {
            JobRequest::Search(request) => serde_json::to_value(run.search(&request)?),
            JobRequest::Retrain(request) => serde_json::to_value(run.retrain(&request)?),
            JobRequest::Transfer(request) => serde_json::to_value(run.transfer(&request)?),
            JobRequest::Evaluation(request) => serde_json::to_value(run.evaluation(&request)?),
        };
        Ok(result.expect("results are plain data"))
    })
}

/// One job's run.
struct Run<'a> {
    backbone: &'a Backbone,
    registry: &'a Registry,
    job: &'a JobRecord,
    control: &'a Control,
    kept_activation_bytes: usize,
}

/// A trained structure in the registry.
struct Kept {
    generation: crate::registry::Digest,
    score: Score,
    dev_score: f64,
}

impl Run<'_> {
    fn search(&self, request: &SearchRequest) -> Result<SearchResult, Failure> {
        let (training, digest) = (request.training(), request.task_digest.as_deref());
        let first = request.seeds[0];
        let (record, mut data) = self.task(&request.task, digest, &training, first)?;
        let mut drawn = first;
        // each seed draws rows of its own, as a search of that seed alone does
        let mut draw = |data: &mut EncodedTask, seed: u64| -> Result<(), Failure> {
            if training.train_rows.is_some() && drawn != seed {
                (_, *data) = self.task(&request.task, digest, &training, seed)?;
                drawn = seed;
            }
            Ok(())
        };
        let space = request.space.space(self.backbone.shape()).map_err(structure_failure)?;
        let budget = request.budget.resolve(&space, self.backbone.parameters).map_err(structure_failure)?;
        let warm_start = match &request.warm_start {
            Some(id) => self.earlier(id, request.warm_start_search)?.probabilities_of(space.modules()),
            None => Vec::new(),
        };
        let mut stage = Stage::load(self.control)?;
        let resumed = stage.take_snapshot();
        let mut snapshot = resumed.as_deref();
        for seed in request.seeds.iter().skip(stage.searches().len()) {
            draw(&mut data, *seed)?;
            let rows = longer_part(data.train.len(), request.delta_share);
            let settings = request.settings(training.steps(rows), *seed, warm_start.clone());
            let mut watch = Watch::new(self.control, &stage, Phase::Search, *seed, &data);
            watch.show_space(&space, budget);
            let found = search(self.backbone, &space, budget, &data, &settings, &mut watch, snapshot.take());
            let found = found.map_err(train_failure)?;
            stage.seconds += found.seconds;
            stage.keep(&found.logits);
        }
        let provenance = |seeds: &[u64]| Provenance {
            source_task: Some(record.name.clone()),
            task_digest: Some(record.digest.to_string()),
            backbone_digest: Some(self.backbone.digest.clone()),
            job: Some(self.job.id.clone()),
            seeds: seeds.to_vec(),
            settings: self.job.request.clone(),
            created: self.job.created,
            ..Provenance::new(Origin::Search)
        };
        let selection = request.selection.unwrap_or_default();
        // the structure of several searches' mean p
        let choose = |of: &[Vec<f64>], budget: usize, provenance: Provenance| {
            let found = Structure::discretise(&space, of, budget, selection, provenance).map_err(structure_failure)?;
            // what a structure gives under another budget may be itself, which is no parent of its own
            if found.provenance.iter().all(|one| !one.parents.contains(&found.id)) {
                self.registry.put_structure(&found)?;
            }
            Ok::<_, Failure>(found)
        };
        let searches = stage.searches();
        let mut structures = Vec::new();
        for (seed, logits) in request.seeds.iter().zip(&searches) {
            structures.push(choose(std::slice::from_ref(logits), budget, provenance(&[*seed]))?.id);
        }
        let structure = match request.seeds.len() {
            1 => self.registry.structure(&structures[0])?,
            _ => choose(&searches, budget, provenance(&request.seeds))?,
        };
        let mut more = Vec::new();
        for other in &request.more_budgets {
            let other = other.resolve(&space, self.backbone.parameters).map_err(structure_failure)?;
            // of each seed's p; the L0 control knows no ζ
            let anew = |logits: &Vec<f64>| match request.l0 {
                None => at_budget(logits, space.sizes(), other),
                Some(_) => logits.clone(),
            };
            let anew: Vec<Vec<f64>> = searches.iter().map(anew).collect();
            let parents = vec![structure.id.clone()];
            let found = choose(&anew, other, Provenance { parents, ..provenance(&request.seeds) })?;
            let note = found.provenance[0].note.clone();
            more.push(BudgetResult { budget: other, parameters: found.parameters(), structure: found.id, note });
        }
        let search_seconds = stage.seconds;
        let mut result = SearchResult {
            structures,
            parameters: structure.parameters(),
            structure: structure.id.clone(),
            more,
            adapter: None,
            generation: None,
            score: None,
            search_seconds,
            retrain_seconds: None,
        };
        if request.retrain {
            let started = Instant::now();
            let adapter = request.adapter_name();
            draw(&mut data, first)?;
            let kept =
                self.train(&structure, &adapter, &record, &data, &training, first, &stage, snapshot, &[LATEST])?;
            result.adapter = Some(adapter);
            result.generation = Some(kept.generation.to_string());
            result.score = Some(kept.score);
            result.retrain_seconds = Some(started.elapsed().as_secs_f64());
        }
        Ok(result)
    }

    /// The search of a structure whose p were asked for.
    fn earlier(&self, id: &str, created: Option<Timestamp>) -> Result<Provenance, Failure> {
        let structure = self.registry.structure(id)?;
        let search = created.map_or_else(|| structure.searched(), |created| structure.searched_at(created));
        let gone = || Failure::new("search_not_found", format!("structure {id} no longer tells the p of that search"));
        search.cloned().ok_or_else(gone)
    }

    fn retrain(&self, request: &RetrainRequest) -> Result<RetrainResult, Failure> {
        let training = request.training();
        let (record, data) = self.task(&request.task, request.task_digest.as_deref(), &training, request.seed)?;
        let structure = match request.baseline() {
            Some(baseline) => self.baseline(baseline, request)?,
            None => structure_of(self.registry, &request.structure, self.backbone.shape())
                .map_err(|error| Failure::new("structure_not_found", error.to_string()))?,
        };
        let mut stage = Stage::load(self.control)?;
        let snapshot = stage.take_snapshot();
        let started = Instant::now();
        let adapter = request.adapter_name();
        let snapshot = snapshot.as_deref();
        let kept =
            self.train(&structure, &adapter, &record, &data, &training, request.seed, &stage, snapshot, &[LATEST])?;
        Ok(RetrainResult {
            parameters: structure.parameters(),
            structure: structure.id,
            adapter,
            generation: kept.generation.to_string(),
            score: kept.score,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn transfer(&self, request: &TransferRequest) -> Result<TransferResult, Failure> {
        let training = request.training();
        let structure = structure_of(self.registry, &request.source, self.backbone.shape())
            .map_err(|error| Failure::new("structure_not_found", error.to_string()))?;
        let adapter = request.adapter_name();
        let mut stage = Stage::load(self.control)?;
        let resumed = stage.take_snapshot();
        let mut snapshot = resumed.as_deref();
        let started = Instant::now();
        for seed in request.seeds.iter().skip(stage.trained.len()) {
            let (record, data) = self.task(&request.target, request.task_digest.as_deref(), &training, *seed)?;
            let snapshot = snapshot.take();
            let kept = self.train(&structure, &adapter, &record, &data, &training, *seed, &stage, snapshot, &[])?;
            stage.trained.push((kept.generation.to_string(), kept.score.value, kept.dev_score));
            stage.metric = kept.score.metric;
        }
        let best = stage.trained.iter().max_by(|a, b| a.2.total_cmp(&b.2)).expect("a transfer has a seed");
        let generation = best.0.clone();
        let known = self.registry.adapter(&adapter)?;
        let digest = known.select(&generation)?.digest;
        self.registry.move_alias(&adapter, LATEST, &digest, crate::registry::Expected::Anything)?;
        let scores: Vec<f64> = stage.trained.iter().map(|(_, score, _)| *score).collect();
        let (score_mean, score_std) = mean_and_deviation(&scores);
        self.registry.put_transfer(&TransferRecord {
            source_task: request.source_task.clone(),
            source_structure: structure.id.clone(),
            target_task: request.target.clone(),
            seeds: request.seeds.clone(),
            score_mean,
            score_std,
            metric: stage.metric.clone(),
            parameters: structure.parameters(),
            adapter: Some(adapter.clone()),
            job: Some(self.job.id.clone()),
            created: self.job.created,
        })?;
        Ok(TransferResult {
            parameters: structure.parameters(),
            structure: structure.id,
            adapter,
            generation,
            metric: stage.metric.clone(),
            scores,
            score_mean,
            score_std,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn evaluation(&self, request: &EvaluationRequest) -> Result<EvaluationResult, Failure> {
        let record = self.task_record(&request.task, request.task_digest.as_deref())?;
        let data = self.encode(self.read_task(&record)?, request.max_source_tokens)?;
        let started = Instant::now();
        let stage = Stage::default();
        let mut watch = Watch::new(self.control, &stage, Phase::Evaluate, 0, &data);
        watch.evaluating();
        let score = |deltas: &dyn crate::t5::Deltas| {
            evaluate(self.backbone, deltas, &data, request.split, request.rows, &watch).map_err(train_failure)
        };
        let (found, generation) = match &request.adapter {
            None => (score(&Frozen)?, None),
            Some(reference) => {
                let resolved = self.registry.resolve(reference)?;
                let single = self.load(&resolved.structure, &resolved.weights.read()?)?;
                (score(&single)?, Some(resolved.generation.digest.to_string()))
            }
        };
        Ok(EvaluationResult {
            rows: found.answers.len(),
            score: Score {
                metric: data.task.definition.metric.as_str().into(),
                value: found.score,
                split: request.split.as_str().into(),
            },
            generation,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Trains a structure, scores it on test, and registers the weights as a generation of `adapter`.
    #[expect(clippy::too_many_arguments, reason = "one call says what the three kinds of training have in common")]
    fn train(
        &self,
        structure: &Structure,
        adapter: &str,
        record: &TaskRecord,
        data: &EncodedTask,
        training: &Training,
        seed: u64,
        stage: &Stage,
        snapshot: Option<&[u8]>,
        aliases: &[&str],
    ) -> Result<Kept, Failure> {
        let settings = train::Settings {
            steps: training.steps(data.train.len()),
            batch_size: training.batch_size,
            learning_rate: training.learning_rate,
            evaluations: training.evaluations,
            seed,
            group_by_length: training.group_by_length,
            kept_activation_bytes: self.kept_activation_bytes,
            ..train::Settings::default()
        };
        let mut watch = Watch::new(self.control, stage, Phase::Retrain, seed, data);
        let trained =
            retrain(self.backbone, structure, data, &settings, &mut watch, snapshot).map_err(train_failure)?;
        watch.evaluating();
        let layout = Layout::new(&self.backbone.positions, &structure.modules).map_err(structure_failure)?;
        let device = self.backbone.model.device();
        let single = Single::new(&layout, trained.values.clone(), self.backbone.positions.len(), device);
        let test = evaluate(self.backbone, &single, data, Split::Test, None, &watch).map_err(train_failure)?;
        let metric = data.task.definition.metric.as_str();
        let score = Score { metric: metric.into(), value: test.score, split: Split::Test.as_str().into() };
        let metadata = Metadata {
            structure: structure.id.clone(),
            backbone: self.backbone.digest.clone(),
            task: Some(record.name.clone()),
            task_digest: Some(record.digest.to_string()),
            score: Some(format!("{metric} {:.4} on test", test.score)),
        };
        let weights = DeltaWeights { values: trained.values, metadata };
        let bytes = weights
            .to_bytes(&self.backbone.positions, structure)
            .map_err(|error| Failure::new("weights_invalid", error.to_string()))?;
        self.registry.put_structure(structure)?;
        let new = NewGeneration {
            structure: structure.id.clone(),
            weights: self.registry.put_blob_bytes(&bytes)?,
            backbone_digest: self.backbone.digest.clone(),
            task: Some(TaskRef { name: record.name.clone(), digest: record.digest }),
            score: Some(score.clone()),
            job: Some(self.job.id.clone()),
            allow_backbone_mismatch: false,
        };
        let (_, generation) = self.registry.put_generation(adapter, new, aliases)?;
        Ok(Kept { generation: generation.digest, score, dev_score: trained.dev_score })
    }

    fn baseline(&self, baseline: Baseline, request: &RetrainRequest) -> Result<Structure, Failure> {
        let space = request.space.space(self.backbone.shape()).map_err(structure_failure)?;
        let budget = match request.budget {
            Some(budget) => budget.resolve(&space, self.backbone.parameters).map_err(structure_failure)?,
            None => space.parameters(),
        };
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(request.seed);
        let mut found = baseline.structure(&space, budget, &mut rng).map_err(structure_failure)?;
        for provenance in &mut found.provenance {
            provenance.created = self.job.created; // a resumed job stores the same provenance, not a second one
            provenance.job = Some(self.job.id.clone());
            provenance.seeds = if baseline == Baseline::Random { vec![request.seed] } else { Vec::new() };
        }
        Ok(found)
    }

    fn load(&self, structure: &Structure, bytes: &[u8]) -> Result<Single, Failure> {
        let positions = &self.backbone.positions;
        let weights = DeltaWeights::from_bytes(bytes, positions, structure)
            .map_err(|error| Failure::new("weights_invalid", error.to_string()))?;
        let layout = Layout::new(positions, &structure.modules).map_err(structure_failure)?;
        Ok(Single::new(&layout, weights.values, positions.len(), self.backbone.model.device()))
    }

    fn task(
        &self,
        name: &str,
        digest: Option<&str>,
        training: &Training,
        seed: u64,
    ) -> Result<(TaskRecord, EncodedTask), Failure> {
        let record = self.task_record(name, digest)?;
        let task = self.read_task(&record)?;
        let task = match training.train_rows {
            Some(rows) => task.take(rows, seed),
            None => task,
        };
        Ok((record, self.encode(task, training.max_source_tokens)?))
    }

    /// The task, if its rows are still those that the job was accepted with.
    fn task_record(&self, name: &str, digest: Option<&str>) -> Result<TaskRecord, Failure> {
        let record = self.registry.task(name)?;
        match digest {
            Some(wanted) if record.digest.to_string() != wanted => Err(Failure::new(
                "task_changed",
                format!("task `{name}` was replaced since this job was submitted: submit it again"),
            )),
            _ => Ok(record),
        }
    }

    fn read_task(&self, record: &TaskRecord) -> Result<Task, Failure> {
        let bytes = self.registry.blob(&record.blob)?.read()?;
        Task::from_json(&bytes).map_err(|error| Failure::new(error.code(), error.to_string()))
    }

    fn encode(&self, task: Task, max_source_tokens: usize) -> Result<EncodedTask, Failure> {
        EncodedTask::new(task, self.backbone, max_source_tokens).map_err(train_failure)
    }
}

/// Mean and sample standard deviation (0 for one score).
pub(crate) fn mean_and_deviation(scores: &[f64]) -> (f64, f64) {
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    (mean, if scores.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

fn structure_failure(error: crate::structure::Error) -> Failure {
    Failure::new("structure_invalid", error.to_string())
}

fn train_failure(error: train::Error) -> Failure {
    match error {
        train::Error::Stopped(_) => Failure::Stopped,
        train::Error::Diverged { .. } | train::Error::DivergedStructure { .. } => {
            Failure::new("training_diverged", error.to_string())
        }
        train::Error::Checkpoint(_) => Failure::new("checkpoint_invalid", error.to_string()),
        error => Failure::new("training_failed", error.to_string()),
    }
}
