//! Structures, tasks, transfers, and opening a folder.

use super::{blob_files, code, put, structure};
use jiff::Timestamp;
use s3delta::registry::{NewTask, PageRequest, Registry, StructureFilter, TaskRows, TransferRecord};
use s3delta::structure::{Origin, Provenance, Shape, Structure};
use serde_json::json;

fn open() -> (tempfile::TempDir, Registry) {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    (home, registry)
}

fn found_on(rank: usize, task: &str, space: &str) -> Structure {
    let provenance =
        Provenance { source_task: Some(task.into()), space: Some(space.into()), ..Provenance::new(Origin::Search) };
    Structure { provenance: vec![provenance], ..structure(rank) }
}

#[test]
fn a_structure_found_again_is_one_with_two_provenances() {
    let (_home, registry) = open();
    let first = found_on(1, "sst2", "mix");
    assert_eq!(registry.put_structure(&first).unwrap(), (first.clone(), true));
    assert_eq!(registry.put_structure(&first).unwrap(), (first.clone(), false));
    let (both, new) = registry.put_structure(&found_on(1, "cola", "lora")).unwrap();
    assert_eq!((both.provenance.len(), new), (2, false));
    assert_eq!(registry.structure(&first.id[..4]).unwrap(), both);
    let lying = Structure { id: "0".repeat(32), ..first };
    assert_eq!(code(&registry.put_structure(&lying)), "structure_invalid");
}

#[test]
fn structures_are_listed_newest_first_by_filter() {
    let (_home, registry) = open();
    let narrow = Shape { d_model: 4, ..super::shape() };
    for (rank, task, space) in [(1, "sst2", "mix"), (2, "cola", "mix"), (3, "sst2", "lora")] {
        registry.put_structure(&found_on(rank, task, space)).unwrap();
    }
    registry.put_structure(&found_on(1, "rte", "full")).unwrap();
    let check = |source_task: &str, space: &str, backbone: Option<&Shape>, ranks: &[usize]| {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (source_task, space) = (some(source_task), some(space));
        let page = PageRequest { cursor: None, limit: 10 };
        let filter = StructureFilter { source_task, space, backbone: backbone.cloned(), page };
        let ids: Vec<_> = registry.structures(&filter).unwrap().data.into_iter().map(|found| found.id).collect();
        let wanted: Vec<_> = ranks.iter().map(|rank| structure(*rank).id).collect();
        assert_eq!(ids, wanted, "{filter:?}");
    };
    check("", "", None, &[3, 2, 1]);
    check("sst2", "", None, &[3, 1]);
    check("rte", "", None, &[1]);
    check("", "mix", None, &[2, 1]);
    check("sst2", "lora", None, &[3]);
    check("sst2", "full", None, &[1]);
    check("nope", "", None, &[]);
    check("", "", Some(&Shape { vocab_size: 7, ..super::shape() }), &[3, 2, 1]);
    check("", "", Some(&narrow), &[]);
    registry.delete_structure(&structure(2).id).unwrap();
    check("", "", None, &[3, 1]);
    for unknown in ["", "abc", "zzzz", &structure(2).id] {
        assert_eq!(code(&registry.structure(unknown)), "structure_not_found", "{unknown}");
    }
}

#[test]
fn prefixes_that_fit_several_are_refused() {
    let (_home, registry) = open();
    // LoRA's scaling is part of the id: enough structures to share 4 hexadecimal characters
    let mut ids: Vec<String> = Vec::new();
    let shared = (1..).find_map(|alpha| {
        let mut modules = structure(1).modules;
        modules[0].kind = s3delta::structure::Kind::Lora { rank: 1, alpha: f64::from(alpha) };
        let next = Structure::new(&super::shape(), modules, Provenance::new(Origin::Upload)).unwrap();
        let other = ids.iter().position(|id| id[..4] == next.id[..4]);
        ids.push(next.id.clone());
        other.map(|other| (f64::from(other as u32 + 1), f64::from(alpha), next.id))
    });
    let (one, two, id) = shared.unwrap();
    for alpha in [one, two] {
        let mut modules = structure(1).modules;
        modules[0].kind = s3delta::structure::Kind::Lora { rank: 1, alpha };
        let next = Structure::new(&super::shape(), modules, Provenance::new(Origin::Upload)).unwrap();
        registry.put_structure(&next).unwrap();
    }
    let ambiguous = registry.structure(&id[..4]).unwrap_err();
    assert_eq!(ambiguous.code(), "reference_ambiguous");
    assert!(ambiguous.to_string().contains(&id), "{ambiguous}");
    assert_eq!(registry.structure(&id).unwrap().id, id);
}

