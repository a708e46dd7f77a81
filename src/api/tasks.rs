//! `/v1/tasks`.

use super::{
    ApiError, AppState, ErrorBody, List, Result,
    auth::{Admin, May, Read, Train},
    extract::{Json, Path, Query},
    page::PageQuery,
};
use crate::{
    registry::{self, Digest, NewTask, TaskRecord, TaskRows},
    task::{self, Definition, Rows},
};
use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

/// A stored task.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// Digest of definition and rows.
    pub digest: Digest,
    /// Template, labels and metric.
    #[schema(value_type = Definition)]
    pub definition: serde_json::Value,
    /// How many rows each split has.
    pub rows: TaskRows,
    /// Whether it ships with the program.
    pub builtin: bool,
    /// When this version was stored, in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: jiff::Timestamp,
}

impl From<TaskRecord> for Task {
    fn from(record: TaskRecord) -> Self {
        let TaskRecord { name, digest, definition, rows, created, builtin, .. } = record;
        Self { name, digest, definition, rows, builtin, created }
    }
}

/// A task to store.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskUpload {
    /// Template, labels and metric; its name must be that of the path.
    pub definition: Definition,
    /// Rows by split; each split needs some.
    pub rows: Rows,
}

/// Lists tasks by name.
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", params(PageQuery), security(("bearer" = ["read"])),
    responses((status = 200, body = List<Task>), (status = "default", body = ErrorBody)))]
pub(crate) async fn list_tasks(
    _: May<Read>,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<Task>>> {
    let page = query.page()?;
    let found = state.blocking(move |state| state.registry.tasks(&page)).await?;
    Ok(Json(List::of(found, Task::from)))
}

/// Gives a task without its rows.
#[utoipa::path(get, path = "/v1/tasks/{name}", tag = "tasks", params(("name" = String, Path, description = "Its name")),
    security(("bearer" = ["read"])), responses((status = 200, body = Task), (status = "default", body = ErrorBody)))]
pub(crate) async fn get_task(
    _: May<Read>,
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Task>> {
    let record = state.blocking(move |state| state.registry.task(&name)).await?;
    Ok(Json(record.into()))
}

/// Stores a task, in place of the one of that name.
#[utoipa::path(put, path = "/v1/tasks/{name}", tag = "tasks", params(("name" = String, Path, description = "Its name")),
    request_body = TaskUpload, security(("bearer" = ["train"])),
    responses((status = 200, body = Task), (status = "default", body = ErrorBody)))]
pub(crate) async fn put_task(
    _: May<Train>,
    State(state): State<AppState>,
    Path(name): Path<String>,
    Json(upload): Json<TaskUpload>,
) -> Result<Json<Task>> {
    if upload.definition.name != name {
        let message = format!("the definition names `{}`, the path `{name}`: make them equal", upload.definition.name);
        return Err(ApiError::unservable("request_invalid", message).at("definition.name"));
    }
    let record = state.blocking(move |state| store(state, upload)).await?;
    Ok(Json(record.into()))
}

/// Deletes a task that is not built in.
#[utoipa::path(delete, path = "/v1/tasks/{name}", tag = "tasks",
    params(("name" = String, Path, description = "Its name")), security(("bearer" = ["admin"])),
    responses((status = 204), (status = "default", body = ErrorBody)))]
pub(crate) async fn delete_task(
    _: May<Admin>,
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    state.blocking(move |state| -> registry::Result<()> { state.registry.delete_task(&name) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn store(state: &AppState, upload: TaskUpload) -> Result<TaskRecord> {
    let task = task::Task::new(upload.definition, upload.rows)?;
    let blob = state.registry.put_blob_bytes(&task.to_bytes())?;
    let rows = TaskRows { train: task.rows.train.len(), dev: task.rows.dev.len(), test: task.rows.test.len() };
    let definition = serde_json::to_value(&task.definition).map_err(ApiError::internal)?;
    let new = NewTask { name: task.name().into(), definition, rows, builtin: false };
    Ok(state.registry.put_task(new, &blob)?)
}
