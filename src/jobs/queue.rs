//! The queue of jobs and the handle to it.
//!
//! The registry's record of a job decides what state it is in; the queue in memory only says what to take next. So a
//! crash between the two loses nothing, and a race between cancelling and taking is settled by the record.

use super::control::StopFlag;
use super::{Control, Error, Failure, JobEvent, JobRequest, Result, Stop, check, worker};
use crate::{
    registry::{Idempotency, JobRecord, JobState, Registry},
    serve::{BackboneInfo, Tokenize},
};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::broadcast;

/// Does a job's work. It runs on the worker's thread; a panic fails the job and no other.
pub type Runner = Arc<dyn Fn(&JobRecord, &Control) -> Result<Value, Failure> + Send + Sync>;

/// Events that a slow watcher may fall behind before it loses the oldest.
const EVENTS: usize = 64;

/// The jobs of a registry; clones share them. Dropping the last one stops the worker.
#[derive(Clone)]
pub struct Jobs(Arc<Worker>);

/// Owns the thread; what the thread itself holds is in `Inner`.
struct Worker {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Inner {
    pub(super) registry: Registry,
    pub(super) runner: Runner,
    pub(super) persist_every: Duration,
    pub(super) backbone: BackboneInfo,
    tokenizer: Arc<dyn Tokenize>,
    most_waiting: usize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<String>,
    running: Option<(String, Arc<StopFlag>)>,
    watched: HashMap<String, broadcast::Sender<JobEvent>>,
    closed: bool,
}

impl Jobs {
    /// The jobs of a registry, nothing running yet; at most `most_waiting` may wait.
    ///
    /// Requests are checked against `backbone` and its tokenizer, which the runner is taken to work on.
    pub fn new(
        registry: Registry,
        backbone: BackboneInfo,
        tokenizer: Arc<dyn Tokenize>,
        most_waiting: usize,
        runner: Runner,
    ) -> Self {
        Self::with_interval(registry, backbone, tokenizer, most_waiting, runner, Duration::from_secs(1))
    }

    /// The same with another least time between two stored progresses.
    pub(super) fn with_interval(
        registry: Registry,
        backbone: BackboneInfo,
        tokenizer: Arc<dyn Tokenize>,
        most_waiting: usize,
        runner: Runner,
        persist_every: Duration,
    ) -> Self {
        let (state, wake) = (Mutex::default(), Condvar::new());
        let inner = Arc::new(Inner { registry, runner, persist_every, backbone, tokenizer, most_waiting, state, wake });
        Self(Arc::new(Worker { inner, thread: Mutex::default() }))
    }

    /// Starts the worker's thread. Jobs that a former process left running are queued again; with `take_up` they and
    /// all that wait are worked off, otherwise only what is submitted or resumed from now on.
    pub fn start(&self, take_up: bool) -> Result<()> {
        let mut thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return Ok(());
        }
        let waiting = self.0.inner.registry.recover_jobs()?;
        if take_up {
            let mut state = self.inner().lock();
            for job in &waiting {
                tracing::info!(job = %job.id, "job {} is taken up", job.id);
                state.enqueue(&job.id);
            }
        }
        *thread = Some(worker::spawn(self.0.inner.clone())?);
        Ok(())
    }

    /// Accepts a job, durably; whether it is new, as an idempotency key gives the first job again.
    pub fn submit(&self, mut request: JobRequest, idempotency_key: Option<String>) -> Result<(JobRecord, bool)> {
        let inner = self.inner();
        // so that a request that writes out a default is the one that leaves it out
        request.settle();
        let value =
            |request: &JobRequest| request.to_value().map_err(|error| Error::invalid("request", error.to_string()));
        let asked = |key| Ok::<_, Error>(Idempotency { key, asked: value(&request)? });
        let idempotency = idempotency_key.map(asked).transpose()?;
        // before anything is checked that may have changed since
        if let Some(idempotency) = &idempotency
            && let Some(known) = inner.registry.job_of(request.kind(), idempotency)?
        {
            return Ok((known, false));
        }
        let request = check::check(request, &inner.registry, &inner.backbone, &*inner.tokenizer)?;
        {
            let state = inner.lock();
            if state.closed {
                return Err(Error::Closed);
            }
            if state.queue.len() >= inner.most_waiting {
                return Err(Error::TooMany { waiting: state.queue.len() });
            }
        }
        let (job, new) = inner.registry.create_job(request.kind(), value(&request)?, idempotency)?;
        if new {
            tracing::info!(job = %job.id, kind = job.kind.as_str(), "{} job {} is queued", job.kind.as_str(), job.id);
            inner.enqueue(&job.id);
        }
        Ok((job, new))
    }

