//! Adapters: generations, aliases, references, and what refuses to go.

use super::{adapters, blob_files, code, generation, put, structure, weights};
use s3delta::registry::{Digest, Expected, NewGeneration, Registry, Score, TaskRef};

fn open() -> (tempfile::TempDir, Registry) {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    (home, registry)
}

#[test]
fn references_resolve_to_one_generation() {
    let (_home, registry) = open();
    let first = put(&registry, "sst2", 1, 0.5, &["latest"]).unwrap();
    let second = put(&registry, "sst2", 1, 0.25, &["latest", "cafe42"]).unwrap();
    registry.move_alias("sst2", "production", &first, Expected::Nothing).unwrap();
    put(&registry, "bare", 1, 0.5, &[]).unwrap();
    let check = |reference: &str, wanted: Result<Digest, &str>| {
        let found = registry.resolve(reference);
        let found = found.as_ref().map(|found| found.generation.digest).map_err(|error| error.code());
        assert_eq!(found, wanted, "{reference}");
    };
    let prefix = |digest: Digest, length: usize| format!("sst2@{}", &digest.to_string()[..length]);
    check("sst2", Ok(second));
    check("sst2@latest", Ok(second));
    check("sst2@production", Ok(first));
    check("sst2@cafe42", Ok(second));
    check(&prefix(first, 32), Ok(first));
    check(&prefix(second, 6), Ok(second));
    check(&prefix(second, 5), Err("alias_not_found"));
    check("sst2@ffffffff", Err("generation_not_found"));
    check("sst2@staging", Err("alias_not_found"));
    check("sst2@", Err("alias_not_found"));
    check("bare", Err("alias_not_found"));
    check("cola", Err("adapter_not_found"));
    check("", Err("adapter_not_found"));
    check("../sst2", Err("adapter_not_found"));
}

#[test]
fn structures_that_names_stand_for_are_read_ahead() {
    let (home, registry) = open();
    put(&registry, "a", 1, 0.5, &["latest", "live"]).unwrap();
    put(&registry, "b", 2, 0.5, &["latest"]).unwrap();
    put(&registry, "c", 1, 0.25, &["latest"]).unwrap();
    put(&registry, "unnamed", 3, 0.5, &[]).unwrap();
    registry.put_structure(&structure(4)).unwrap();
    drop(registry);
    let registry = Registry::open(home.path()).unwrap();
    assert_eq!(registry.read_structures_ahead().unwrap(), 2);
    assert_eq!(registry.resolve("b").unwrap().structure.modules, structure(2).modules);
}

#[test]
fn the_same_content_again_is_the_same_generation() {
    let (home, registry) = open();
    let structure = registry.put_structure(&structure(1)).unwrap().0;
    let blob = registry.put_blob_bytes(&weights(1, 0.5)).unwrap();
    let base = generation(&structure, blob);
    let put = |new: NewGeneration| registry.put_generation("a", new, &["latest"]).unwrap().1.digest;
    let first = put(base.clone());
    let score = Score { metric: "accuracy".into(), value: 0.9, split: "dev".into() };
    assert_eq!(put(NewGeneration { score: Some(score), job: Some("j".into()), ..base.clone() }), first);
    let task = TaskRef { name: "sst2".into(), digest: Digest::of(b"rows") };
    assert_ne!(put(NewGeneration { task: Some(task), ..base.clone() }), first);
    assert_ne!(put(NewGeneration { allow_backbone_mismatch: true, ..base.clone() }), first);
    assert_ne!(put(NewGeneration { backbone_digest: "c".repeat(32), ..base }), first);
    let adapter = registry.adapter("a").unwrap();
    assert_eq!((adapter.generations.len(), blob_files(home.path()).len()), (4, 1));
    assert_eq!(adapter.generation(&first).unwrap().score, None, "a generation never changes");
}

#[test]
fn aliases_move_by_compare_and_set() {
    let (_home, registry) = open();
    let (one, two) = (put(&registry, "a", 1, 0.5, &[]).unwrap(), put(&registry, "a", 1, 0.25, &[]).unwrap());
    let check = |to: Digest, expected: Expected, wanted: &str| {
        let found = registry.move_alias("a", "live", &to, expected);
        assert_eq!(code(&found), wanted, "{expected:?}");
    };
    check(one, Expected::Generation(two), "alias_stale");
    check(one, Expected::Nothing, "ok");
    check(two, Expected::Nothing, "alias_stale");
    check(two, Expected::Generation(two), "alias_stale");
    check(two, Expected::Generation(one), "ok");
    check(one, Expected::Anything, "ok");
    check(Digest::of(b"no"), Expected::Anything, "generation_not_found");
    let message = registry.move_alias("a", "live", &two, Expected::Generation(two)).unwrap_err().to_string();
    assert!(message.contains(&one.to_string()) && message.contains(&two.to_string()), "{message}");
    assert_eq!(code(&registry.delete_alias("a", "live", Expected::Generation(two))), "alias_stale");
    assert_eq!(code(&registry.delete_alias("a", "live", Expected::Generation(one))), "ok");
    assert_eq!(code(&registry.delete_alias("a", "live", Expected::Anything)), "alias_not_found");
}

