//! `/v1/transfers`, read: the source × target matrix.

use super::{
    AppState, ErrorBody, List, Result,
    auth::{May, Read},
    extract::Json,
};
use crate::registry::TransferRecord;
use axum::extract::State;

/// Lists transfers with their scores.
#[utoipa::path(get, path = "/v1/transfers", tag = "transfers", security(("bearer" = ["read"])),
    responses((status = 200, body = List<TransferRecord>), (status = "default", body = ErrorBody)))]
pub(crate) async fn list_transfers(_: May<Read>, State(state): State<AppState>) -> Result<Json<List<TransferRecord>>> {
    let found = state.blocking(|state| state.registry.transfers()).await?;
    Ok(Json(List::whole(found)))
}
