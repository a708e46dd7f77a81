//! `s3delta bench`: what is measured, kept and not measured again.

use crate::cli::{command, fails, fixture, json_of, run};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Two tasks, one of words and one of numbers, in a few steps on a tiny backbone.
fn arguments<'a>(backbone: &'a str, results: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["bench", "backbone", "--backbone", backbone, "--results", results];
    arguments.extend("--tasks builtin-topic,builtin-similarity --methods full,lora --random --seeds 1".split(' '));
    arguments.extend("--train-rows 20 --dev-rows 8 --test-rows 10 --steps 4 --batch-size 4".split(' '));
    arguments.extend("--evaluations 2 --max-source-tokens 16 --device cpu --threads 2".split(' '));
    arguments
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_bench_goes_on_from_its_results() {
    let home = tempfile::tempdir().unwrap();
    let (path, backbone) = (home.path().join("results.jsonl"), fixture("tiny-v1.1"));
    let mut arguments = arguments(&backbone, path.to_str().unwrap());
    arguments.push("--json");
    let first = json_of(home.path(), &arguments);
    let all = lines(&path);
    assert_eq!(
        (all.len(), first["runs"].as_array().unwrap().len(), first["summary"].as_array().unwrap().len()),
        (8, 8, 8)
    );
    for line in &all {
        let numbers = line["task"] == "builtin-similarity";
        assert_eq!((line["accuracy"].is_null(), line["majority"].is_null()), (numbers, numbers), "{line}");
        assert!(line["score"].is_number() && line["first_loss"].as_f64() > Some(0.0), "{line}");
        assert_eq!(line["structure"].is_null(), line["method"] == "full");
    }
    let losses = |start: &str| -> Vec<_> {
        all.iter().filter(|line| line["start"] == start).map(|line| line["test_loss"].as_f64().unwrap()).collect()
    };
    let (pretrained, random) = (losses("pretrained"), losses("random"));
    assert!(pretrained.len() == 4 && pretrained.iter().zip(&random).all(|(a, b)| a != b), "{pretrained:?} {random:?}");

    assert_eq!(json_of(home.path(), &arguments), first, "nothing is made again");
    assert_eq!(lines(&path), all);

    // one run is lost; it comes out as before
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.split_once('\n').unwrap().1).unwrap();
    json_of(home.path(), &arguments);
    let again = lines(&path);
    assert_eq!(again[..7], all[1..]);
    for name in ["task", "method", "start", "score", "test_loss", "dev_score", "best_step", "last_loss"] {
        assert_eq!(again[7][name], all[0][name], "{name}");
    }

    arguments.pop();
    let output = run(home.path(), &arguments);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(table.lines().count(), 9, "{table}");
    assert!(table.starts_with("task") && table.contains("builtin-similarity  lora"), "{table}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("8 runs, 8 of them in the results already"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_bench() {
    let home = tempfile::tempdir().unwrap();
    let (path, backbone) = (home.path().join("results.jsonl"), fixture("tiny-v1.1"));
    let mut arguments = arguments(&backbone, path.to_str().unwrap());
    let steps = arguments.iter().position(|word| *word == "--steps").unwrap();
    arguments[steps + 1] = "100000000";
    let mut child = command(home.path(), &arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line.ends_with(": begins")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let last = told.last().unwrap();
    assert!(last.starts_with("error: stopped after 0 of 8 runs"), "{last}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_runs() {
    let home = tempfile::tempdir().unwrap();
    let bench = |more: &[&'static str]| [&["bench", "backbone"][..], more].concat();
    fails(home.path(), &bench(&[]), 1, "error: task `sst2`: its rows are not part of s3delta");
    fails(home.path(), &bench(&["--tasks", "builtin-topic", "--methods", "soap"]), 1, "unknown method `soap`");
    fails(home.path(), &bench(&["--seeds", "0"]), 2, "--seeds");
    fails(home.path(), &bench(&["--rates", "full"]), 2, "full=1e-3");
    let tied = fixture("tiny-v1.0");
    let arguments = ["bench", "backbone", "--tasks", "builtin-topic", "--backbone", &tied];
    fails(home.path(), &arguments, 1, "shares its output layer");
    let arguments = [&arguments[..], &["--methods", "bitfit", "--parallel", "0"]].concat();
    fails(home.path(), &arguments, 2, "--parallel");
}

#[test]
fn generation_is_measured_and_repeats() {
    let home = tempfile::tempdir().unwrap();
    let words =
        "bench generate --model builtin:pocket-t5 --batch 3 --source-len 7 --new-tokens 5 --runs 2 --device cpu";
    let arguments: Vec<&str> = words.split(' ').collect();
    let json = |more: &[&'static str]| json_of(home.path(), &[&arguments[..], &["--json"], more].concat());
    let first = json(&[]);
    let wanted = "peer median_ms min_ms max_ms peak_rss_mb run_rss_mb load tokens_per_s requests_per_s batch source_len \
                  new_tokens beams threads adapters tokens";
    let fields: Vec<_> = first.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, wanted.split_whitespace().collect::<Vec<_>>(), "the fields of ../shared/peers/generate.py");
    let [median, least, most] = ["median_ms", "min_ms", "max_ms"].map(|name| first[name].as_f64().unwrap());
    assert!(0.0 < least && least <= median && median <= most, "{first}");
    assert_eq!((&first["batch"], &first["new_tokens"], &first["threads"]), (&3.into(), &5.into(), &2.into()));
    assert_eq!(json(&["--threads", "1"])["tokens"], first["tokens"]);
    assert_ne!(json(&["--seed", "1"])["tokens"], first["tokens"]);
    let rounded = json(&["--weights", "int8"]);
    assert_eq!((&rounded["peer"], &rounded["new_tokens"]), (&"s3delta-int8".into(), &5.into()));

    let output = run(home.path(), &[&arguments[..], &["--beams", "2", "--print-ids"]].concat());
    let told = String::from_utf8(output.stdout).unwrap();
    let (line, ids) = told.trim().split_once('\n').unwrap();
    assert!(line.starts_with("batch 3, 7 source ids, 5 new tokens, 2 beams, 2 threads: "), "{line}");
    let ids: Value = serde_json::from_str(ids).unwrap();
    assert!(ids["ids"].as_array().unwrap().iter().all(|row| row.as_array().unwrap().len() == 5), "{ids}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("these source ids are its own"));
    fails(home.path(), &["bench", "generate", "--model", "builtin:pocket-t5", "--batch", "0"], 2, "--batch");
    fails(home.path(), &["bench", "generate", "--model", "/nowhere"], 1, "config.json and model.safetensors");
    fails(home.path(), &["bench", "generate", "--model", "/nowhere", "--weights", "int4"], 2, "give f32 or int8");
}
