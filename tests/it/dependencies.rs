//! Holds the modules to the one direction of dependencies that ARCHITECTURE.md gives.
//!
//! The source is read as text: `crate::x` paths, groups of them and `super::` chains that leave a module are edges. Comments are
//! left out, so documentation may point upwards; unit tests are not, so that they keep to their module too.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each module with those it may use, in order: a module may only name modules above it.
const MAY_USE: &[(&str, &str)] = &[
    ("config", ""),
    ("structure", ""),
    ("registry", "structure"),
    ("task", "structure"),
    ("t5", "structure"),
    ("delta", "structure t5"),
    ("train", "structure t5 delta task"),
    ("search", "structure t5 delta task train"),
    ("serve", "structure t5 delta"),
    ("pretrain", "structure t5 delta task train"),
    ("jobs", "structure registry t5 delta task train search serve"),
    ("api", "config structure registry t5 delta task train search serve jobs"),
    ("cli", "config structure registry t5 delta task train search serve pretrain jobs api"),
];

/// Crates that belong to some modules alone; `main` stands for `main.rs`.
const ONLY_IN: &[(&str, &str)] = &[
    ("sled", "registry"),
    ("burn", "t5 delta train search serve pretrain jobs cli"),
    ("axum", "api cli"),
    ("anyhow", "cli main"),
];

/// The modules that `module` may use; none if it is not in the table.
fn allowed(module: &str) -> Option<Vec<&'static str>> {
    MAY_USE.iter().find(|(name, _)| *name == module).map(|(_, uses)| uses.split_whitespace().collect())
}

/// The source without comments.
fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    for line in source.lines() {
        // `//` inside a string is an address such as http://…, which no space precedes
        let end = line.match_indices("//").map(|(at, _)| at).find(|&at| line[..at].ends_with(' ') || at == 0);
        code.push_str(&line[..end.unwrap_or(line.len())]);
        code.push('\n');
    }
    code
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Where the word `word` stands with `after` behind it, as the text that follows.
fn behind<'a>(code: &'a str, word: &str, after: &str) -> Vec<&'a str> {
    let pattern = format!("{word}{after}");
    let starts_word = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let found = code.match_indices(&pattern).filter(|(at, _)| starts_word(*at));
    found.map(|(at, _)| &code[at + pattern.len()..]).collect()
}

/// The first names of a path's rest: one for `a::b`, several for `{a, b::{c, d}}`.
fn first_names(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![identifier(rest)] };
    let (mut depth, mut item, mut names) = (1, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            names.push(identifier(group[item..at].trim_start()));
            item = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The modules that the code of a file uses, `depth` being how many modules down from the crate it stands.
fn uses(code: &str, depth: usize) -> Vec<&str> {
    let mut names: Vec<&str> = behind(code, "crate", "::").into_iter().flat_map(first_names).collect();
    // a module inside the file, the unit tests as a rule, stands one deeper; it is the last thing in its file
    let inline = |at: &usize| code[at + 1..].lines().next().is_some_and(|line| line.ends_with('{'));
    let outer = code.match_indices("\nmod ").map(|(at, _)| at).find(inline).unwrap_or(code.len());
    for (code, depth) in [(&code[..outer], depth), (&code[outer..], depth + 1)] {
        for mut rest in behind(code, "super", "::") {
            let mut ups = 1;
            while let Some(next) = rest.strip_prefix("super::") {
                (rest, ups) = (next, ups + 1);
            }
            if ups >= depth {
                names.extend(first_names(rest).into_iter().filter(|name| allowed(name).is_some()));
            }
        }
    }
    names
}

/// What is wrong with one file of `module`, a line each.
fn faults(module: &str, depth: usize, source: &str) -> Vec<String> {
    let code = code(source);
    let mut faults = Vec::new();
    if module != "main" {
        match allowed(module) {
            None => faults.push(format!("module `{module}` is not in the table MAY_USE: add it")),
            Some(may) => {
                let wrong = uses(&code, depth).into_iter().filter(|name| *name != module && !may.contains(name));
                faults.extend(wrong.map(|name| format!("`{module}` must not use `{name}`")));
            }
        }
    }
    for (package, modules) in ONLY_IN {
        let named = !behind(&code, package, "::").is_empty() || code.contains(&format!("use {package};"));
        if named && !modules.split(' ').any(|name| name == module) {
            faults.push(format!("`{module}` must not name the crate `{package}`: only {modules} may"));
        }
    }
    faults
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn the_source_keeps_to_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() >= MAY_USE.len(), "found {} files under src", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().with_extension("");
        let mut parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        if parts == ["lib"] {
            continue;
        }
        let source = fs::read_to_string(&file).unwrap();
        wrong.extend(
            faults(parts[0], parts.len(), &source).into_iter().map(|fault| format!("{}: {fault}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_runs_one_way() {
    for (at, (module, may)) in MAY_USE.iter().enumerate() {
        for name in may.split_whitespace() {
            let above = MAY_USE[..at].iter().any(|(other, _)| *other == name);
            assert!(above, "`{module}` may use `{name}`, which does not stand above it");
        }
    }
}

#[test]
fn the_reader_sees_what_it_should() {
    #[track_caller]
    fn check(module: &str, depth: usize, source: &str, wanted: &[&str]) {
        let found = faults(module, depth, source);
        assert_eq!(found.len(), wanted.len(), "{source}\n{found:?}");
        for (fault, wanted) in found.iter().zip(wanted) {
            assert!(fault.contains(wanted), "{fault}");
        }
    }
    check("t5", 1, "use crate::structure::Shape;", &[]);
    check("t5", 1, "use crate::{\n    structure::{Shape, Site},\n    delta::Kind,\n};", &["use `delta`"]);
    check("t5", 1, "fn f() -> crate::serve::Engine {}", &["use `serve`"]);
    check("t5", 1, "pub(crate) fn f() {} // as in crate::serve", &[]);
    check("t5", 1, "/// See [`crate::search`].", &[]);
    check("t5", 1, "let x = \"http://a\"; let y = crate::jobs::x();", &["use `jobs`"]);
    check("t5", 2, "use super::super::train::fit;", &["use `train`"]);
    check("t5", 2, "use super::train;", &[]);
    check("t5", 2, "mod train;\n#[cfg(test)]\nmod tests {\n    use super::super::train;\n}", &[]);
    check("t5", 2, "use super::fit;\nmod tests {\n    use super::super::super::train;\n}", &["use `train`"]);
    check("t5", 1, "use super::train;", &["use `train`"]);
    check("search", 2, "use crate::jobs::{self, Progress};", &["use `jobs`"]);
    check("structure", 1, "use burn::tensor::Tensor;", &["crate `burn`"]);
    check("api", 2, "fn f(x: &burn::Tensor<1>) {}", &["crate `burn`"]);
    check("api", 2, "sled::open(p)", &["crate `sled`"]);
    check("registry", 2, "use sled::Db; fn unburn() {}", &[]);
    check("serve", 1, "use anyhow::Result;", &["crate `anyhow`"]);
    check("main", 1, "use anyhow::Result; use s3delta::cli;", &[]);
    check("sparsity", 1, "", &["not in the table"]);
}
