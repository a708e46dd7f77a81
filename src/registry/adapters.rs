//! Adapters: a name, its immutable generations, and the aliases that move between them.

use super::blobs::{BLOB_USERS, user_key};
use super::digest::{check_name, is_hex};
use super::store::{Order, Table, Write};
use super::structures::STRUCTURE_USERS;
use super::{Blob, Digest, Error, ErrorKind, Noun, Page, PageRequest, Registry, Result, validate_weights};
use crate::structure::Structure;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const ADAPTERS: Table<Adapter> = Table::new("adapter/");

/// The alias that a bare adapter name stands for.
pub const DEFAULT_ALIAS: &str = "latest";

/// Shortest prefix of a generation's digest that a reference may use.
const SHORTEST_PREFIX: usize = 6;

/// A servable thing: a name with its generations and aliases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Adapter {
    /// Its name.
    pub name: String,
    /// When its first generation was stored, in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Its generations, oldest first.
    pub generations: Vec<Generation>,
    /// The generation that each alias stands for.
    pub aliases: BTreeMap<String, Digest>,
}

/// One immutable state of an adapter: a structure with delta weights for one task over one backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Generation {
    /// Digest of structure, weights, backbone, task and `allow_backbone_mismatch`.
    pub digest: Digest,
    /// Id of the structure.
    pub structure: String,
    /// Blob of the delta weights, a safetensors file.
    pub weights: Digest,
    /// Size of that blob in bytes.
    pub weights_bytes: u64,
    /// Trained parameters.
    pub parameters: usize,
    /// Digest of the backbone that the weights were trained on.
    pub backbone_digest: String,
    /// The task in the version that the weights were trained on; the registry need not have it (any more).
    pub task: Option<TaskRef>,
    /// What it scored when it was made.
    pub score: Option<Score>,
    /// When it was stored, in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Job that made it.
    pub job: Option<String>,
    /// Whether it may be served on a backbone of the same shape with other weights.
    pub allow_backbone_mismatch: bool,
}

/// A task, and which version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskRef {
    /// Its name.
    pub name: String,
    /// Digest of definition and rows.
    pub digest: Digest,
}

/// A score on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Score {
    /// The metric.
    pub metric: String,
    /// Its value; finite.
    pub value: f64,
    /// The split.
    pub split: String,
}

/// A generation to store.
#[derive(Debug, Clone)]
pub struct NewGeneration {
    /// Id of a stored structure.
    pub structure: String,
    /// Delta weights, a safetensors file.
    pub weights: Blob,
    /// Digest of the backbone that they were trained on.
    pub backbone_digest: String,
    /// The task.
    pub task: Option<TaskRef>,
    /// What it scored.
    pub score: Option<Score>,
    /// Job that made it.
    pub job: Option<String>,
    /// Whether it may be served on other weights of the same shape.
    pub allow_backbone_mismatch: bool,
}

/// What an alias must stand for, for a move to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it stands for.
    Anything,
    /// Nothing: the alias is to be new.
    Nothing,
    /// This generation.
    Generation(Digest),
}

/// What a reference stands for. It holds on to the weights: they stay readable while this lives, whatever is deleted.
#[derive(Debug, Clone)]
pub struct ResolvedAdapter {
    /// Name of the adapter.
    pub name: String,
    /// The generation.
    pub generation: Generation,
    /// Its structure, without the provenance.
    pub structure: Arc<Structure>,
    /// Its delta weights.
    pub weights: Blob,
}

impl Generation {
    /// Refuses a backbone with other weights, unless that was allowed.
    pub fn check_backbone(&self, adapter: &str, backbone_digest: &str) -> Result<()> {
        if self.allow_backbone_mismatch || self.backbone_digest == backbone_digest {
            return Ok(());
        }
        Err(Error::BackboneMismatch {
            adapter: format!("{adapter}@{}", self.digest),
            wanted: self.backbone_digest.clone(),
            found: backbone_digest.into(),
        })
    }
}

impl Adapter {
    /// The generation of this digest.
    pub fn generation(&self, digest: &Digest) -> Result<&Generation> {
        let found = self.generations.iter().find(|generation| generation.digest == *digest);
        found.ok_or_else(|| Error::not_found(Noun::Generation, format!("{}@{digest}", self.name)))
    }

