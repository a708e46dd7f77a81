//! Integration tests: one binary.
mod task;
