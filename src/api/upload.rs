//! Uploads of adapters: received part by part, checked strictly, and stored whole or not at all.

use super::{ApiError, AppState, Result, structures::with_provenance};
use crate::{
    registry::{
        Adapter, Blob, DEFAULT_ALIAS, ErrorKind, NewGeneration, Registry, TaskRef, check_name, validate_weights,
    },
    structure::Structure,
};
use axum::{
    body::Bytes,
    extract::{
        Multipart,
        multipart::{Field, MultipartError},
    },
    http::StatusCode,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

/// How long an upload may send nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// Pieces of an upload between the socket and the disk.
const PIECES: usize = 16;
/// Largest part that is not the structure or the weights.
const WORD_BYTES: usize = 4096;

/// The parts of an upload. Dropped, it leaves nothing behind.
pub(crate) struct Parts {
    name: String,
    structure: String,
    weights: Blob,
    task: Option<String>,
    aliases: Vec<String>,
    allow_backbone_mismatch: bool,
    // the weights are read into memory once more to be checked
    _permit: OwnedSemaphorePermit,
}

/// Reads the parts, the weights straight to the disk.
pub(crate) async fn receive(state: &AppState, mut body: Multipart) -> Result<Parts> {
    let permit = state.uploads.clone().try_acquire_owned().map_err(|_| {
        let message = "other uploads are under way: try again in a moment, or raise `concurrent_uploads`";
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_uploads", message)
    })?;
    let mut texts: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut weights = None;
    while let Some(field) = in_time(body.next_field()).await? {
        let given = field.name().unwrap_or_default().to_owned();
        let known = ["name", "structure", "weights", "task", "aliases", "allow_backbone_mismatch"];
        let Some(part) = known.into_iter().find(|part| *part == given) else {
            let message = format!("unknown part `{given}`: the parts are {}", known.join(", "));
            return Err(ApiError::unservable("part_unknown", message).at(given));
        };
        if texts.contains_key(part) || (part == "weights" && weights.is_some()) {
            return Err(ApiError::malformed("part_repeated", format!("the part `{part}` came twice")).at(part));
        }
        match part {
            "weights" => weights = Some(to_disk(state, field).await?),
            "structure" => drop(texts.insert(part, text(field, part, state.config.body_bytes).await?)),
            _ => drop(texts.insert(part, text(field, part, WORD_BYTES).await?)),
        }
    }
    let missing = |part: &'static str| {
        ApiError::unservable("part_missing", format!("the part `{part}` is missing: send name, structure and weights"))
            .at(part)
    };
    let name = texts.remove("name").ok_or_else(|| missing("name"))?;
    let structure = texts.remove("structure").ok_or_else(|| missing("structure"))?;
    let weights = weights.ok_or_else(|| missing("weights"))?;
    let allow_backbone_mismatch = match texts.remove("allow_backbone_mismatch").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let message = format!("`allow_backbone_mismatch` is `{other}`: send true or false");
            return Err(ApiError::unservable("request_invalid", message).at("allow_backbone_mismatch"));
        }
    };
    let aliases = texts.remove("aliases").unwrap_or_else(|| DEFAULT_ALIAS.into());
    let aliases = aliases.split(',').map(str::trim).filter(|alias| !alias.is_empty()).map(String::from).collect();
    let task = texts.remove("task").filter(|task| !task.is_empty());
    Ok(Parts { name, structure, weights, task, aliases, allow_backbone_mismatch, _permit: permit })
}

/// Checks and stores; nothing is stored unless all of it is right.
pub(crate) fn store(state: &AppState, parts: Parts) -> Result<Adapter> {
    let registry = &state.registry;
    let backbone = state.engine.backbone();
    check_name("an adapter", &parts.name).map_err(|error| ApiError::from(error).at("name"))?;
    let taken = |message| ApiError::conflict("name_taken", message).at("name");
    backbone.check_adapter_name(&parts.name).map_err(taken)?;
    for alias in &parts.aliases {
        check_name("an alias", alias).map_err(|error| ApiError::from(error).at("aliases"))?;
    }
    let structure = structure(state, &parts.structure).map_err(|error| error.at("structure"))?;
    structure.check_fits(&backbone.shape).map_err(|error| ApiError::from(error).at("structure"))?;
    let info =
        validate_weights(&parts.weights.read()?, &structure).map_err(|error| ApiError::from(error).at("weights"))?;
    let task = task(registry, parts.task.as_deref(), &info.metadata)?;
    let backbone_digest = trained_on(&info.metadata, &structure.id, parts.allow_backbone_mismatch)?;
    if backbone_digest != backbone.digest && !parts.allow_backbone_mismatch {
        let message = format!(
            "the weights of `{}` were trained on backbone {backbone_digest}, this server serves {}: serve that backbone, \
             or send the part `allow_backbone_mismatch` = true",
            parts.name, backbone.digest
        );
        return Err(ApiError::conflict("backbone_mismatch", message).at("weights"));
    }
    let (structure, new) = registry.put_structure(&with_provenance(state, structure)?)?;
    let generation = NewGeneration {
        structure: structure.id.clone(),
        weights: parts.weights,
        backbone_digest,
        task,
        score: None,
        job: None,
        allow_backbone_mismatch: parts.allow_backbone_mismatch,
    };
    let aliases: Vec<&str> = parts.aliases.iter().map(String::as_str).collect();
    match registry.put_generation(&parts.name, generation, &aliases) {
        Ok((adapter, _)) => Ok(adapter),
        Err(error) => {
            if new && let Err(error) = registry.delete_structure(&structure.id) {
                tracing::warn!(structure = %structure.id, %error, "structure {} stays: {error}", structure.id);
            }
            Err(error.into())
        }
    }
}

