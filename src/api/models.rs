//! `/v1/models`: the list that OpenAI's clients read.

use super::{
    AppState, ErrorBody, Result,
    auth::{May, Read},
    extract::Json,
};
use crate::registry::{DEFAULT_ALIAS, PageRequest};
use axum::extract::State;
use serde::Serialize;

/// What may be given as `model`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: &'static str,
    /// The backbone, then adapters by name.
    pub data: Vec<Model>,
}

/// The backbone, an adapter, or an alias of one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Model {
    /// What to give as `model`.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// When it came to be, in seconds since 1970.
    pub created: i64,
    /// Always `s3delta`.
    pub owned_by: &'static str,
    /// The generation, as `name@digest`; the backbone itself for the backbone.
    pub root: String,
    /// The backbone below an adapter.
    pub parent: Option<String>,
}

/// Lists the backbone and the adapters that fit it.
#[utoipa::path(get, path = "/v1/models", tag = "models", security(("bearer" = ["read"])),
    responses((status = 200, body = ModelList), (status = "default", body = ErrorBody)))]
pub(crate) async fn list_models(_: May<Read>, State(state): State<AppState>) -> Result<Json<ModelList>> {
    let data = state.blocking(models).await?;
    Ok(Json(ModelList { object: "list", data }))
}

fn models(state: &AppState) -> crate::registry::Result<Vec<Model>> {
    let backbone = state.engine.backbone();
    let model = |id: String, created: jiff::Timestamp, root, parent| Model {
        id,
        object: "model",
        created: created.as_second(),
        owned_by: "s3delta",
        root,
        parent,
    };
    let mut models = vec![model(backbone.name.clone(), state.started, backbone.name.clone(), None)];
    for adapter in state.registry.adapters(&PageRequest::all())?.data {
        for (alias, digest) in &adapter.aliases {
            let generation = adapter.generation(digest)?;
            let structure = state.registry.structure_to_serve(&generation.structure)?;
            let fits = structure.check_fits(&backbone.shape).is_ok();
            if !fits || generation.check_backbone(&adapter.name, &backbone.digest).is_err() {
                continue;
            }
            let name = &adapter.name;
            let id = if alias == DEFAULT_ALIAS { name.clone() } else { format!("{name}@{alias}") };
            let root = format!("{name}@{digest}");
            models.push(model(id, generation.created, root, Some(backbone.name.clone())));
        }
    }
    Ok(models)
}
