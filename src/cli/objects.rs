//! `s3delta structures`, `adapters` and `jobs`: what the registry holds.

use super::session::Session;
use super::{On, choices, follow, output, training};
use crate::registry::{Adapter, DEFAULT_ALIAS, Digest, Generation};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Files of an exported adapter.
pub(super) const STRUCTURE_FILE: &str = "structure.json";
pub(super) const WEIGHTS_FILE: &str = "delta.safetensors";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Structures {
    /// Every structure.
    List {
        /// Only those searched on this task.
        #[arg(long, value_name = "TASK")]
        source_task: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// One structure as its JSON document, with what serving it takes and shares.
    #[command(after_help = "Example:\n  s3delta structures show 3f2a91 | jq .serving")]
    Show {
        /// Its id, or a unique prefix.
        id: String,
    },
    /// Register a structure from a JSON document.
    #[command(after_help = "Example:\n  s3delta structures import found.json")]
    Import {
        /// The document.
        file: PathBuf,
    },
    /// Write a structure's JSON document.
    #[command(after_help = "Example:\n  s3delta structures export 3f2a91 found.json")]
    Export {
        /// Its id, or a unique prefix.
        id: String,
        /// The file to write.
        file: PathBuf,
    },
    /// Choose its modules anew, under another budget or by what serving costs, and keep the result.
    Choose(choices::Choose),
    /// Choices from the most Σp to the least cost of serving (a Pareto front).
    Front(choices::Front),
    /// Remove a structure that no adapter uses.
    Rm {
        /// Its id, or a unique prefix.
        id: String,
    },
}

impl Structures {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let on = match self {
            Self::Choose(choose) => On::clone(&choose.on),
            Self::Front(front) => On::clone(&front.on),
            _ => On::default(),
        };
        let session = Session::open(home, &on)?;
        match self {
            Self::Choose(choose) => choose.run(&session),
            Self::Front(front) => front.run(&session),
            Self::List { source_task, json } => {
                let filter = source_task.as_ref().map(|task| format!("?source_task={task}")).unwrap_or_default();
                let all = session.list(&format!("/v1/structures{filter}"))?;
                if *json {
                    return output::json(&all);
                }
                let columns = ["id", "origin", "source_tasks", "spaces", "modules", "parameters", "created"];
                list(&columns, &all);
                Ok(())
            }
            Self::Show { id } => output::json(&session.get(&format!("/v1/structures/{id}"))?),
            Self::Import { file } => {
                let text =
                    std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
                let document: Value = serde_json::from_str(&text).with_context(|| format!("`{}`", file.display()))?;
                output::json(&session.post("/v1/structures", &document)?)
            }
            Self::Export { id, file } => {
                let document = document(&session, id)?;
                write(file, &serde_json::to_vec_pretty(&document)?)
            }
            Self::Rm { id } => session.delete(&format!("/v1/structures/{id}")),
        }
    }
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Adapters {
    /// Every adapter.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// One adapter: its generations and aliases.
    Show {
        /// Its name.
        name: String,
    },
    /// Register a folder that `export` wrote as a generation.
    #[command(after_help = "Example:\n  s3delta adapters import ./sst2 --name sst2 --backbone ./t5-base")]
    Import {
        /// The folder: structure.json and delta.safetensors.
        folder: PathBuf,
        /// Name of the adapter.
        #[arg(long)]
        name: String,
        /// Take weights that were trained over another backbone of the same shape.
        #[arg(long)]
        allow_backbone_mismatch: bool,
        #[command(flatten)]
        on: Box<On>,
    },
    /// Write a generation as a folder: structure.json and delta.safetensors.
    #[command(after_help = "Example:\n  s3delta adapters export sst2 ./sst2")]
    Export {
        /// Name, name@alias or name@generation.
        reference: String,
        /// The folder to write.
        folder: PathBuf,
    },
    /// Point an alias at a generation.
    #[command(after_help = "Example:\n  s3delta adapters alias sst2 production 9c41e0")]
    Alias {
        /// Name of the adapter.
        name: String,
        /// The alias.
        alias: String,
        /// Digest of the generation, or a unique prefix of 6 characters or more.
        generation: String,
    },
    /// Remove an adapter with all its generations.
    Rm {
        /// Its name.
        name: String,
    },
}

impl Adapters {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let on = match self {
            Self::Import { on, .. } => On::clone(on),
            _ => On::default(),
        };
        let session = Session::open(home, &on)?;
        match self {
            Self::List { json } => {
                let all = session.list("/v1/adapters")?;
                if *json {
                    return output::json(&all);
                }
                let latest = |adapter: &Value| {
                    let generations = adapter["generations"].as_array().cloned().unwrap_or_default();
                    let last = generations.last().cloned().unwrap_or_default();
                    let score = &last["score"];
                    json!({
                        "name": adapter["name"],
                        "generations": generations.len(),
                        "aliases": adapter["aliases"].as_object().map(|a| a.keys().cloned().collect::<Vec<_>>()),
                        "task": last["task"]["name"],
                        "parameters": last["parameters"],
                        "score": score["value"].as_f64().map(|value| format!("{value:.4}")),
                        "metric": score["metric"],
                    })
                };
                let rows: Vec<_> = all.iter().map(latest).collect();
                list(&["name", "generations", "aliases", "task", "parameters", "score", "metric"], &rows);
                Ok(())
            }
            Self::Show { name } => output::json(&session.get(&format!("/v1/adapters/{name}"))?),
            Self::Import { folder, name, allow_backbone_mismatch, .. } => {
                let read = |file: &str| {
                    let path = folder.join(file);
                    std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
                };
                let mut parts = vec![
                    ("name", None, name.clone().into_bytes()),
                    ("structure", None, read(STRUCTURE_FILE)?),
                    ("weights", Some(WEIGHTS_FILE), read(WEIGHTS_FILE)?),
                ];
                if *allow_backbone_mismatch {
                    parts.push(("allow_backbone_mismatch", None, b"true".to_vec()));
                }
                output::json(&session.upload("/v1/adapters", &parts)?)
            }
            Self::Export { reference, folder } => export(&session, reference, folder),
            Self::Alias { name, alias, generation } => {
                let digest = adapter(&session, name)?.select(generation)?.digest;
                let body = serde_json::to_vec(&json!({"generation": digest}))?;
                output::json(&session.put(&format!("/v1/adapters/{name}/aliases/{alias}"), &body)?)
            }
            Self::Rm { name } => session.delete(&format!("/v1/adapters/{name}")),
        }
    }
}

