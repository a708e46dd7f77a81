//! Blobs: pins, limits, damage, and many threads at once.

use super::{blob_files, code, put, structure};
use s3delta::registry::Registry;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_pin_keeps_the_file_and_no_longer() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    put(&registry, "a", 1, 0.5, &["latest"]).unwrap();
    let held = registry.resolve("a").unwrap();
    let clone = held.weights.clone();
    registry.delete_adapter("a").unwrap();
    assert_eq!(code(&registry.resolve("a")), "adapter_not_found");
    assert_eq!(registry.sweep().unwrap(), 0);
    drop(held);
    assert_eq!(clone.read().unwrap(), super::weights(1, 0.5));
    let digest = clone.digest();
    drop(clone);
    assert!(blob_files(home.path()).is_empty());
    assert_eq!(code(&registry.blob(&digest)), "blob_not_found");
}

#[test]
fn the_limit_is_exact_and_what_exceeds_it_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    let bytes = vec![7; 200_000];
    assert_eq!(code(&registry.put_blob(&bytes[..], 200_000)), "ok");
    assert_eq!(code(&registry.put_blob(&bytes[..], 199_999)), "upload_too_large");
    assert_eq!(code(&registry.put_blob(std::io::repeat(1), 1 << 20)), "upload_too_large");
    let mut writer = registry.blob_writer(3).unwrap();
    writer.write(b"abc").unwrap();
    assert_eq!(code(&writer.write(b"d")), "upload_too_large");
    assert_eq!(code(&writer.finish()), "upload_too_large");
    registry.blob_writer(10).unwrap().write(b"given up").unwrap();
    assert!(blob_files(home.path()).is_empty());
    assert_eq!(registry.put_blob_bytes(b"").unwrap().read().unwrap(), b"");
}

#[test]
fn damage_is_found_on_reading_and_a_cut_file_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    let blob = registry.put_blob_bytes(b"delta weights").unwrap();
    fs::write(blob.path(), b"delta weighty").unwrap();
    assert_eq!(code(&blob.read()), "store_corrupt");
    fs::write(blob.path(), b"delta").unwrap();
    registry.put_blob_bytes(b"delta weights").unwrap();
    assert_eq!(blob.read().unwrap(), b"delta weights");
}

#[test]
fn threads_that_put_resolve_and_delete_never_lose_a_blob() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (registry, served) = (&registry, &served);
            scope.spawn(move || {
                for round in 0..12 {
                    let name = ["a", "b"][(thread + round) % 2];
                    // few distinct weights: the same blob comes and goes under several adapters
                    put(registry, name, 1, (round % 3) as f32, &["latest"]).unwrap();
                    match registry.resolve(name) {
                        Ok(found) => {
                            assert_eq!(found.weights.read().unwrap().len() as u64, found.generation.weights_bytes);
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => assert_eq!(error.code(), "adapter_not_found"),
                    }
                    if round % 2 == 0 {
                        let deleted = registry.delete_adapter(name);
                        assert!(matches!(code(&deleted), "ok" | "adapter_not_found"), "{deleted:?}");
                    }
                }
            });
        }
    });
    assert!(served.into_inner() > 0);
    for adapter in super::adapters(&registry).into_keys() {
        registry.delete_adapter(&adapter).unwrap();
    }
    assert!(blob_files(home.path()).is_empty());
    registry.delete_structure(&structure(1).id).unwrap();
}
