//! `/v1/adapters`: list, upload, show, download, delete.

use super::{
    AppState, ErrorBody, List, Result,
    auth::{Admin, May, Read},
    extract::{Json, Multipart, Path, Query, header},
    page::PageQuery,
    upload,
};
use crate::registry::{self, Adapter, Blob, Generation};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION},
    },
    response::{IntoResponse, Response},
};
use futures_util::stream;
use tokio::{fs::File, io::AsyncReadExt};

/// Bytes of a download that are in memory at a time.
const CHUNK: usize = 256 << 10;

/// The parts of an upload, in any order.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the multipart body in the OpenAPI document; `upload` reads it part by part")]
pub struct AdapterUpload {
    /// Name of the adapter.
    name: String,
    /// A structure document (JSON), or the id of a stored one.
    structure: String,
    /// Delta weights: a safetensors file with `backbone_digest` in its metadata.
    #[schema(format = Binary)]
    weights: String,
    /// Task that they were trained on; the one that their metadata names as `task` and `task_digest` if absent.
    task: Option<String>,
    /// Aliases to move to the new generation, with commas between; `latest` if absent.
    aliases: Option<String>,
    /// `true` to serve them though they were trained on another backbone of the same shape.
    allow_backbone_mismatch: Option<String>,
}

/// Lists adapters by name.
#[utoipa::path(get, path = "/v1/adapters", tag = "adapters", params(PageQuery), security(("bearer" = ["read"])),
    responses((status = 200, body = List<Adapter>), (status = "default", body = ErrorBody)))]
pub(crate) async fn list_adapters(
    _: May<Read>,
    State(state): State<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<Adapter>>> {
    let page = query.page()?;
    let found = state.blocking(move |state| state.registry.adapters(&page)).await?;
    Ok(Json(List::of(found, |adapter| adapter)))
}

/// Stores a generation of an adapter: structure and delta weights, strictly checked.
#[utoipa::path(post, path = "/v1/adapters", tag = "adapters", security(("bearer" = ["admin"])),
    request_body(content = AdapterUpload, content_type = "multipart/form-data"),
    responses((status = 201, body = Adapter), (status = "default", body = ErrorBody)))]
pub(crate) async fn create_adapter(
    _: May<Admin>,
    State(state): State<AppState>,
    Multipart(body): Multipart,
) -> Result<Response> {
    let parts = upload::receive(&state, body).await?;
    let adapter = state.blocking(move |state| upload::store(state, parts)).await?;
    let location = format!("/v1/adapters/{}", adapter.name);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(adapter)).into_response())
}

/// Gives an adapter with its generations and aliases.
#[utoipa::path(get, path = "/v1/adapters/{name}", tag = "adapters",
    params(("name" = String, Path, description = "Its name")), security(("bearer" = ["read"])),
    responses((status = 200, body = Adapter), (status = "default", body = ErrorBody)))]
pub(crate) async fn get_adapter(
    _: May<Read>,
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Adapter>> {
    state.blocking(move |state| state.registry.adapter(&name)).await.map(Json)
}

/// Deletes an adapter with its generations and aliases; structures stay.
#[utoipa::path(delete, path = "/v1/adapters/{name}", tag = "adapters",
    params(("name" = String, Path, description = "Its name")), security(("bearer" = ["admin"])),
    responses((status = 204), (status = "default", body = ErrorBody)))]
pub(crate) async fn delete_adapter(
    _: May<Admin>,
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    state.blocking(move |state| state.registry.delete_adapter(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a generation that no alias stands for.
#[utoipa::path(delete, path = "/v1/adapters/{name}/generations/{digest}", tag = "adapters",
    params(("name" = String, Path, description = "The adapter"), ("digest" = String, Path, description = "Its digest")),
    security(("bearer" = ["admin"])), responses((status = 204), (status = "default", body = ErrorBody)))]
pub(crate) async fn delete_generation(
    _: May<Admin>,
    State(state): State<AppState>,
    Path((name, digest)): Path<(String, String)>,
) -> Result<StatusCode> {
    state
        .blocking(move |state| -> registry::Result<()> { state.registry.delete_generation(&name, &digest.parse()?) })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Downloads a generation's delta weights.
#[utoipa::path(get, path = "/v1/adapters/{name}/generations/{digest}/weights", tag = "adapters",
    params(("name" = String, Path, description = "The adapter"),
        ("digest" = String, Path, description = "Digest of the generation, a prefix of it, or an alias"),
        ("if-none-match" = Option<String>, Header, description = "An ETag received before")),
    security(("bearer" = ["read"])),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 304),
        (status = "default", body = ErrorBody)))]
pub(crate) async fn get_weights(
    _: May<Read>,
    State(state): State<AppState>,
    Path((name, digest)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    let (generation, blob) = state.blocking(move |state| find(state, &name, &digest)).await?;
    let etag = format!("\"{}\"", generation.weights);
    if header(&headers, "if-none-match").is_some_and(|known| known.contains(&etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let file = File::open(blob.path()).await.map_err(super::ApiError::internal)?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".into()),
        (CONTENT_LENGTH, blob.size().to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{}.safetensors\"", generation.digest)),
        (ETAG, etag),
    ];
    Ok((headers, content(file, blob)).into_response())
}

fn find(state: &AppState, name: &str, selector: &str) -> registry::Result<(Generation, Blob)> {
    let adapter = state.registry.adapter(name)?;
    let generation = adapter.select(selector)?.clone();
    let blob = state.registry.blob(&generation.weights)?;
    Ok((generation, blob))
}

/// A file as a body; the blob stays until the last byte is sent.
fn content(file: File, blob: Blob) -> Body {
    Body::from_stream(stream::try_unfold((file, blob), |(mut file, blob)| async move {
        let mut chunk = vec![0; CHUNK];
        let count = file.read(&mut chunk).await?;
        chunk.truncate(count);
        Ok::<_, std::io::Error>((count > 0).then_some((Bytes::from(chunk), (file, blob))))
    }))
}
