//! Integration tests: one binary.

mod registry;