    /// The generation that an alias, a digest or the prefix of one stands for; an alias comes first.
    ///
    /// # Errors
    /// [`Error::NoAlias`], which names the newest generation and how to set the alias.
    pub fn select(&self, selector: &str) -> Result<&Generation> {
        if let Some(digest) = self.aliases.get(selector) {
            return self.generation(digest);
        }
        let short: String = selector.chars().take(128).collect();
        let whole = format!("{}@{short}", self.name);
        if selector.len() < SHORTEST_PREFIX || !is_hex(selector) {
            let newest = self.generations.last().ok_or_else(|| Error::not_found(Noun::Generation, whole))?.digest;
            return Err(Error::NoAlias { adapter: self.name.clone(), alias: short, newest });
        }
        let fits = |generation: &&Generation| generation.digest.to_string().starts_with(selector);
        let found: Vec<_> = self.generations.iter().filter(fits).collect();
        match found[..] {
            [one] => Ok(one),
            [] => Err(Error::not_found(Noun::Generation, whole)),
            _ => {
                let matches = found.iter().take(5).map(|generation| generation.digest.to_string()).collect();
                Err(Error::Ambiguous { noun: Noun::Generation, prefix: whole, matches })
            }
        }
    }

    fn aliases_of(&self, digest: &Digest) -> Vec<String> {
        let of = self.aliases.iter().filter(|(_, target)| *target == digest);
        of.map(|(alias, _)| format!("{}@{alias}", self.name)).collect()
    }
}

impl Registry {
    /// Stores a generation, making the adapter if it is new, and moves these aliases to it.
    ///
    /// The same content again is the same generation: it keeps its first score, job and time.
    ///
    /// # Errors
    /// [`Error::Weights`] if the weights do not fit the structure strictly, or say that they are of another backbone than
    /// `backbone_digest`; nothing is stored then.
    pub fn put_generation(&self, name: &str, new: NewGeneration, aliases: &[&str]) -> Result<(Adapter, Generation)> {
        check_name("an adapter", name)?;
        aliases.iter().try_for_each(|alias| check_alias(alias))?;
        let structure = self.structure(&new.structure)?;
        let info = validate_weights(&new.weights.read()?, &structure)?;
        if let Some(trained_on) = info.backbone_digest().filter(|digest| *digest != new.backbone_digest) {
            let what = format!("the metadata says backbone_digest `{trained_on}`, not `{}`", new.backbone_digest);
            return Err(Error::Weights { offenders: vec![what] });
        }
        let mut write = self.store().write();
        // it may have been deleted while the weights were read
        self.structure(&structure.id)?;
        let created = Timestamp::now();
        let generation = Generation {
            digest: digest(&structure.id, &new),
            structure: structure.id,
            weights: new.weights.digest(),
            weights_bytes: new.weights.size(),
            parameters: info.parameters,
            backbone_digest: new.backbone_digest,
            task: new.task,
            score: new.score,
            created,
            job: new.job,
            allow_backbone_mismatch: new.allow_backbone_mismatch,
        };
        let known = self.store().get(&ADAPTERS, name)?;
        let mut adapter = known.unwrap_or_else(|| Adapter {
            name: name.into(),
            created,
            generations: Vec::new(),
            aliases: BTreeMap::new(),
        });
        let before = adapter.clone();
        let generation = match adapter.generation(&generation.digest) {
            Ok(known) => known.clone(),
            Err(_) => {
                write.put(&BLOB_USERS, &user_key(&generation.weights, &owner(name, &generation.digest)), &())?;
                write.put(&STRUCTURE_USERS, &structure_user(name, &generation), &())?;
                adapter.generations.push(generation.clone());
                generation
            }
        };
        adapter.aliases.extend(aliases.iter().map(|alias| ((*alias).to_owned(), generation.digest)));
        if adapter != before {
            write.put(&ADAPTERS, name, &adapter)?;
            write.commit()?;
        }
        Ok((adapter, generation))
    }

    /// The adapter of this name.
    pub fn adapter(&self, name: &str) -> Result<Adapter> {
        self.store().get(&ADAPTERS, name)?.ok_or_else(|| Error::not_found(Noun::Adapter, name))
    }

    /// Adapters by name.
    pub fn adapters(&self, page: &PageRequest) -> Result<Page<Adapter>> {
        self.store().page(&ADAPTERS, page, Order::Rising, |_| true)
    }

    /// What `name`, `name@alias` or `name@digest` (or 6 characters of it or more) stands for; a bare name is
    /// `name@latest`.
    ///
    /// # Errors
    /// Those of [`Adapter::select`], or [`Error::NotFound`] if there is no such adapter.
    pub fn resolve(&self, reference: &str) -> Result<ResolvedAdapter> {
        let (name, selector) = reference.split_once('@').unwrap_or((reference, DEFAULT_ALIAS));
        // a deletion may come between the look-ups: then the adapter's record says what is gone
        loop {
            let adapter = self.adapter(name)?;
            let generation = adapter.select(selector)?.clone();
            let weights = self.blob(&generation.weights);
            let structure = self.structure_to_serve(&generation.structure);
            match (weights, structure) {
                (Ok(weights), Ok(structure)) => {
                    return Ok(ResolvedAdapter { name: adapter.name, generation, structure, weights });
                }
                (Err(error), _) | (_, Err(error)) if self.adapter(name)? == adapter => {
                    return Err(match error.kind() {
                        ErrorKind::NotFound => Error::Corrupt {
                            what: format!("{}@{}", adapter.name, generation.digest),
                            message: format!("{error}; delete the generation, then upload it again"),
                        },
                        _ => error,
                    });
                }
                _ => {}
            }
        }
    }

