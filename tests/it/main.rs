//! Integration tests: one binary.

mod dependencies;