    /// Ends a job: at once if it waits, at its next step if it runs. A cancelled job stays as it is.
    pub fn cancel(&self, id: &str) -> Result<JobRecord> {
        let inner = self.inner();
        let job = inner.registry.update_job(id, |job| match job.state {
            JobState::Queued => job.state = JobState::Cancelled,
            JobState::Running => job.cancel_requested = true,
            // another end is a conflict, which the registry states
            _ => job.state = JobState::Cancelled,
        })?;
        let mut state = inner.lock();
        match &state.running {
            Some((running, stop)) if running == id && !job.state.is_terminal() => stop.set(Stop::Cancel),
            _ => state.queue.retain(|waiting| waiting != id),
        }
        drop(state);
        if job.state.is_terminal() {
            inner.announce(&job);
        }
        Ok(job)
    }

    /// Puts a failed, cancelled or interrupted job back into the queue; it goes on from its checkpoint.
    pub fn resume(&self, id: &str) -> Result<JobRecord> {
        let inner = self.inner();
        if inner.lock().closed {
            return Err(Error::Closed);
        }
        let job = inner.registry.update_job(id, |job| {
            if job.state != JobState::Running {
                job.state = JobState::Queued;
                job.attempts = 0;
            }
        })?;
        if job.state == JobState::Queued {
            inner.announce(&job);
            inner.enqueue(id);
        }
        Ok(job)
    }

    /// A job's record, and what happens to it from then on; nothing if it has ended.
    pub fn subscribe(&self, id: &str) -> Result<(JobRecord, Option<broadcast::Receiver<JobEvent>>)> {
        let inner = self.inner();
        let job = inner.registry.job(id)?;
        if job.state.is_terminal() {
            return Ok((job, None));
        }
        let receiver = inner.channel(id).subscribe();
        // read again: it may have ended before there was a channel to tell
        let job = inner.registry.job(id)?;
        if job.state.is_terminal() {
            inner.lock().watched.remove(id);
            return Ok((job, None));
        }
        Ok((job, Some(receiver)))
    }

    /// Jobs that wait and jobs that run.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.inner().lock();
        (state.queue.len(), usize::from(state.running.is_some()))
    }

    /// Takes no more jobs, asks the running one to keep a checkpoint and go back into the queue, and waits for that.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }

    fn inner(&self) -> &Inner {
        &self.0.inner
    }
}

impl Worker {
    fn shutdown(&self) {
        let mut state = self.inner.lock();
        state.closed = true;
        if let Some((_, stop)) = &state.running {
            stop.set(Stop::Shutdown);
        }
        drop(state);
        self.inner.wake.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the jobs' worker thread panicked");
        }
        // ends the streams of those who watch
        self.inner.lock().watched.clear();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Inner {
    /// Waits for the next job and marks it as running; none when closed.
    pub(super) fn next(&self) -> Option<(String, Arc<StopFlag>)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(id) = state.queue.pop_front() {
                let stop = Arc::new(StopFlag::default());
                state.running = Some((id.clone(), stop.clone()));
                return Some((id, stop));
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Marks that nothing runs.
    pub(super) fn idle(&self) {
        self.lock().running = None;
    }

    /// The channel on which a job's events go out.
    pub(super) fn channel(&self, id: &str) -> broadcast::Sender<JobEvent> {
        self.lock().watched.entry(id.into()).or_insert_with(|| broadcast::channel(EVENTS).0).clone()
    }

    /// Tells those who watch a job its state; after an end there is no more to tell.
    pub(super) fn announce(&self, job: &JobRecord) {
        let mut state = self.lock();
        if let Some(channel) = state.watched.get(&job.id) {
            let _ = channel.send(JobEvent::State(Arc::new(job.clone())));
        }
        if job.state.is_terminal() {
            state.watched.remove(&job.id);
        }
    }

    fn enqueue(&self, id: &str) {
        self.lock().enqueue(id);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts a job at the end. One that just runs may be put there again: its record, not the queue, says if it shall.
    fn enqueue(&mut self, id: &str) {
        if !self.queue.iter().any(|waiting| waiting == id) {
            self.queue.push_back(id.into());
        }
    }
}
