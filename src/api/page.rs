//! Lists: `{"data": […], "next_cursor": …}`.

use super::{ApiError, Result};
use crate::registry::{Page, PageRequest};
use serde::{Deserialize, Serialize};

/// Entries of a page where a request does not say.
const DEFAULT: usize = 100;
/// Most entries of a page.
const MOST: usize = 1000;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct List<T> {
    /// The entries.
    pub data: Vec<T>,
    /// Where the next page starts; null at the end.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page of the registry, entry by entry.
    pub(crate) fn of<R>(page: Page<R>, entry: impl FnMut(R) -> T) -> Self {
        Self { data: page.data.into_iter().map(entry).collect(), next_cursor: page.next_cursor }
    }

    /// A list that is whole.
    pub(crate) fn whole(data: Vec<T>) -> Self {
        Self { data, next_cursor: None }
    }
}

/// Which page of a list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// Most entries, 1 to 1000; 100 if absent.
    pub(crate) limit: Option<usize>,
}

impl PageQuery {
    pub(crate) fn page(self) -> Result<PageRequest> {
        page(self.cursor, self.limit)
    }
}

/// The page that a query asks for.
pub(crate) fn page(cursor: Option<String>, limit: Option<usize>) -> Result<PageRequest> {
    match limit.unwrap_or(DEFAULT) {
        limit @ 1..=MOST => Ok(PageRequest { cursor, limit }),
        limit => {
            let message = format!("`limit` is {limit}: give 1 to {MOST}");
            Err(ApiError::malformed("query_invalid", message).at("limit"))
        }
    }
}
