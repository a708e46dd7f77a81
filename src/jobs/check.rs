//! Checks a request against the registry and the backbone before it is accepted, so that it fails at once, not at night.

use super::{Error, EvaluationRequest, JobRequest, Result, RetrainRequest, SearchRequest, Training, TransferRequest};
use crate::{
    registry::{self, PageRequest, Registry, StructureFilter, TaskRecord, check_name},
    serve::{BackboneInfo, Tokenize},
    structure::{Baseline, Budget, Provenance, Shape, Space, Structure},
    task::Definition,
};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};

/// What a request is checked against.
#[derive(Clone, Copy)]
struct Known<'a> {
    registry: &'a Registry,
    backbone: &'a BackboneInfo,
    tokenizer: &'a dyn Tokenize,
}

/// The request with its task's and the backbone's digests filled in.
pub(super) fn check(
    mut request: JobRequest,
    registry: &Registry,
    backbone: &BackboneInfo,
    tokenizer: &dyn Tokenize,
) -> Result<JobRequest> {
    request.validate()?;
    let found = backbone.digest.clone();
    match request.backbone_digest_mut().replace(found.clone()) {
        Some(wanted) if wanted != found => return Err(Error::OtherBackbone { wanted, found }),
        _ => {}
    }
    let known = Known { registry, backbone, tokenizer };
    match &mut request {
        JobRequest::Search(request) => search(request, known)?,
        JobRequest::Retrain(request) => retrain(request, known)?,
        JobRequest::Transfer(request) => transfer(request, known)?,
        JobRequest::Evaluation(request) => evaluation(request, known)?,
    }
    Ok(request)
}

fn search(request: &mut SearchRequest, known: Known<'_>) -> Result<()> {
    let Known { registry, backbone, .. } = known;
    let task = pin_task("task", &request.task, &mut request.task_digest, known)?;
    if task.rows.train < 2 {
        let (name, rows) = (task.name, task.rows.train);
        let message = format!("task `{name}` has {rows} training row: a search needs at least 2, one for each part");
        return Err(Error::invalid("task", message));
    }
    length(&request.training(), &task)?;
    let space = request.space.space(&backbone.shape).map_err(structure("space"))?;
    let choosable = |budget: &Budget, param: &'static str| {
        let budget = budget.resolve(&space, backbone.parameters).map_err(structure(param))?;
        request.selection.unwrap_or_default().check(space.sizes(), budget).map_err(structure(param))
    };
    choosable(&request.budget, "budget")?;
    request.more_budgets.iter().try_for_each(|budget| choosable(budget, "more_budgets"))?;
    if let Some(source) = &mut request.warm_start {
        // the search that the task or the structure stands for now
        let Source { structure, search } = source_of(registry, "warm_start", source, &backbone.shape, Some(&space))?;
        let search = match request.warm_start_search {
            Some(created) => structure.searched_at(created).cloned(),
            None => search,
        };
        let told = search.filter(|search| search.probabilities_of(space.modules()).iter().any(Option::is_some));
        let Some(search) = told else {
            let id = structure.id;
            let message = format!("structure {id} tells no probability of a module of this space: name another one");
            return Err(Error::invalid("warm_start", message));
        };
        request.warm_start_search = Some(search.created);
        *source = structure.id;
    }
    adapter_name(request.adapter_name(), backbone)
}

fn retrain(request: &mut RetrainRequest, known: Known<'_>) -> Result<()> {
    let Known { registry, backbone, .. } = known;
    let task = pin_task("task", &request.task, &mut request.task_digest, known)?;
    length(&request.training(), &task)?;
    let space = request.space.space(&backbone.shape).map_err(structure("space"))?;
    match (request.baseline(), request.budget) {
        (Some(Baseline::Random), Some(budget)) => {
            budget.resolve(&space, backbone.parameters).map_err(structure("budget"))?;
        }
        (Some(_), _) => {}
        (None, _) => {
            // the whole id, so that a prefix stays what it was when submitted
            request.structure = structure_of(registry, &request.structure, &backbone.shape)?.id;
        }
    }
    adapter_name(request.adapter_name(), backbone)
}

fn transfer(request: &mut TransferRequest, known: Known<'_>) -> Result<()> {
    let Known { registry, backbone, .. } = known;
    let task = pin_task("target", &request.target, &mut request.task_digest, known)?;
    length(&request.training(), &task)?;
    let Source { structure, search } = source_of(registry, "source", &request.source, &backbone.shape, None)?;
    let named = |task: &String| structure.provenance.iter().any(|one| one.source_task.as_ref() == Some(task));
    request.source_task = request.source_task.take().filter(named).or(search.and_then(|search| search.source_task));
    request.source = structure.id;
    adapter_name(request.adapter_name(), backbone)
}

fn evaluation(request: &mut EvaluationRequest, known: Known<'_>) -> Result<()> {
    let Known { registry, backbone, .. } = known;
    pin_task("task", &request.task, &mut request.task_digest, known)?;
    if let Some(adapter) = &mut request.adapter {
        let resolved = registry.resolve(adapter).map_err(reference("adapter"))?;
        resolved.structure.check_fits(&backbone.shape).map_err(structure("adapter"))?;
        resolved.generation.check_backbone(&resolved.name, &backbone.digest).map_err(reference("adapter"))?;
        // the generation that the alias stands for now
        *adapter = format!("{}@{}", resolved.name, resolved.generation.digest);
    }
    Ok(())
}

