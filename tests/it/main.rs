//! Integration tests: one binary.

mod api;
mod backbone;
mod bench;
mod cli;
mod decoding;
mod delta_parity;
mod dependencies;
mod openapi;
mod parity;
mod pretrain;
mod reference;
mod registry;
mod search;
mod serve;
mod task;
mod tokenizer;

use std::path::{Path, PathBuf};

/// A folder of `../shared` (or of S3DELTA_SHARED), or `None` with the reason printed, so that the test is skipped.
fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("S3DELTA_SHARED").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let dir = root.join(name);
    if dir.exists() {
        return Some(dir);
    }
    eprintln!("skipped: {} is not there; S3DELTA_SHARED may name another root", dir.display());
    None
}