    /// Moves an alias to a generation, or makes it, if it stands for what the caller expects.
    ///
    /// # Errors
    /// [`Error::Stale`] if it does not.
    pub fn move_alias(&self, name: &str, alias: &str, to: &Digest, expected: Expected) -> Result<Adapter> {
        check_alias(alias)?;
        let mut write = self.store().write();
        let mut adapter = self.adapter(name)?;
        adapter.generation(to)?;
        check_expected(&adapter, alias, expected)?;
        if adapter.aliases.insert(alias.into(), *to) != Some(*to) {
            write.put(&ADAPTERS, name, &adapter)?;
            write.commit()?;
        }
        Ok(adapter)
    }

    /// Deletes an alias, if it stands for what the caller expects. Any may go, [`DEFAULT_ALIAS`] too, which takes the
    /// bare name out of service until it is set again.
    pub fn delete_alias(&self, name: &str, alias: &str, expected: Expected) -> Result<Adapter> {
        let mut write = self.store().write();
        let mut adapter = self.adapter(name)?;
        if !adapter.aliases.contains_key(alias) {
            return Err(Error::not_found(Noun::Alias, format!("{name}@{alias}")));
        }
        check_expected(&adapter, alias, expected)?;
        adapter.aliases.remove(alias);
        write.put(&ADAPTERS, name, &adapter)?;
        write.commit()?;
        Ok(adapter)
    }

    /// Deletes a generation that no alias stands for; the adapter goes with its last one.
    pub fn delete_generation(&self, name: &str, digest: &Digest) -> Result<()> {
        let mut write = self.store().write();
        let mut adapter = self.adapter(name)?;
        let generation = adapter.generation(digest)?.clone();
        let aliases = adapter.aliases_of(digest);
        if !aliases.is_empty() {
            return Err(Error::GenerationInUse { adapter: name.into(), generation: *digest, aliases });
        }
        release(&mut write, name, &generation)?;
        adapter.generations.retain(|other| other.digest != *digest);
        if adapter.generations.is_empty() {
            write.remove(&ADAPTERS, name)?;
        } else {
            write.put(&ADAPTERS, name, &adapter)?;
        }
        write.commit()?;
        self.collect(&generation.weights);
        Ok(())
    }

    /// Deletes an adapter with its generations and aliases; structures stay.
    pub fn delete_adapter(&self, name: &str) -> Result<()> {
        let mut write = self.store().write();
        let adapter = self.adapter(name)?;
        for generation in &adapter.generations {
            release(&mut write, name, generation)?;
        }
        write.remove(&ADAPTERS, name)?;
        write.commit()?;
        adapter.generations.iter().for_each(|generation| self.collect(&generation.weights));
        Ok(())
    }
}

fn check_alias(alias: &str) -> Result<()> {
    check_name("an alias", alias)?;
    if alias.len() == 32 && is_hex(alias) {
        let hint = ", and not the form of a digest";
        return Err(Error::Name { what: "an alias", name: alias.into(), hint });
    }
    Ok(())
}

fn check_expected(adapter: &Adapter, alias: &str, expected: Expected) -> Result<()> {
    let found = adapter.aliases.get(alias).copied();
    let (good, expected) = match expected {
        Expected::Anything => (true, String::new()),
        Expected::Nothing => (found.is_none(), "nothing".into()),
        Expected::Generation(digest) => (found == Some(digest), digest.to_string()),
    };
    if good {
        return Ok(());
    }
    Err(Error::Stale { adapter: adapter.name.clone(), alias: alias.into(), expected, found })
}

/// Takes back what a generation refers to.
fn release(write: &mut Write<'_>, name: &str, generation: &Generation) -> Result<()> {
    write.remove(&BLOB_USERS, &user_key(&generation.weights, &owner(name, &generation.digest)))?;
    write.remove(&STRUCTURE_USERS, &structure_user(name, generation))
}

fn owner(name: &str, generation: &Digest) -> String {
    format!("adapter/{name}@{generation}")
}

fn structure_user(name: &str, generation: &Generation) -> String {
    format!("{}/{name}@{}", generation.structure, generation.digest)
}

fn digest(structure: &str, new: &NewGeneration) -> Digest {
    let task = new.task.as_ref().map_or_else(|| "-".into(), |task| format!("{} {}", task.name, task.digest));
    let mismatch = new.allow_backbone_mismatch;
    let weights = new.weights.digest();
    Digest::of(format!("{structure}\n{weights}\n{}\n{task}\n{mismatch}", new.backbone_digest).as_bytes())
}
