//! The worker: one thread of its own, outside the pools of tokio and of serving, that works jobs off one by one.

use super::control::StopFlag;
use super::priority;
use super::queue::Inner;
use super::{Control, Failure, Stop};
use crate::registry::{JobError, JobRecord, JobState};
use rayon::ThreadPool;
use serde_json::Value;
use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{Builder, JoinHandle},
};

/// Interruptions without a graceful stop or a new checkpoint after which a job is taken to be their cause.
const MOST_ATTEMPTS: u32 = 5;

/// Differentiating a deep graph recurses; a spawned thread's 2 MiB may be too little for it.
pub(super) const STACK_BYTES: usize = 16 << 20;

pub(super) fn spawn(inner: Arc<Inner>) -> io::Result<JoinHandle<()>> {
    // a GPU's stream belongs to a thread, so there this one does all
    let pool = match &*inner.backbone.device {
        "cpu" => Some(priority::pool().map_err(io::Error::other)?),
        _ => None,
    };
    Builder::new().name("jobs".into()).stack_size(STACK_BYTES).spawn(move || {
        while let Some((id, stop)) = inner.next() {
            if let Err(error) = work(&inner, &id, &stop, pool.as_ref()) {
                tracing::error!(job = %id, %error, "the registry refused an update of job {id}: {error}");
            }
            inner.idle();
        }
    })
}

/// Runs one job from its record to its record.
fn work(inner: &Inner, id: &str, stop: &Arc<StopFlag>, pool: Option<&ThreadPool>) -> crate::registry::Result<()> {
    let job = inner.registry.update_job(id, |job| {
        if job.state == JobState::Queued {
            let crashes = job.attempts >= MOST_ATTEMPTS;
            job.state = if crashes { JobState::Failed } else { JobState::Running };
            job.error = crashes.then(|| JobError {
                code: "job_keeps_crashing".into(),
                message: format!(
                    "the server died {MOST_ATTEMPTS} times at this job's checkpoint; resume it to try again"
                ),
            });
        }
    })?;
    // cancelled between being taken and being marked
    if job.state != JobState::Running {
        inner.announce(&job);
        return Ok(());
    }
    if job.cancel_requested {
        stop.set(Stop::Cancel);
    }
    inner.announce(&job);
    tracing::info!(job = %id, kind = job.kind.as_str(), "{} job {id} runs", job.kind.as_str());
    let control = Control::new(id, inner.registry.clone(), inner.channel(id), stop.clone(), inner.persist_every);
    let run = || (inner.runner)(&job, &control);
    let run = || pool.map_or_else(run, |pool| pool.install(run));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    let outcome = outcome.unwrap_or_else(|panic| Err(panicked(id, &*panic)));
    let job = inner.registry.update_job(id, |job| {
        job.progress = control.last_progress().or(job.progress.take());
        finish(job, outcome, stop.get());
    })?;
    tracing::info!(job = %id, state = job.state.as_str(), "job {id} is {}", job.state.as_str());
    metrics::counter!("s3delta_jobs_finished_total", "kind" => job.kind.as_str(), "state" => job.state.as_str())
        .increment(1);
    inner.announce(&job);
    Ok(())
}

fn finish(job: &mut JobRecord, outcome: Result<Value, Failure>, stop: Option<Stop>) {
    job.error = None;
    match (outcome, stop) {
        (Ok(result), _) => {
            job.result = Some(result);
            job.state = JobState::Succeeded;
        }
        (Err(Failure::Stopped), Some(Stop::Cancel)) => job.state = JobState::Cancelled,
        (Err(Failure::Stopped), Some(Stop::Shutdown)) => job.state = JobState::Queued,
        (Err(Failure::Stopped), None) => fail(job, "job_stopped", "the job stopped though nobody asked it to".into()),
        (Err(Failure::Failed { code, message }), _) => fail(job, &code, message),
    }
}

fn fail(job: &mut JobRecord, code: &str, message: String) {
    job.error = Some(JobError { code: code.into(), message });
    job.state = JobState::Failed;
}

fn panicked(id: &str, panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(job = %id, "job {id} panicked: {}", text.unwrap_or("(no text)"));
    Failure::new("job_panicked", format!("the job ran into a fault of s3delta: {}", text.unwrap_or("see the log")))
}