/// The structure of a document, or of an id.
fn structure(state: &AppState, text: &str) -> Result<Structure> {
    let text = text.trim();
    if !text.starts_with('{') {
        return Ok(state.registry.structure(text)?);
    }
    let structure: Structure = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ApiError::unservable("invalid_structure", error.to_string()),
        _ => ApiError::malformed("json_malformed", format!("the structure is not valid JSON: {error}")),
    })?;
    Ok(structure.validate()?)
}

/// The task of the part, or else the one that the weights name: in the version that they tell, stored here or not, or
/// in the stored one if they tell none.
fn task(registry: &Registry, part: Option<&str>, metadata: &BTreeMap<String, String>) -> Result<Option<TaskRef>> {
    let stored = |name: &str| registry.task(name).map(|task| TaskRef { name: task.name, digest: task.digest });
    if let Some(name) = part {
        return stored(name).map(Some).map_err(|error| ApiError::from(error).at("task"));
    }
    // what other makers of files call their task need not be one of ours
    let Some(name) = metadata.get("task").filter(|name| check_name("a task", name).is_ok()) else {
        return Ok(None);
    };
    if let Some(digest) = metadata.get("task_digest").and_then(|digest| digest.parse().ok()) {
        return Ok(Some(TaskRef { name: name.clone(), digest }));
    }
    match stored(name) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => Ok(Some(found?)),
    }
}

/// The backbone that the weights say they were trained on.
fn trained_on(metadata: &BTreeMap<String, String>, structure: &str, any: bool) -> Result<String> {
    if let Some(other) = metadata.get("structure_digest").filter(|id| *id != structure) {
        let message = format!("the weights say that they are for structure {other}, not {structure}");
        return Err(ApiError::unservable("weights_invalid", message).at("weights"));
    }
    match metadata.get("backbone_digest") {
        Some(digest) => Ok(digest.clone()),
        None if any => Ok("unknown".into()),
        None => {
            let message = "the weights do not say on which backbone they were trained: put `backbone_digest` into the \
                           safetensors metadata, or send the part `allow_backbone_mismatch` = true";
            Err(ApiError::unservable("backbone_unknown", message).at("weights"))
        }
    }
}

/// What comes next of an upload, which holds a place that others wait for.
async fn in_time<T>(next: impl Future<Output = Result<T, MultipartError>>) -> Result<T> {
    let silent = |_| {
        let message = format!("nothing more of the upload came for {} s: send it again", SILENCE.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "upload_stalled", message)
    };
    Ok(timeout(SILENCE, next).await.map_err(silent)??)
}

/// A part as text.
async fn text(mut field: Field<'_>, part: &'static str, limit: usize) -> Result<String> {
    let mut bytes = Vec::new();
    while let Some(piece) = in_time(field.chunk()).await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > limit {
            return Err(ApiError::too_large(&format!("the part `{part}`"), limit, "body_bytes").at(part));
        }
    }
    String::from_utf8(bytes).map_err(|_| {
        ApiError::malformed("multipart_invalid", format!("the part `{part}` is not text in UTF-8")).at(part)
    })
}

/// A part as a blob, written piece by piece on a thread that may block.
async fn to_disk(state: &AppState, mut field: Field<'_>) -> Result<Blob> {
    let (pieces, mut written) = mpsc::channel::<Bytes>(PIECES);
    let mut writer = state
        .blocking({
            let limit = state.config.upload_bytes as u64;
            move |state| state.registry.blob_writer(limit)
        })
        .await?;
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(piece) = written.blocking_recv() {
            writer.write(&piece)?;
        }
        Ok(writer)
    });
    while let Some(piece) = in_time(field.chunk()).await? {
        if pieces.send(piece).await.is_err() {
            // the writer gave up, and says why below
            break;
        }
    }
    drop(pieces);
    let writer = writing.await.map_err(ApiError::internal)?;
    state.blocking(|_| writer.and_then(crate::registry::BlobWriter::finish)).await
}
