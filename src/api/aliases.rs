//! `/v1/adapters/{name}/aliases/{alias}`: moved by compare-and-set, so that two movers cannot undo each other unseen.

use super::{
    ApiError, AppState, ErrorBody, Result,
    auth::{Admin, May},
    extract::{Json, Path, header},
};
use crate::registry::{Adapter, Digest, Expected};
use axum::{
    extract::State,
    http::{HeaderMap, header::ETAG},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

/// Where an alias is to point.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasTarget {
    /// Digest of one of the adapter's generations.
    pub generation: Digest,
}

/// Moves an alias to a generation, or makes it.
#[utoipa::path(put, path = "/v1/adapters/{name}/aliases/{alias}", tag = "adapters", request_body = AliasTarget,
    params(("name" = String, Path, description = "The adapter"), ("alias" = String, Path, description = "The alias"),
        ("if-match" = Option<String>, Header, description = "Digest, in quotes, that it must stand for now"),
        ("if-none-match" = Option<String>, Header, description = "`*` where it must be new")),
    security(("bearer" = ["admin"])),
    responses((status = 200, body = Adapter), (status = "default", body = ErrorBody)))]
pub(crate) async fn put_alias(
    _: May<Admin>,
    State(state): State<AppState>,
    Path((name, alias)): Path<(String, String)>,
    headers: HeaderMap,
    Json(target): Json<AliasTarget>,
) -> Result<Response> {
    let expected = expected(&headers)?;
    let to = target.generation;
    let adapter = state.blocking(move |state| state.registry.move_alias(&name, &alias, &to, expected)).await?;
    Ok(([(ETAG, format!("\"{to}\""))], Json(adapter)).into_response())
}

/// Deletes an alias; the generation stays. Without `latest` the adapter's bare name is refused until it is set again.
#[utoipa::path(delete, path = "/v1/adapters/{name}/aliases/{alias}", tag = "adapters",
    params(("name" = String, Path, description = "The adapter"), ("alias" = String, Path, description = "The alias"),
        ("if-match" = Option<String>, Header, description = "Digest, in quotes, that it must stand for now")),
    security(("bearer" = ["admin"])),
    responses((status = 200, body = Adapter), (status = "default", body = ErrorBody)))]
pub(crate) async fn delete_alias(
    _: May<Admin>,
    State(state): State<AppState>,
    Path((name, alias)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Adapter>> {
    let expected = expected(&headers)?;
    state.blocking(move |state| state.registry.delete_alias(&name, &alias, expected)).await.map(Json)
}

fn expected(headers: &HeaderMap) -> Result<Expected> {
    let wrong = |name: &str| {
        let message = format!("the header `{name}` must be a generation's digest in quotes (or `if-none-match: *`)");
        ApiError::malformed("header_invalid", message).at(name)
    };
    match (header(headers, "if-match"), header(headers, "if-none-match")) {
        (None, None) => Ok(Expected::Anything),
        (None, Some("*")) => Ok(Expected::Nothing),
        (Some(digest), None) => {
            let digest = digest.trim().trim_matches('"').parse().map_err(|_| wrong("if-match"))?;
            Ok(Expected::Generation(digest))
        }
        (_, Some(_)) => Err(wrong("if-none-match")),
    }
}
