//! Jobs: durable records of searches, re-trainings, transfers and evaluations. The queue that runs them is elsewhere.

use super::blobs::{BLOB_USERS, user_key};
use super::store::{Order, Table};
use super::tasks::sorted;
use super::{Digest, Error, Noun, Page, PageRequest, Registry, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const JOBS: Table<JobRecord> = Table::new("job/");
/// Job ids by idempotency key.
const KEYS: Table<String> = Table::new("job_key/");

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Find a structure.
    Search,
    /// Train delta weights for a structure.
    Retrain,
    /// Train a source task's structure on a target task.
    Transfer,
    /// Score an adapter on a task.
    Evaluation,
}

impl JobKind {
    /// The word used in JSON and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Search => "search",
            JobKind::Retrain => "retrain",
            JobKind::Transfer => "transfer",
            JobKind::Evaluation => "evaluation",
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waiting for the worker.
    Queued,
    /// At work.
    Running,
    /// Done, with a result.
    Succeeded,
    /// Ended by an error.
    Failed,
    /// Ended by a user.
    Cancelled,
}

impl JobState {
    /// The word used in JSON and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    /// Whether the job has ended.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Ended jobs go on only through the queue, and only if there is work left.
    fn may_become(self, next: JobState) -> bool {
        match self {
            JobState::Queued => next != JobState::Succeeded,
            JobState::Running => true,
            JobState::Succeeded => next == JobState::Succeeded,
            JobState::Failed | JobState::Cancelled => next == self || next == JobState::Queued,
        }
    }
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobError {
    /// Stable code.
    pub code: String,
    /// Message that names the thing and the fix.
    pub message: String,
}

/// A job's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Id; ids sort by the time of creation.
    pub id: String,
    /// What it does.
    pub kind: JobKind,
    /// How far it is.
    pub state: JobState,
    /// The request as accepted.
    pub request: Value,
    /// The latest progress that was stored.
    pub progress: Option<Value>,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// When it was accepted, in UTC.
    pub created: Timestamp,
    /// When it last began to run.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// The key under which the same request gives this job again.
    pub idempotency_key: Option<String>,
    /// With a key: the request as it was sent, before names were pinned to what they stood for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Value>,
    /// Blob from which it goes on.
    pub checkpoint: Option<Digest>,
    /// How often an interruption put it back into the queue since its last new checkpoint.
    pub attempts: u32,
    /// Whether a user asked for its end while it ran; holds across a restart, and until it ends otherwise.
    pub cancel_requested: bool,
}

/// Under what a request that is sent again gives the first job again.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// The client's own, 1 to 255 bytes.
    pub key: String,
    /// The request as it was sent.
    pub asked: Value,
}

/// Which jobs to list; what is left out matches all.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// Which page.
    pub page: PageRequest,
}

impl Registry {
    /// Accepts a job and says whether it is new; the same idempotency key and request give the first job again.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] if the key came with another kind or request.
    pub fn create_job(
        &self,
        kind: JobKind,
        request: Value,
        idempotency: Option<Idempotency>,
    ) -> Result<(JobRecord, bool)> {
        let mut write = self.store().write();
        if let Some(idempotency) = &idempotency
            && let Some(known) = self.job_of(kind, idempotency)?
        {
            return Ok((known, false));
        }
        let (key, asked) = idempotency.map(|Idempotency { key, asked }| (key, asked)).unzip();
        let created = Timestamp::now();
        let job = JobRecord {
            id: self.next_job_id(created)?,
            kind,
            state: JobState::Queued,
            request,
            progress: None,
            result: None,
            error: None,
            created,
            started: None,
            finished: None,
            idempotency_key: key,
            asked,
            checkpoint: None,
            attempts: 0,
            cancel_requested: false,
        };
        if let Some(key) = &job.idempotency_key {
            write.put(&KEYS, key, &job.id)?;
        }
        write.put(&JOBS, &job.id, &job)?;
        write.commit()?;
        Ok((job, true))
    }

    /// The job that this key has made.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] if it came with another kind or request.
    pub fn job_of(&self, kind: JobKind, Idempotency { key, asked }: &Idempotency) -> Result<Option<JobRecord>> {
        if !(1..=255).contains(&key.len()) {
            return Err(Error::IdempotencyKey { length: key.len() });
        }
        let Some(id) = self.store().get(&KEYS, key)? else { return Ok(None) };
        let known = self.job(&id)?;
        let same = known.kind == kind && known.asked.as_ref().map(sorted) == Some(sorted(asked));
        if same { Ok(Some(known)) } else { Err(Error::IdempotencyKeyReused { key: key.clone(), job: id }) }
    }

    /// The job of this id.
    pub fn job(&self, id: &str) -> Result<JobRecord> {
        self.store().get(&JOBS, id)?.ok_or_else(|| Error::not_found(Noun::Job, id))
    }

    /// Jobs, newest first.
    pub fn jobs(&self, filter: &JobFilter) -> Result<Page<JobRecord>> {
        let keep = |job: &JobRecord| {
            filter.state.is_none_or(|state| job.state == state) && filter.kind.is_none_or(|kind| job.kind == kind)
        };
        self.store().page(&JOBS, &filter.page, Order::Falling, keep)
    }

