//! `/v1/jobs`, and the routes that submit one: `/v1/searches`, `/v1/retrains`, `/v1/transfers`, `/v1/evaluations`.

use super::{
    ApiError, AppState, ErrorBody, List, Result,
    auth::{Admin, May, Read, Train},
    extract::{Json, Path, Query, header},
    page::page,
};
use crate::{
    jobs::{EvaluationRequest, JobRequest, Progress, RetrainRequest, SearchRequest, TransferRequest},
    registry::{self, JobError, JobFilter, JobKind, JobRecord, JobState},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A search, re-training, transfer or evaluation.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Job {
    /// Its id; ids sort by the time of creation.
    pub id: String,
    /// What it does.
    pub kind: JobKind,
    /// How far it is.
    pub state: JobState,
    /// The request as accepted, defaults filled in.
    #[schema(value_type = Object)]
    pub request: Value,
    /// The latest progress that was stored, with `modules` where `probabilities` are.
    #[schema(value_type = Option<Progress>)]
    pub progress: Option<Value>,
    /// What came of it.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// When it was accepted, in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: jiff::Timestamp,
    /// When it last began to run, in UTC.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<jiff::Timestamp>,
    /// When it ended, in UTC.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished: Option<jiff::Timestamp>,
    /// Whether it was asked to end and has not yet.
    pub cancel_requested: bool,
}

impl From<JobRecord> for Job {
    fn from(record: JobRecord) -> Self {
        let JobRecord { id, kind, state, request, progress, result, error, .. } = record;
        let JobRecord { created, started, finished, cancel_requested, .. } = record;
        Self { id, kind, state, request, progress, result, error, created, started, finished, cancel_requested }
    }
}

/// Which jobs to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct JobQuery {
    /// In this state.
    state: Option<JobState>,
    /// Of this kind.
    kind: Option<JobKind>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Most entries, 1 to 1000; 100 if absent.
    limit: Option<usize>,
}

/// Lists jobs, newest first.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", params(JobQuery), security(("bearer" = ["read"])),
    responses((status = 200, body = List<Job>), (status = "default", body = ErrorBody)))]
pub(crate) async fn list_jobs(
    _: May<Read>,
    State(state): State<AppState>,
    Query(query): Query<JobQuery>,
) -> Result<Json<List<Job>>> {
    let filter = JobFilter { state: query.state, kind: query.kind, page: page(query.cursor, query.limit)? };
    let found = state.blocking(move |state| state.registry.jobs(&filter)).await?;
    Ok(Json(List::of(found, Job::from)))
}

/// Gives a job.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "Its id")),
    security(("bearer" = ["read"])), responses((status = 200, body = Job), (status = "default", body = ErrorBody)))]
pub(crate) async fn get_job(_: May<Read>, State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Job>> {
    let job = state.blocking(move |state| state.registry.job(&id)).await?;
    Ok(Json(job.into()))
}

/// Deletes a job that has ended.
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "Its id")),
    security(("bearer" = ["admin"])), responses((status = 204), (status = "default", body = ErrorBody)))]
pub(crate) async fn delete_job(
    _: May<Admin>,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    state.blocking(move |state| -> registry::Result<()> { state.registry.delete_job(&id) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a job: at once if it waits, at its next step if it runs.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs",
    params(("id" = String, Path, description = "Its id")), security(("bearer" = ["train"])),
    responses((status = 200, body = Job), (status = "default", body = ErrorBody)))]
pub(crate) async fn cancel_job(
    _: May<Train>,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Job>> {
    let job = state.blocking(move |state| state.jobs.cancel(&id)).await?;
    Ok(Json(job.into()))
}

/// Puts a failed or cancelled job back into the queue; it goes on from its checkpoint.
#[utoipa::path(post, path = "/v1/jobs/{id}/resume", tag = "jobs",
    params(("id" = String, Path, description = "Its id")), security(("bearer" = ["train"])),
    responses((status = 200, body = Job), (status = "default", body = ErrorBody)))]
pub(crate) async fn resume_job(
    _: May<Train>,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Job>> {
    let job = state.blocking(move |state| state.jobs.resume(&id)).await?;
    Ok(Json(job.into()))
}

/// Searches a structure on a task.
#[utoipa::path(post, path = "/v1/searches", tag = "jobs", request_body = SearchRequest,
    params(("idempotency-key" = Option<String>, Header, description = "The same key and request give the first job")),
    security(("bearer" = ["train"])), responses((status = 202, body = Job), (status = "default", body = ErrorBody)))]
pub(crate) async fn create_search(
    _: May<Train>,
    State(state): State<AppState>,
    headers: HeaderMap,
    Json(request): Json<SearchRequest>,
) -> Result<Response> {
    submit(state, &headers, JobRequest::Search(request)).await
}

/// Trains a given structure on a task.
#[utoipa::path(post, path = "/v1/retrains", tag = "jobs", request_body = RetrainRequest,
    params(("idempotency-key" = Option<String>, Header, description = "The same key and request give the first job")),
    security(("bearer" = ["train"])), responses((status = 202, body = Job), (status = "default", body = ErrorBody)))]
pub(crate) async fn create_retrain(
    _: May<Train>,
    State(state): State<AppState>,
    headers: HeaderMap,
    Json(request): Json<RetrainRequest>,
) -> Result<Response> {
    submit(state, &headers, JobRequest::Retrain(request)).await
}

/// Trains a source task's structure on a target task.
#[utoipa::path(post, path = "/v1/transfers", tag = "jobs", request_body = TransferRequest,
    params(("idempotency-key" = Option<String>, Header, description = "The same key and request give the first job")),
    security(("bearer" = ["train"])), responses((status = 202, body = Job), (status = "default", body = ErrorBody)))]
pub(crate) async fn create_transfer(
    _: May<Train>,
    State(state): State<AppState>,
    headers: HeaderMap,
    Json(request): Json<TransferRequest>,
) -> Result<Response> {
    submit(state, &headers, JobRequest::Transfer(request)).await
}

/// Scores an adapter or the bare backbone on a task.
#[utoipa::path(post, path = "/v1/evaluations", tag = "jobs", request_body = EvaluationRequest,
    params(("idempotency-key" = Option<String>, Header, description = "The same key and request give the first job")),
    security(("bearer" = ["train"])), responses((status = 202, body = Job), (status = "default", body = ErrorBody)))]
pub(crate) async fn create_evaluation(
    _: May<Train>,
    State(state): State<AppState>,
    headers: HeaderMap,
    Json(request): Json<EvaluationRequest>,
) -> Result<Response> {
    submit(state, &headers, JobRequest::Evaluation(request)).await
}

async fn submit(state: AppState, headers: &HeaderMap, request: JobRequest) -> Result<Response> {
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(_) => Some(header(headers, "idempotency-key").map(String::from).ok_or_else(|| {
            let message = "the header `idempotency-key` must be printable ASCII, at most 255 characters";
            ApiError::malformed("header_invalid", message).at("idempotency-key")
        })?),
    };
    let (job, _) = state.blocking(move |state| state.jobs.submit(request, key)).await?;
    let location = format!("/v1/jobs/{}", job.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(Job::from(job))).into_response())
}
