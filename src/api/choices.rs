//! `/v1/structures/{id}/choices` and `/front`: a search's structure chosen anew, under another budget or by what serving costs.

use super::{
    ApiError, AppState, ErrorBody, List, Result,
    auth::{Admin, May, Read},
    extract::{Json, Path, Query},
    structures::MEASURED,
};
use crate::delta::ModuleCosts;
use crate::structure::{Budget, Objective, Searched, Selection, ServingCost, Structure, front};
use axum::{
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::sync::PoisonError;

/// Points of a front at most: each takes up to two exact choices.
const MOST_POINTS: usize = 32;

/// How to choose anew from the p of a structure's newest search.
#[derive(Debug, Clone, PartialEq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChoiceRequest {
    /// Parameters allowed; those of the search if absent. ζ is solved anew where it is another budget.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// How modules are chosen.
    #[serde(default)]
    pub selection: Selection,
    /// What counts beside p; nothing if absent.
    #[serde(default)]
    pub objective: Option<Objective>,
}

/// Which front to give.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FrontQuery {
    /// What serving costs.
    cost: ServingCost,
    /// Parameters allowed, as a search takes them; those of the search if absent.
    budget: Option<String>,
}

/// One choice on a Pareto front.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FrontPoint {
    /// A weight of the cost at which it is the best choice: `objective.weight` of a choice.
    pub weight: f64,
    /// Σp of its modules.
    pub probability: f64,
    /// Their cost, in the unit of what was asked.
    pub cost: f64,
    /// Number of modules.
    pub modules: usize,
    /// Their parameters.
    pub parameters: usize,
}

/// Chooses anew from the p of a structure's newest search and stores the structure: 201 if it is new, 200 if it was known. A choice
/// that is the structure itself gives it as it is.
#[utoipa::path(post, path = "/v1/structures/{id}/choices", tag = "structures", request_body = ChoiceRequest,
    params(("id" = String, Path, description = "The structure's id, or a prefix of 4 characters or more that fits one only")),
    security(("bearer" = ["admin"])),
    responses((status = 201, body = Structure), (status = 200, body = Structure), (status = "default", body = ErrorBody)))]
pub(crate) async fn create_choice(
    _: May<Admin>,
    State(state): State<AppState>,
    Path(id): Path<String>,
    Json(request): Json<ChoiceRequest>,
) -> Result<Response> {
    let choose = move |state: &AppState| {
        let (structure, searched, budget) = searched(state, &id, request.budget)?;
        let objective = match request.objective {
            Some(Objective { weight, .. }) if !(weight.is_finite() && weight >= 0.0) => {
                let message = format!("`weight` is {weight}: give 0 or more");
                return Err(ApiError::unservable("request_invalid", message).at("objective.weight"));
            }
            Some(objective) => Some((objective, costs(state, objective.cost, &searched)?)),
            None => None,
        };
        let objective = objective.as_ref().map(|(objective, costs)| (*objective, costs.as_slice()));
        let made = structure.chosen_anew(&searched, budget, request.selection, objective)?;
        if made.id == structure.id {
            return Ok((structure, false)); // it is no parent of its own
        }
        Ok::<_, ApiError>(state.registry.put_structure(&made)?)
    };
    let (structure, new) = state.blocking(choose).await?;
    let location = format!("/v1/structures/{}", structure.id);
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(LOCATION, location)], Json(structure)).into_response())
}

/// The choices from a search's p of which none has more Σp and less cost than another, from most Σp to least cost: those that are
/// the best at some weight of the cost. Of more than 32, those that cut the widest gaps of the cost.
#[utoipa::path(get, path = "/v1/structures/{id}/front", tag = "structures",
    params(("id" = String, Path, description = "The structure's id, or a prefix of 4 characters or more that fits one only"), FrontQuery),
    security(("bearer" = ["read"])),
    responses((status = 200, body = List<FrontPoint>), (status = "default", body = ErrorBody)))]
pub(crate) async fn get_front(
    _: May<Read>,
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<FrontQuery>,
) -> Result<Json<List<FrontPoint>>> {
    let find = move |state: &AppState| {
        let budget = query.budget.map(|text| text.parse::<Budget>()).transpose();
        let budget = budget.map_err(|error| ApiError::from(error).at("budget"))?;
        let (_, searched, budget) = searched(state, &id, budget)?;
        let (p, sizes) = (searched.p_at(budget), searched.space.sizes());
        let points = front(&p, sizes, &costs(state, query.cost, &searched)?, budget, MOST_POINTS)?;
        let some = points.into_iter().filter(|point| point.chosen.contains(&true)); // no structure has no module
        let told = some.map(|point| FrontPoint {
            weight: point.weight,
            probability: point.probability,
            cost: point.cost,
            modules: point.chosen.iter().filter(|chosen| **chosen).count(),
            parameters: sizes.iter().zip(&point.chosen).filter(|(_, chosen)| **chosen).map(|(size, _)| size).sum(),
        });
        Ok::<_, ApiError>(told.collect())
    };
    state.blocking(find).await.map(|data| Json(List { data, next_cursor: None }))
}

/// The structure, its newest search, and the parameters allowed.
fn searched(state: &AppState, id: &str, budget: Option<Budget>) -> Result<(Structure, Searched, usize)> {
    let structure = state.registry.structure(id)?;
    let searched = structure.searched_space()?;
    let budget = match (budget, searched.budget()) {
        (Some(budget), _) => {
            if matches!(budget, Budget::Ratio(_)) {
                structure.check_fits(&state.engine.backbone().shape)?; // of which backbone it is a ratio
            }
            let parameters = budget.resolve(&searched.space, state.engine.backbone().parameters);
            parameters.map_err(|error| ApiError::from(error).at("budget"))?
        }
        (None, Some(budget)) => budget,
        (None, None) => structure.parameters(),
    };
    Ok((structure, searched, budget))
}

/// What serving each module of the space costs; what is measured is kept, so that the weights of a front hold for a choice.
fn costs(state: &AppState, cost: ServingCost, searched: &Searched) -> Result<Vec<f64>> {
    let space = &searched.space;
    let each = space.modules().iter().zip(space.sizes()).map(|(module, size)| cost.of(&module.position, *size));
    if let Some(costs) = each.collect() {
        return Ok(costs);
    }
    let device = &state.engine.backbone().device;
    if device != "cpu" {
        let message =
            format!("microseconds are measured on the CPU, and the backbone is on {device}: ask for another cost");
        return Err(ApiError::unservable("cost_not_measured", message).at("cost"));
    }
    let _alone = state.measuring.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = state.registry.module_costs()?;
    let (source_tokens, new_tokens) = MEASURED;
    let mut measured = ModuleCosts::new(source_tokens, new_tokens, kept.clone());
    let costs = measured.of(space)?;
    if *measured.known() != kept {
        state.registry.put_module_costs(measured.known())?;
    }
    Ok(costs)
}
