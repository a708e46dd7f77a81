//! How far a job of several runs is: what its finished runs gave, and the snapshot of the one under way.

use super::{Control, Failure, ModulePlace, Phase, Progress};
use crate::structure::Space;
use crate::train::{EncodedTask, Flow, Observer, Report};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Least time between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// Of checkpoints: raise it where a run that goes on from an older one would be neither that version's nor this one's.
const FORMAT: u32 = 1;

/// What a job keeps beside the snapshot of its present run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Stage {
    /// Logits of p of every search that is done; none where it pruned.
    logits: Vec<Vec<Option<f64>>>,
    /// Generation, test score and dev score of every training that is done.
    pub(super) trained: Vec<(String, f64, f64)>,
    /// What the scores are.
    pub(super) metric: String,
    /// Seconds of the runs that are done.
    pub(super) seconds: f64,
    #[serde(skip)]
    snapshot: Option<Vec<u8>>,
}

impl Stage {
    /// The stage of the job's last checkpoint, or of its beginning.
    pub(super) fn load(control: &Control) -> Result<Self, Failure> {
        let Some(bytes) = control.resume_checkpoint()? else { return Ok(Self::default()) };
        Self::from_bytes(&bytes).ok_or_else(|| {
            Failure::new(
                "checkpoint_invalid",
                "the checkpoint is another version's, or cannot be read: submit the job again",
            )
        })
    }

    /// Keeps the logits of a search that is done, −∞ where it pruned.
    pub(super) fn keep(&mut self, logits: &[f64]) {
        self.logits.push(logits.iter().map(|logit| Some(*logit).filter(|logit| logit.is_finite())).collect());
    }

    /// Those of every search that is done.
    pub(super) fn searches(&self) -> Vec<Vec<f64>> {
        let each = |of: &Vec<Option<f64>>| of.iter().map(|logit| logit.unwrap_or(f64::NEG_INFINITY)).collect();
        self.logits.iter().map(each).collect()
    }

    /// The snapshot of the run that was under way, once.
    pub(super) fn take_snapshot(&mut self) -> Option<Vec<u8>> {
        self.snapshot.take()
    }

    /// `header length, u32 little-endian | JSON of the format and this | snapshot`.
    fn to_bytes(&self, snapshot: &[u8]) -> Vec<u8> {
        let header = serde_json::to_vec(&(FORMAT, self)).expect("plain data serialises");
        let mut bytes = (header.len() as u32).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend(snapshot);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (header, snapshot) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (format, stage): (u32, Self) = serde_json::from_slice(header).ok()?;
        (format == FORMAT).then(|| Self { snapshot: Some(snapshot.to_vec()), ..stage })
    }
}

/// Carries a run's reports to the job, keeps checkpoints, and stops the run when the job should stop.
pub(super) struct Watch<'a> {
    control: &'a Control,
    stage: &'a Stage,
    progress: Progress,
    started: Instant,
    first_step: Option<usize>,
    /// When the last checkpoint was kept; none if it lacks what runs before this one gave.
    kept: Option<Instant>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(control: &'a Control, stage: &'a Stage, phase: Phase, seed: u64, data: &EncodedTask) -> Self {
        let metric = Some(data.task.definition.metric.as_str().to_string());
        let progress = Progress { phase, seed, metric, ..Progress::default() };
        let now = Instant::now();
        let kept = (stage.logits.is_empty() && stage.trained.is_empty()).then_some(now);
        Self { control, stage, progress, started: now, first_step: None, kept }
    }

    /// Says which modules the probabilities will be of.
    pub(super) fn show_space(&mut self, space: &Space, budget: usize) {
        let place = |module: &crate::structure::DeltaModule| ModulePlace {
            position: module.position.clone(),
            kind: module.kind.name(),
        };
        self.progress.budget = Some(budget);
        let modules: Vec<ModulePlace> = space.modules().iter().map(place).collect();
        self.control.progress(Progress { modules: Some(modules), ..self.progress.clone() });
    }

    /// Says that the run is over and its result is being scored.
    pub(super) fn evaluating(&mut self) {
        self.progress.phase = Phase::Evaluate;
        self.progress.eta_seconds = None;
        self.control.progress(self.progress.clone());
    }
}

impl Observer for Watch<'_> {
    fn step(&mut self, report: &Report, snapshot: &dyn Fn() -> Vec<u8>) -> Flow {
        let seconds = self.started.elapsed().as_secs_f64();
        let first = *self.first_step.get_or_insert(report.step - 1);
        let each = seconds / (report.step - first) as f64;
        let probabilities = report.probabilities.clone().or(self.progress.probabilities.take());
        self.progress = Progress {
            step: report.step,
            total_steps: report.total_steps,
            loss_delta: Some(report.loss),
            loss_alpha: report.structural_loss,
            expected_parameters: report.expected_parameters,
            zeta: report.zeta,
            dev_score: report.dev_score,
            seconds,
            eta_seconds: Some(each * (report.total_steps - report.step) as f64),
            probabilities,
            ..self.progress.clone()
        };
        self.control.progress(self.progress.clone());
        let stop = self.control.should_stop().is_some();
        if stop || self.kept.is_none_or(|kept| kept.elapsed() > CHECKPOINT_EVERY) {
            self.kept = Some(Instant::now());
            // a checkpoint that cannot be kept costs time after a crash, not the run
            if let Err(error) = self.control.checkpoint(&self.stage.to_bytes(&snapshot())) {
                tracing::warn!(%error, "a checkpoint was not kept: {error}");
            }
        }
        if stop { Flow::Stop } else { Flow::Continue }
    }

    fn flow(&self) -> Flow {
        if self.control.should_stop().is_some() { Flow::Stop } else { Flow::Continue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_round_trips() {
        let mut stage = Stage { metric: "f1".into(), ..Stage::default() };
        stage.keep(&[0.25, f64::NEG_INFINITY]);
        let mut read = Stage::from_bytes(&stage.to_bytes(b"snapshot")).unwrap();
        assert_eq!(read.take_snapshot().as_deref(), Some(&b"snapshot"[..]));
        assert_eq!((read.searches(), read.metric), (vec![vec![0.25, f64::NEG_INFINITY]], "f1".into()));
        assert!(Stage::from_bytes(b"\xff\0\0\0{}").is_none());
        for (header, whole) in [(format!("[{FORMAT},"), true), ("[0,".into(), false), ("".into(), false)] {
            let plain = serde_json::to_string(&Stage::default()).unwrap();
            let header = if header.is_empty() { plain } else { format!("{header}{plain}]") };
            let bytes = [&(header.len() as u32).to_le_bytes()[..], header.as_bytes()].concat();
            assert_eq!(Stage::from_bytes(&bytes).is_some(), whole, "{header}: of another version");
        }
    }
}
