//! `/v1/structures`.

use super::{
    ApiError, AppState, ErrorBody, List, Result,
    auth::{Admin, May, Read},
    extract::{Json, Path, Query},
    page::page,
};
use crate::{
    delta::{self, Cost},
    registry::{self, StructureFilter},
    structure::{KindName, MeasuredCost, Origin, Provenance, Serving, Shape, Structure, Total},
};
use axum::{
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// A structure in a list.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct StructureSummary {
    /// Its id.
    pub id: String,
    /// The backbone shape that it fits.
    pub shape: Shape,
    /// Number of modules.
    pub modules: usize,
    /// Trained parameters.
    pub parameters: usize,
    /// The same by kind.
    #[schema(value_type = BTreeMap<String, Total>)]
    pub by_kind: BTreeMap<&'static str, Total>,
    /// Tasks that it was searched on.
    pub source_tasks: Vec<String>,
    /// Spaces that it was found in.
    pub spaces: Vec<String>,
    /// Parameters that its latest search allowed.
    pub budget: Option<usize>,
    /// When it was first stored, in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: jiff::Timestamp,
    /// What made it first.
    pub origin: Origin,
    /// What serving it takes and shares.
    pub serving: Serving,
}

impl From<Structure> for StructureSummary {
    fn from(structure: Structure) -> Self {
        let parameters = structure.parameters();
        let provenance = &structure.provenance;
        let distinct = |of: fn(&Provenance) -> Option<&String>| {
            let mut found: Vec<String> = provenance.iter().filter_map(of).cloned().collect();
            found.sort();
            found.dedup();
            found
        };
        Self {
            parameters,
            serving: structure.cost(),
            modules: structure.modules.len(),
            by_kind: by_kind(&structure),
            source_tasks: distinct(|p| p.source_task.as_ref()),
            spaces: distinct(|p| p.space.as_ref()),
            budget: provenance.iter().rev().find_map(|p| p.budget),
            created: provenance.first().map_or(jiff::Timestamp::UNIX_EPOCH, |p| p.created),
            origin: provenance.first().map_or(Origin::Upload, |p| p.origin),
            id: structure.id,
            shape: structure.shape,
        }
    }
}

fn by_kind(structure: &Structure) -> BTreeMap<&'static str, Total> {
    let mut totals: BTreeMap<&'static str, Total> = BTreeMap::new();
    let positions = crate::structure::Positions::new(&structure.shape);
    for module in &structure.modules {
        let kind: KindName = module.kind.name();
        let total = totals.entry(kind.as_str()).or_default();
        let id = positions.id(&module.position).ok();
        total.modules += 1;
        total.parameters += id.map_or(0, |id| module.kind.parameters(positions.site(id)));
    }
    totals
}

/// Which structures to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StructureQuery {
    /// Searched on this task.
    source_task: Option<String>,
    /// Found in the space of this name.
    space: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Most entries, 1 to 1000; 100 if absent.
    limit: Option<usize>,
}

/// Lists structures, newest first.
#[utoipa::path(get, path = "/v1/structures", tag = "structures", params(StructureQuery), security(("bearer" = ["read"])),
    responses((status = 200, body = List<StructureSummary>), (status = "default", body = ErrorBody)))]
pub(crate) async fn list_structures(
    _: May<Read>,
    State(state): State<AppState>,
    Query(query): Query<StructureQuery>,
) -> Result<Json<List<StructureSummary>>> {
    let StructureQuery { source_task, space, cursor, limit } = query;
    let filter = StructureFilter { source_task, space, backbone: None, page: page(cursor, limit)? };
    let found = state.blocking(move |state| state.registry.structures(&filter)).await?;
    Ok(Json(List::of(found, StructureSummary::from)))
}

/// How to take an upload.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadQuery {
    /// Whether to keep a structure that does not fit the served backbone.
    #[serde(default)]
    allow_shape_mismatch: bool,
}

/// Stores a structure: 201 if it is new, 200 if it was known.
#[utoipa::path(post, path = "/v1/structures", tag = "structures", params(UploadQuery), request_body = Structure,
    security(("bearer" = ["admin"])),
    responses((status = 201, body = Structure), (status = 200, body = Structure), (status = "default", body = ErrorBody)))]
pub(crate) async fn create_structure(
    _: May<Admin>,
    State(state): State<AppState>,
    Query(query): Query<UploadQuery>,
    Json(structure): Json<Structure>,
) -> Result<Response> {
    let (structure, new) = state
        .blocking(move |state| {
            let structure = structure.validate()?;
            if !query.allow_shape_mismatch {
                structure.check_fits(&state.engine.backbone().shape)?;
            }
            Ok::<_, ApiError>(state.registry.put_structure(&with_provenance(state, structure)?)?)
        })
        .await?;
    let location = format!("/v1/structures/{}", structure.id);
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(LOCATION, location)], Json(structure)).into_response())
}

/// A request as the peers are measured with: tokens of its source and tokens made.
pub(super) const MEASURED: (usize, usize) = (64, 16);

/// What a structure's modules take on this machine, measured once; none where the backbone is not served by the CPU.
fn measured(state: &AppState, structure: &Structure) -> Result<Option<MeasuredCost>> {
    if state.engine.backbone().device != "cpu" {
        return Ok(None);
    }
    // held while measuring, so that no two measurements share the processor
    let mut costs = state.costs.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = costs.get(&structure.id) {
        return Ok(Some(*known));
    }
    let (source_tokens, new_tokens) = MEASURED;
    let Cost { source, token } = delta::measure(structure, source_tokens)?;
    let found = MeasuredCost {
        source_tokens,
        new_tokens,
        request_microseconds: source + token * new_tokens as f64,
        source_microseconds: source,
        token_microseconds: token,
    };
    costs.insert(structure.id.clone(), found);
    Ok(Some(found))
}

/// Gives a structure with its provenance, and with what serving it takes and shares.
#[utoipa::path(get, path = "/v1/structures/{id}", tag = "structures",
    params(("id" = String, Path, description = "Its id, or a prefix of 4 characters or more that fits one only")),
    security(("bearer" = ["read"])),
    responses((status = 200, body = Structure), (status = "default", body = ErrorBody)))]
pub(crate) async fn get_structure(
    _: May<Read>,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Structure>> {
    let told = move |state: &AppState| {
        let structure = state.registry.structure(&id)?;
        let serving = Serving { measured: measured(state, &structure)?, ..structure.cost() };
        Ok::<_, ApiError>(Structure { serving: Some(serving), ..structure })
    };
    state.blocking(told).await.map(Json)
}

/// Deletes a structure that no adapter uses.
#[utoipa::path(delete, path = "/v1/structures/{id}", tag = "structures",
    params(("id" = String, Path, description = "Its id")), security(("bearer" = ["admin"])),
    responses((status = 204), (status = "default", body = ErrorBody)))]
pub(crate) async fn delete_structure(
    _: May<Admin>,
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    state.blocking(move |state| -> registry::Result<()> { state.registry.delete_structure(&id) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new structure that does not say where it came from is an upload.
pub(crate) fn with_provenance(state: &AppState, mut structure: Structure) -> registry::Result<Structure> {
    if structure.provenance.is_empty() {
        match state.registry.structure(&structure.id) {
            Err(registry::Error::NotFound { .. }) => structure.provenance.push(Provenance::new(Origin::Upload)),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Ok(structure)
}
