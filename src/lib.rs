//! s3delta finds, keeps, moves and serves sparse delta structures for T5.
//!
//! Dependencies between the modules run one way; `tests/it/dependencies.rs` holds them to it:
//! `structure → t5 → delta → {train, search, serve} → jobs → api → cli`; `registry` needs only `structure`, and `task`
//! feeds `train` and `search`. ARCHITECTURE.md walks through a search and a request.

pub mod api;
pub mod cli;
pub mod config;
pub mod delta;
pub mod jobs;
pub mod pretrain;
pub mod registry;
pub mod search;
pub mod serve;
pub mod structure;
pub mod t5;
pub mod task;
pub mod train;