/// The task with its digest noted, if that is the one noted before and its labels can be told apart.
fn pin_task(param: &'static str, name: &str, digest: &mut Option<String>, known: Known<'_>) -> Result<TaskRecord> {
    let task = known.registry.task(name).map_err(reference(param))?;
    let found = task.digest.to_string();
    match digest.replace(found.clone()) {
        Some(wanted) if wanted != found => return Err(Error::TaskChanged { task: name.into(), wanted, found }),
        _ => {}
    }
    labels(param, &task, known.tokenizer)?;
    Ok(task)
}

/// The stored structure of this id or prefix, if it fits a backbone of this shape.
pub fn structure_of(registry: &Registry, id: &str, shape: &Shape) -> Result<Structure> {
    let found = registry.structure(id).map_err(|source| match source {
        registry::Error::NotFound { .. } => {
            let baselines = Baseline::ALL.map(Baseline::as_str).join(", ");
            let message = format!("there is no structure `{id}`: give an id, or a baseline ({baselines})");
            Error::Missing { param: "structure", code: "structure_not_found", message }
        }
        source => Error::Reference { param: "structure", source },
    })?;
    found.check_fits(shape).map_err(structure("structure"))?;
    Ok(found)
}

/// What a transfer or a warm start begins from.
struct Source {
    structure: Structure,
    /// The search that was asked for, one of those that gave the structure; none where no search did.
    search: Option<Provenance>,
}

/// The newest search on a task, over this space if one is given, of several seeds that of their mean p; or the structure of this id
/// with its newest search. Structures chosen anew from a search's p, under another budget or objective, are found by their ids alone;
/// `param` is the request's field that names the source.
fn source_of(
    registry: &Registry,
    param: &'static str,
    source: &str,
    shape: &Shape,
    space: Option<&Space>,
) -> Result<Source> {
    if source.is_empty() {
        return Err(Error::invalid(param, "it is empty: name a task that was searched, or a structure's id"));
    }
    let filter = StructureFilter {
        source_task: Some(source.into()),
        backbone: Some(shape.clone()),
        page: PageRequest::all(),
        ..StructureFilter::default()
    };
    // two tasks may have found the same structure: each search counts for its own task alone
    let mut newest: Option<Source> = None;
    let mut elsewhere = BTreeSet::new();
    for structure in registry.structures(&filter)?.data {
        let of_task = |one: &&Provenance| one.source_task.as_deref() == Some(source) && one.is_search();
        for search in structure.provenance.iter().filter(of_task) {
            if space.is_some_and(|space| !search.is_over(space)) {
                elsewhere.insert(search.space.clone().unwrap_or_else(|| "unnamed".into()));
                continue;
            }
            let age = |search: &Provenance| (search.created, search.seeds.len());
            if newest.as_ref().and_then(|known| known.search.as_ref()).is_none_or(|known| age(known) < age(search)) {
                newest = Some(Source { structure: structure.clone(), search: Some(search.clone()) });
            }
        }
    }
    if let Some(found) = newest {
        return Ok(found);
    }
    if let (Some(space), false) = (space, elsewhere.is_empty()) {
        let message = format!(
            "no search on task `{source}` was over this space `{}`, but over {}: search that space, or name a structure's id to \
             take the p of the modules that both have",
            space.name(),
            elsewhere.into_iter().collect::<Vec<_>>().join(", ")
        );
        return Err(Error::invalid(param, message));
    }
    match registry.structure(source) {
        Ok(found) => {
            found.check_fits(shape).map_err(structure(param))?;
            let named = || found.provenance.iter().rev().find(|one| one.source_task.is_some());
            let search = found.searched().or_else(named).cloned();
            Ok(Source { structure: found, search })
        }
        Err(registry::Error::NotFound { .. }) => {
            let message = format!(
                "no structure was searched on a task `{source}` for this backbone, and none has that id: search one \
                 first (`s3delta search --task {source} --budget 5.447%`)"
            );
            Err(Error::Missing { param, code: "structure_not_found", message })
        }
        Err(error) => Err(reference(param)(error)),
    }
}

/// Refuses a task two of whose labels are one to the backbone's tokenizer.
fn labels(param: &'static str, task: &TaskRecord, tokenizer: &dyn Tokenize) -> Result<()> {
    let wrong = |what: String| Error::invalid(param, format!("task `{}`: {what}", task.name));
    let definition = Definition::deserialize(&task.definition).map_err(|error| wrong(error.to_string()))?;
    let mut known: HashMap<Vec<u32>, String> = HashMap::new();
    for word in definition.label_words() {
        let ids = tokenizer.encode(&word).map_err(|error| wrong(error.to_string()))?;
        if let Some(other) = known.insert(ids, word.clone()) {
            return Err(wrong(format!(
                "its label words `{other}` and `{word}` have the same tokens with this backbone: choose another word for one"
            )));
        }
    }
    Ok(())
}

/// Refuses more steps over the task's rows than a run may have.
fn length(training: &Training, task: &TaskRecord) -> Result<()> {
    training.check_steps(training.train_rows.unwrap_or(usize::MAX).min(task.rows.train))
}

fn adapter_name(name: String, backbone: &BackboneInfo) -> Result<()> {
    backbone.check_adapter_name(&name).map_err(|message| Error::invalid("adapter", message))?;
    check_name("an adapter", &name).map_err(reference("adapter"))
}

fn structure(param: &'static str) -> impl FnOnce(crate::structure::Error) -> Error {
    move |source| Error::Structure { param, source }
}

fn reference(param: &'static str) -> impl FnOnce(registry::Error) -> Error {
    move |source| Error::Reference { param, source }
}
