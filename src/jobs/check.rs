//! Checks a request against the registry and the backbone before it is accepted, so that it fails at once, not at night.

use super::{Error, EvaluationRequest, JobRequest, Result, RetrainRequest, SearchRequest, TransferRequest};
use crate::{
    registry::{self, PageRequest, Registry, StructureFilter, TaskRecord, check_name},
    serve::BackboneInfo,
    structure::{Baseline, Origin, Shape, Structure},
};

/// The request with its task's and the backbone's digests filled in.
pub(super) fn check(mut request: JobRequest, registry: &Registry, backbone: &BackboneInfo) -> Result<JobRequest> {
    if let JobRequest::Search(request) = &mut request {
        request.settle();
    }
    request.validate()?;
    let found = backbone.digest.clone();
    match request.backbone_digest_mut().replace(found.clone()) {
        Some(wanted) if wanted != found => return Err(Error::OtherBackbone { wanted, found }),
        _ => {}
    }
    match &mut request {
        JobRequest::Search(request) => search(request, registry, backbone)?,
        JobRequest::Retrain(request) => retrain(request, registry, backbone)?,
        JobRequest::Transfer(request) => transfer(request, registry, backbone)?,
        JobRequest::Evaluation(request) => evaluation(request, registry, backbone)?,
    }
    Ok(request)
}

fn search(request: &mut SearchRequest, registry: &Registry, backbone: &BackboneInfo) -> Result<()> {
    let task = pin_task("task", &request.task, &mut request.task_digest, registry)?;
    if task.rows.train < 2 {
        let (name, rows) = (task.name, task.rows.train);
        let message = format!("task `{name}` has {rows} training row: a search needs at least 2, one for each part");
        return Err(Error::invalid("task", message));
    }
    let space = request.space.space(&backbone.shape).map_err(structure("space"))?;
    request.budget.resolve(&space, backbone.parameters).map_err(structure("budget"))?;
    for budget in &request.more_budgets {
        budget.resolve(&space, backbone.parameters).map_err(structure("more_budgets"))?;
    }
    if let Some(source) = &mut request.warm_start {
        // the structure that the task stands for now
        let found = transfer_source(registry, "warm_start", source, &backbone.shape)?;
        if found.probabilities_of(space.modules()).iter().all(Option::is_none) {
            let id = found.id;
            let message = format!("structure {id} tells no probability of a module of this space: name another one");
            return Err(Error::invalid("warm_start", message));
        }
        *source = found.id;
    }
    adapter_name(request.adapter_name(), backbone)
}

fn retrain(request: &mut RetrainRequest, registry: &Registry, backbone: &BackboneInfo) -> Result<()> {
    pin_task("task", &request.task, &mut request.task_digest, registry)?;
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

fn transfer(request: &mut TransferRequest, registry: &Registry, backbone: &BackboneInfo) -> Result<()> {
    pin_task("target", &request.target, &mut request.task_digest, registry)?;
    // named after what was asked for, before it becomes the structure that a task stands for now
    request.adapter = Some(request.adapter_name());
    request.source = transfer_source(registry, "source", &request.source, &backbone.shape)?.id;
    adapter_name(request.adapter_name(), backbone)
}

fn evaluation(request: &mut EvaluationRequest, registry: &Registry, backbone: &BackboneInfo) -> Result<()> {
    pin_task("task", &request.task, &mut request.task_digest, registry)?;
    if let Some(adapter) = &mut request.adapter {
        let resolved = registry.resolve(adapter).map_err(reference("adapter"))?;
        resolved.structure.check_fits(&backbone.shape).map_err(structure("adapter"))?;
        resolved.generation.check_backbone(&resolved.name, &backbone.digest).map_err(reference("adapter"))?;
        // the generation that the alias stands for now
        *adapter = format!("{}@{}", resolved.name, resolved.generation.digest);
    }
    Ok(())
}

fn pin_task(param: &'static str, name: &str, digest: &mut Option<String>, registry: &Registry) -> Result<TaskRecord> {
    let task = registry.task(name).map_err(reference(param))?;
    let found = task.digest.to_string();
    match digest.replace(found.clone()) {
        Some(wanted) if wanted != found => Err(Error::TaskChanged { task: name.into(), wanted, found }),
        _ => Ok(task),
    }
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

/// The structure that a transfer starts from: that of the newest search on a task, of several seeds the one of their mean p, or the
/// one of this id. Structures chosen anew from a search's p, under another budget or objective, are found by their ids alone; `param` is the request's field that names it.
pub fn transfer_source(registry: &Registry, param: &'static str, source: &str, shape: &Shape) -> Result<Structure> {
    if source.is_empty() {
        return Err(Error::invalid(param, "it is empty: name a task that was searched, or a structure's id"));
    }
    let filter = StructureFilter {
        source_task: Some(source.into()),
        backbone: Some(shape.clone()),
        page: PageRequest::all(),
        ..StructureFilter::default()
    };
    let found = registry.structures(&filter)?.data.into_iter().filter_map(|structure| {
        let of_task = structure.provenance.iter().filter(|p| p.source_task.as_deref() == Some(source));
        let searched = of_task.filter(|p| matches!(p.origin, Origin::Search | Origin::Average) && p.parents.is_empty());
        let newest = searched.map(|p| (p.created, p.seeds.len())).max()?;
        Some((newest, structure))
    });
    if let Some((_, structure)) = found.max_by_key(|(newest, _)| *newest) {
        return Ok(structure);
    }
    match registry.structure(source) {
        Ok(found) => {
            found.check_fits(shape).map_err(structure(param))?;
            Ok(found)
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

fn adapter_name(name: String, backbone: &BackboneInfo) -> Result<()> {
    if name == backbone.name {
        let message = format!("`{name}` is the name of the backbone, whom requests ask by it: give another one");
        return Err(Error::invalid("adapter", message));
    }
    check_name("an adapter", &name).map_err(reference("adapter"))
}

fn structure(param: &'static str) -> impl FnOnce(crate::structure::Error) -> Error {
    move |source| Error::Structure { param, source }
}

fn reference(param: &'static str) -> impl FnOnce(registry::Error) -> Error {
    move |source| Error::Reference { param, source }
}