    /// Changes a job's state, progress, result, error, `attempts` or `cancel_requested`; the other fields stay.
    ///
    /// A job that succeeded lets go of its checkpoint. Times follow the state: running sets `started`, an end sets
    /// `finished`, and back in the queue clears the end.
    ///
    /// # Errors
    /// [`Error::JobState`] if the job cannot go there, such as from succeeded to running.
    pub fn update_job(&self, id: &str, change: impl FnOnce(&mut JobRecord)) -> Result<JobRecord> {
        let mut write = self.store().write();
        let before = self.job(id)?;
        let mut job = before.clone();
        change(&mut job);
        if !before.state.may_become(job.state) {
            return Err(Error::JobState { id: id.into(), from: before.state, to: job.state });
        }
        let JobRecord { id, kind, request, created, idempotency_key, asked, checkpoint, .. } = before.clone();
        job = JobRecord { id, kind, request, created, idempotency_key, asked, checkpoint, ..job };
        if job.state != before.state {
            job.follow_state();
        }
        if job.state == JobState::Succeeded {
            job.checkpoint = None;
        }
        if job == before {
            return Ok(job);
        }
        let dropped = before.checkpoint.filter(|checkpoint| job.checkpoint != Some(*checkpoint));
        if let Some(dropped) = &dropped {
            write.remove(&BLOB_USERS, &user_key(dropped, &owner(&job.id)))?;
        }
        write.put(&JOBS, &job.id, &job)?;
        write.commit()?;
        if let Some(dropped) = &dropped {
            self.collect(dropped);
        }
        Ok(job)
    }

    /// Stores the bytes from which a job goes on after an interruption, in place of the former ones. A job that came further than
    /// those is no job that keeps crashing: its attempts are counted anew.
    pub fn set_checkpoint(&self, id: &str, bytes: &[u8]) -> Result<JobRecord> {
        let blob = self.put_blob_bytes(bytes)?;
        let mut write = self.store().write();
        let mut job = self.job(id)?;
        if job.state.is_terminal() {
            return Err(Error::JobState { id: job.id, from: job.state, to: JobState::Running });
        }
        let before = job.checkpoint.replace(blob.digest());
        if before == job.checkpoint {
            return Ok(job);
        }
        job.attempts = 0;
        if let Some(before) = &before {
            write.remove(&BLOB_USERS, &user_key(before, &owner(id)))?;
        }
        write.put(&BLOB_USERS, &user_key(&blob.digest(), &owner(id)), &())?;
        write.put(&JOBS, id, &job)?;
        write.commit()?;
        if let Some(before) = &before {
            self.collect(before);
        }
        Ok(job)
    }

    /// Deletes a job that has ended.
    pub fn delete_job(&self, id: &str) -> Result<()> {
        let mut write = self.store().write();
        let job = self.job(id)?;
        if !job.state.is_terminal() {
            return Err(Error::JobActive { id: job.id, state: job.state });
        }
        if let Some(key) = &job.idempotency_key {
            write.remove(&KEYS, key)?;
        }
        if let Some(checkpoint) = &job.checkpoint {
            write.remove(&BLOB_USERS, &user_key(checkpoint, &owner(id)))?;
        }
        write.remove(&JOBS, id)?;
        write.commit()?;
        if let Some(checkpoint) = &job.checkpoint {
            self.collect(checkpoint);
        }
        Ok(())
    }

    /// To be called once at start, before any worker runs: jobs that a former process left running go back into the
    /// queue with one more attempt, or end if their end was asked for. Gives all queued jobs, oldest first.
    pub fn recover_jobs(&self) -> Result<Vec<JobRecord>> {
        let mut write = self.store().write();
        let mut queued = Vec::new();
        let mut changed = false;
        for entry in self.store().scan(&JOBS, "", None, Order::Rising) {
            let (id, mut job) = entry?;
            if job.state == JobState::Running {
                job.state = if job.cancel_requested { JobState::Cancelled } else { JobState::Queued };
                job.attempts += u32::from(job.state == JobState::Queued);
                job.follow_state();
                write.put(&JOBS, &id, &job)?;
                changed = true;
            }
            if job.state == JobState::Queued {
                queued.push(job);
            }
        }
        if changed {
            write.commit()?;
        }
        Ok(queued)
    }

    /// Microseconds in hexadecimal, above every id so far even if the clock went back. The caller is the writer.
    fn next_job_id(&self, now: Timestamp) -> Result<String> {
        let last = self.store().scan(&JOBS, "", None, Order::Falling).next().transpose()?;
        let last = last.and_then(|(id, _)| i64::from_str_radix(&id, 16).ok()).unwrap_or(0);
        Ok(format!("{:016x}", now.as_microsecond().max(last + 1)))
    }
}

impl JobRecord {
    fn follow_state(&mut self) {
        let now = Timestamp::now();
        match self.state {
            JobState::Queued => {
                self.finished = None;
                self.error = None;
                self.cancel_requested = false;
            }
            JobState::Running => self.started = Some(now),
            JobState::Cancelled => self.finished = Some(now),
            JobState::Succeeded | JobState::Failed => {
                self.finished = Some(now);
                self.cancel_requested = false; // it came too late
            }
        }
    }
}

fn owner(id: &str) -> String {
    format!("job/{id}")
}
