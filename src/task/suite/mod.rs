//! The built-in suite.
use super::Task;
/// x
pub fn builtin(_name: &str) -> Option<Task> {
    None
}
/// x
pub fn builtin_names() -> &'static [&'static str] {
    &[]
}
/// x
pub fn builtin_corpus(_seed: u64, _n: usize) -> Vec<String> {
    Vec::new()
}
