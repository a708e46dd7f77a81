//! Integration tests: one binary.

mod dependencies;
mod search;