#[test]
fn a_task_is_replaced_with_its_rows_unless_built_in() {
    let (home, registry) = open();
    let put = |name: &str, definition: serde_json::Value, rows: &str, builtin: bool| {
        let blob = registry.put_blob_bytes(rows.as_bytes()).unwrap();
        let counts = TaskRows { train: rows.len(), dev: 0, test: 0 };
        registry.put_task(NewTask { name: name.into(), definition, rows: counts, builtin }, &blob)
    };
    let first = put("mine", json!({ "a": 1, "b": 2 }), "rows", false).unwrap();
    assert_eq!(put("mine", json!({ "b": 2, "a": 1 }), "rows", false).unwrap(), first, "the order of keys says nothing");
    let other = put("mine", json!({ "a": 1 }), "rows", false).unwrap();
    assert_ne!(other.digest, first.digest);
    let third = put("mine", json!({ "a": 1 }), "more rows", false).unwrap();
    assert_ne!(third.digest, other.digest);
    assert_eq!(blob_files(home.path()).len(), 1, "the former rows are gone");
    assert_eq!(registry.blob(&third.blob).unwrap().read().unwrap(), b"more rows");
    put("pocket", json!({}), "more rows", true).unwrap();
    assert_eq!(code(&put("pocket", json!({}), "mine", false)), "task_builtin");
    assert_eq!(code(&registry.delete_task("pocket")), "task_builtin");
    assert_eq!(code(&put("a/b", json!({}), "rows", false)), "name_invalid");
    let names: Vec<_> = registry.tasks(&PageRequest::all()).unwrap().data.into_iter().map(|task| task.name).collect();
    assert_eq!(names, ["mine", "pocket"]);
    registry.delete_task("mine").unwrap();
    assert_eq!(code(&registry.task("mine")), "task_not_found");
    assert_eq!(blob_files(home.path()).len(), 1, "the built-in task has the same rows");
}

#[test]
fn transfers_are_kept_by_source_target_and_job() {
    let (_home, registry) = open();
    let put = |source: Option<&str>, target: &str, job: Option<&str>, score_mean: f64| {
        registry.put_transfer(&TransferRecord {
            source_task: source.map(Into::into),
            source_structure: structure(1).id,
            target_task: target.into(),
            seeds: vec![0, 1],
            score_mean,
            score_std: 0.0,
            metric: "accuracy".into(),
            parameters: 24,
            adapter: None,
            job: job.map(Into::into),
            created: Timestamp::now(),
        })
    };
    put(Some("sst2"), "subj", Some("1"), 0.5).unwrap();
    put(Some("cola"), "subj", Some("2"), 0.25).unwrap();
    put(Some("sst2"), "subj", Some("1"), 0.75).unwrap();
    put(Some("sst2"), "rte", None, 0.125).unwrap();
    assert_eq!(code(&put(Some("sst2"), "rte", None, f64::INFINITY)), "record_invalid");
    let scores: Vec<_> = registry.transfers().unwrap().iter().map(|transfer| transfer.score_mean).collect();
    assert_eq!(scores, [0.25, 0.125, 0.75]);
}

#[test]
fn one_registry_a_folder_and_the_note_names_the_server() {
    let (home, registry) = open();
    let locked = |wanted: &str| {
        let error = Registry::open(home.path()).err().expect("the folder is locked");
        assert_eq!(error.code(), "store_locked");
        assert!(error.to_string().contains(wanted), "{error}");
    };
    locked("another process");
    let server = registry.announce("http://127.0.0.1:8080").unwrap();
    locked(&format!("the server at http://127.0.0.1:8080 (process {})", std::process::id()));
    assert_eq!(server.pid, std::process::id());
    registry.readiness().unwrap();
    let held = registry.put_blob_bytes(b"in use").unwrap();
    drop(registry);
    locked("the server at");
    drop(held);
    assert!(!home.path().join("server.json").exists());
    let registry = Registry::open(home.path()).unwrap();
    assert_eq!(put(&registry, "a", 1, 0.5, &[]).map(|_| ()).map_err(|error| error.code()), Ok(()));
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let (home, _registry) = open();
    let file = home.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = Registry::open(&file).err().expect("a file is no folder");
    assert_eq!(error.code(), "store_io");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
}