#[test]
fn a_name_without_latest_says_what_to_do() {
    let (_home, registry) = open();
    let (one, two) = (put(&registry, "a", 1, 0.5, &["latest"]).unwrap(), put(&registry, "a", 1, 0.25, &[]).unwrap());
    let resolved = |reference: &str| registry.resolve(reference).map(|found| found.generation.digest);
    assert_eq!(resolved("a").unwrap(), one);
    registry.delete_alias("a", "latest", Expected::Anything).unwrap();
    let check = |reference: &str, alias: &str| {
        let error = resolved(reference).unwrap_err();
        let fix = format!("such as `a@{two}`, or set it: `s3delta adapters alias a {alias} {two}`");
        assert_eq!(error.code(), "alias_not_found", "{reference}");
        assert!(error.to_string().contains(&fix), "{reference}: {error}");
    };
    check("a", "latest");
    check("a@latest", "latest");
    check("a@production", "production");
    assert_eq!(resolved(&format!("a@{two}")).unwrap(), two);
    registry.move_alias("a", "latest", &two, Expected::Nothing).unwrap();
    assert_eq!(resolved("a").unwrap(), two);
}

#[test]
fn what_is_in_use_stays_and_says_by_whom() {
    let (home, registry) = open();
    let digest = put(&registry, "a", 1, 0.5, &["latest", "live"]).unwrap();
    let id = structure(1).id;
    let structure_in_use = registry.delete_structure(&id).unwrap_err();
    assert_eq!(structure_in_use.code(), "structure_in_use");
    assert!(structure_in_use.to_string().contains(&format!("a@{digest}")), "{structure_in_use}");
    let in_use = registry.delete_generation("a", &digest).unwrap_err();
    assert_eq!(in_use.code(), "generation_in_use");
    assert!(in_use.to_string().contains("a@latest, a@live"), "{in_use}");
    for alias in ["latest", "live"] {
        registry.delete_alias("a", alias, Expected::Anything).unwrap();
    }
    registry.delete_generation("a", &digest).unwrap();
    assert_eq!(code(&registry.adapter("a")), "adapter_not_found");
    assert!(blob_files(home.path()).is_empty());
    registry.delete_structure(&id).unwrap();
}

#[test]
fn a_refused_upload_leaves_nothing() {
    let (home, registry) = open();
    put(&registry, "a", 1, 0.5, &["latest"]).unwrap();
    let before = (adapters(&registry), blob_files(home.path()));
    let two = registry.put_structure(&structure(2)).unwrap().0;
    let check = |name: &str, bytes: &[u8], aliases: &[&str], wanted: &str| {
        let new = generation(&two, registry.put_blob_bytes(bytes).unwrap());
        assert_eq!(code(&registry.put_generation(name, new, aliases)), wanted, "{name} {aliases:?}");
        assert_eq!((adapters(&registry), blob_files(home.path())), before);
    };
    check("a", &weights(1, 0.125), &["latest"], "weights_invalid");
    check("a", b"", &["latest"], "weights_invalid");
    check("a/b", &weights(2, 0.5), &["latest"], "name_invalid");
    check("a", &weights(2, 0.5), &["a b"], "name_invalid");
    check("a", &weights(2, 0.5), &[&"0".repeat(32)], "name_invalid");
    let mut unknown = generation(&two, registry.put_blob_bytes(&weights(2, 0.5)).unwrap());
    unknown.structure = "0".repeat(32);
    assert_eq!(code(&registry.put_generation("a", unknown, &[])), "structure_not_found");
    let mut scored = generation(&two, registry.put_blob_bytes(&weights(2, 0.5)).unwrap());
    scored.score = Some(Score { metric: "matthews".into(), value: f64::NAN, split: "dev".into() });
    assert_eq!(code(&registry.put_generation("a", scored, &[])), "record_invalid");
    let (mut header, data) = super::parts(2, 0.5);
    header.push(("__metadata__".into(), serde_json::json!({ "backbone_digest": "another" })));
    check("a", &super::file(&header, &data), &[], "weights_invalid");
}

#[test]
fn another_backbone_is_refused_unless_allowed() {
    let (_home, registry) = open();
    put(&registry, "a", 1, 0.5, &["latest"]).unwrap();
    let mut generation = registry.resolve("a").unwrap().generation;
    let check = |found: s3delta::registry::Result<()>| code(&found);
    assert_eq!(check(generation.check_backbone("a", &"b".repeat(32))), "ok");
    assert_eq!(check(generation.check_backbone("a", &"c".repeat(32))), "backbone_mismatch");
    generation.allow_backbone_mismatch = true;
    assert_eq!(check(generation.check_backbone("a", &"c".repeat(32))), "ok");
}
