//! Structures: documents by id, listed newest first, kept while an adapter's generation uses them.

use super::digest::is_hex;
use super::store::{Order, Table};
use super::{Error, Noun, Page, PageRequest, Registry, Result};
use crate::structure::{Shape, Structure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const STRUCTURES: Table<Stored> = Table::new("structure/");
/// What lists filter by, newest last; documents with their p are too large to read for that.
const LISTED: Table<Listed> = Table::new("structure_list/");
/// Which generations use which structures, as `id/name@digest`.
pub(super) const STRUCTURE_USERS: Table<()> = Table::new("structure_user/");

#[derive(Serialize, Deserialize)]
struct Stored {
    listed: String,
    document: Structure,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    id: String,
    shape: Shape,
    touches_lm_head: bool,
    source_tasks: Vec<String>,
    spaces: Vec<String>,
}

/// Which structures to list; what is left out matches all.
#[derive(Debug, Clone, Default)]
pub struct StructureFilter {
    /// Found on this task.
    pub source_task: Option<String>,
    /// Found in the space of this name.
    pub space: Option<String>,
    /// Fits a backbone of this shape.
    pub backbone: Option<Shape>,
    /// Which page.
    pub page: PageRequest,
}

impl Registry {
    /// Stores a structure and says whether it is new; one that is known gains the provenances it lacks.
    ///
    /// # Errors
    /// [`Error::Structure`] if the document contradicts itself.
    pub fn put_structure(&self, structure: &Structure) -> Result<(Structure, bool)> {
        let structure = structure.clone().validate()?;
        let mut write = self.store().write();
        let known = self.store().get(&STRUCTURES, &structure.id)?;
        let new = known.is_none();
        let stored = match known {
            None => Stored { listed: listing_key(&structure.id), document: structure },
            Some(mut known) => {
                let before = known.document.provenance.len();
                known.document.merge(structure);
                if known.document.provenance.len() == before {
                    return Ok((known.document, false));
                }
                known
            }
        };
        write.put(&LISTED, &stored.listed, &Listed::of(&stored.document))?;
        write.put(&STRUCTURES, &stored.document.id, &stored)?;
        write.commit()?;
        self.inner.lean.keep((&stored.document).into());
        Ok((stored.document, new))
    }

    /// The structure of this id, or of a prefix of at least 4 characters that fits one only.
    pub fn structure(&self, id: &str) -> Result<Structure> {
        Ok(self.stored_structure(id)?.document)
    }

    /// Structures, newest first.
    pub fn structures(&self, filter: &StructureFilter) -> Result<Page<Structure>> {
        let keep = |listed: &Listed| {
            filter.source_task.as_ref().is_none_or(|task| listed.source_tasks.contains(task))
                && filter.space.as_ref().is_none_or(|space| listed.spaces.contains(space))
                && filter.backbone.as_ref().is_none_or(|shape| listed.shape.fits(shape, listed.touches_lm_head))
        };
        let page = self.store().page(&LISTED, &filter.page, Order::Falling, keep)?;
        let mut data = Vec::with_capacity(page.data.len());
        for listed in page.data {
            // deleted since: leave it out
            data.extend(self.store().get(&STRUCTURES, &listed.id)?.map(|stored| stored.document));
        }
        Ok(Page { data, next_cursor: page.next_cursor })
    }

    /// Deletes a structure that no adapter uses.
    pub fn delete_structure(&self, id: &str) -> Result<()> {
        let mut write = self.store().write();
        let stored = self.stored_structure(id)?;
        let id = stored.document.id;
        let mut users = Vec::new();
        for user in self.store().scan(&STRUCTURE_USERS, &format!("{id}/"), None, Order::Rising) {
            users.push(user?.0[id.len() + 1..].to_owned());
        }
        if !users.is_empty() {
            return Err(Error::StructureInUse { id, users });
        }
        write.remove(&LISTED, &stored.listed)?;
        write.remove(&STRUCTURES, &id)?;
        write.commit()
    }

    fn stored_structure(&self, id: &str) -> Result<Stored> {
        let not_found = || Error::not_found(Noun::Structure, id.chars().take(64).collect::<String>());
        if !(4..=32).contains(&id.len()) || !is_hex(id) {
            return Err(not_found());
        }
        let mut found = self.store().scan(&STRUCTURES, id, None, Order::Rising);
        let first = found.next().transpose()?.ok_or_else(not_found)?;
        let mut others = found.take(4).map(|entry| entry.map(|(key, _)| key)).collect::<Result<Vec<_>>>()?;
        if others.is_empty() {
            return Ok(first.1);
        }
        others.insert(0, first.0);
        Err(Error::Ambiguous { noun: Noun::Structure, prefix: id.into(), matches: others })
    }
}

impl Listed {
    fn of(structure: &Structure) -> Self {
        let distinct = |mut names: Vec<String>| {
            names.sort();
            names.dedup();
            names
        };
        let provenance = || structure.provenance.iter();
        Self {
            id: structure.id.clone(),
            shape: structure.shape.clone(),
            touches_lm_head: structure.touches_lm_head(),
            source_tasks: distinct(provenance().filter_map(|from| from.source_task.clone()).collect()),
            spaces: distinct(provenance().filter_map(|from| from.space.clone()).collect()),
        }
    }
}

/// Sorts by the time of storing.
fn listing_key(id: &str) -> String {
    format!("{:016x}-{id}", Timestamp::now().as_microsecond())
}
