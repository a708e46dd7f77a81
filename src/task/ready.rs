//! Ready-made definitions of public tasks; their data is the user's.

use super::{Definition, Error, Result};
use std::sync::LazyLock;

const FILES: [&str; 9] = [
    include_str!("ready/sst2.toml"),
    include_str!("ready/cola.toml"),
    include_str!("ready/mrpc.toml"),
    include_str!("ready/rte.toml"),
    include_str!("ready/stsb.toml"),
    include_str!("ready/mr.toml"),
    include_str!("ready/subj.toml"),
    include_str!("ready/trec.toml"),
    include_str!("ready/ag_news.toml"),
];

/// The ready-made definitions.
///
/// # Panics
/// Never: a test reads every file that is compiled in.
pub fn ready_made() -> &'static [Definition] {
    static ALL: LazyLock<Vec<Definition>> =
        LazyLock::new(|| FILES.iter().map(|text| Definition::from_toml(text).expect("tested")).collect());
    &ALL
}

/// A ready-made definition by name.
///
/// # Errors
/// [`Error::Unknown`], naming those there are.
pub fn ready(name: &str) -> Result<Definition> {
    let found = ready_made().iter().find(|definition| definition.name == name);
    found.cloned().ok_or_else(|| {
        let names: Vec<_> = ready_made().iter().map(|definition| definition.name.as_str()).collect();
        let hint = format!(
            "built in are {}; ready-made (with --data) are {}; or give the path of a TOML file",
            super::builtin_names().join(", "),
            names.join(", ")
        );
        Error::Unknown { name: name.into(), hint }
    })
}