/// A structure's document, without what depends on the server.
fn document(session: &Session, id: &str) -> Result<Value> {
    let mut document = session.get(&format!("/v1/structures/{id}"))?;
    document.as_object_mut().and_then(|fields| fields.remove("serving"));
    Ok(document)
}

/// The structure document and weights of an adapter reference.
pub(super) fn fetch(session: &Session, reference: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let (name, selector) = reference.split_once('@').unwrap_or((reference, DEFAULT_ALIAS));
    let adapter = adapter(session, name)?;
    let Generation { digest, structure, .. } = adapter.select(selector)?;
    let structure = serde_json::to_vec_pretty(&document(session, structure)?)?;
    let weights = session.bytes(&format!("/v1/adapters/{name}/generations/{digest}/weights"))?;
    Ok((structure, weights))
}

fn adapter(session: &Session, name: &str) -> Result<Adapter> {
    let found = session.get(&format!("/v1/adapters/{name}"))?;
    serde_json::from_value(found).context("the server's answer is no adapter")
}

fn export(session: &Session, reference: &str, folder: &Path) -> Result<()> {
    let (structure, weights) = fetch(session, reference)?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    write(&folder.join(STRUCTURE_FILE), &structure)?;
    write(&folder.join(WEIGHTS_FILE), &weights)
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write `{}`", file.display()))?;
    eprintln!("wrote {} ({} bytes, BLAKE3 {})", file.display(), bytes.len(), Digest::of(bytes));
    Ok(())
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Jobs {
    /// Every job, the newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// One job.
    Show {
        /// Its id.
        id: String,
    },
    /// Stop a job; its checkpoint stays.
    Cancel {
        /// Its id.
        id: String,
    },
    /// Go on with a job from its checkpoint, and follow it.
    Resume {
        /// Its id.
        id: String,
        #[command(flatten)]
        on: Box<On>,
        /// Print the finished job as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a job that has ended.
    Rm {
        /// Its id.
        id: String,
    },
}

impl Jobs {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let on = match self {
            Self::Resume { on, .. } => On::clone(on),
            _ => On::default(),
        };
        let session = Session::open(home, &on)?;
        match self {
            Self::List { json } => {
                let all = session.list("/v1/jobs")?;
                if *json {
                    return output::json(&all);
                }
                list(&["id", "kind", "state", "created", "finished"], &all);
                Ok(())
            }
            Self::Show { id } => output::json(&session.get(&format!("/v1/jobs/{id}"))?),
            Self::Cancel { id } => output::json(&session.post(&format!("/v1/jobs/{id}/cancel"), &json!({}))?),
            Self::Resume { id, json, .. } => training::print(&follow::resume(&session, id)?, *json),
            Self::Rm { id } => session.delete(&format!("/v1/jobs/{id}")),
        }
    }
}

/// Prints these fields of every object as a table.
fn list(columns: &[&str], objects: &[Value]) {
    let cell = |value: &Value| match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap_or_default()).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let rows: Vec<_> = objects.iter().map(|object| columns.iter().map(|c| cell(&object[*c])).collect()).collect();
    output::table(columns, &rows);
}
