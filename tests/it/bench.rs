//! `s3delta bench`: what is measured, kept and not measured again.

use crate::cli::{Server, command, fails, fixture, json_of, run};
use serde_json::{Value, json};
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

/// Of a file that is no results file nothing is lost; what a killed run left of a line is cut off.
#[test]
fn results_are_never_written_over() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("results.jsonl");
    let results = path.to_str().unwrap();
    // a budget that no structure has: no run begins
    let arguments = ["bench", "variants", "--tasks", "builtin-topic", "--shares", "0.001%", "--results", results];
    for (text, error, kept) in [
        ("{\"precious\":1}", "line 1 is no result", "{\"precious\":1}"),
        ("a\nb", "line 1 is no result", "a\nb"),
        ("{\"bench\":\"other\"}\n{\"bench\":\"varia", "0.001%", "{\"bench\":\"other\"}\n"),
        ("{\"be", "0.001%", ""),
        ("{\"bench\":\"other\"}", "0.001%", "{\"bench\":\"other\"}\n"),
    ] {
        std::fs::write(&path, text).unwrap();
        fails(home.path(), &arguments, 1, error);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), kept, "{text}");
    }
    let other = std::fs::File::open(&path).unwrap();
    other.lock().unwrap();
    fails(home.path(), &arguments, 1, "another bench keeps its runs in");
    let folder = [&arguments[..arguments.len() - 1], &[home.path().to_str().unwrap()]].concat();
    fails(home.path(), &folder, 1, "no plain file");
}

/// The runs beside one that fails are made and kept.
#[test]
fn a_run_that_fails_stops_no_other() {
    let home = tempfile::tempdir().unwrap();
    let (path, backbone) = (home.path().join("results.jsonl"), fixture("tiny-v1.1"));
    let words = "bench variants --tasks builtin-topic --shares 11% --seeds 1 --train-rows 16 --dev-rows 8 --test-rows 8 --parallel 1 \
                 --search-epochs 9 --retrain-epochs 1 --batch-size 4 --max-source-tokens 16 --rate 1e30 --variants first,random";
    let mut arguments: Vec<&str> = words.split_whitespace().collect();
    arguments.extend(["--backbone", &backbone, "--results", path.to_str().unwrap()]);
    arguments.push("--json");
    for again in [false, true] {
        let output = run(home.path(), &arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        let counts = if again { "1 of 1 runs failed, 0 made" } else { "1 of 2 runs failed, 1 made" };
        assert!(told.contains(&format!("error: {counts}; builtin-topic first seed 0: ")), "{told}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["runs"].as_array().unwrap().len(), 1, "what is made is told");
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept.lines().count() == 1 && kept.contains(r#""variant":"random""#), "{kept}");
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
fn many_adapters_are_timed_beside_the_bare_backbone() {
    let home = tempfile::tempdir().unwrap();
    let model = fixture("tiny-v1.1");
    let mut arguments = vec!["bench", "adapters", "--model", &model, "--json"];
    arguments.extend("--batch 3 --source-len 8 --new-tokens 5 --runs 2 --threads 1".split(' '));
    let all = json_of(home.path(), &arguments);
    assert_eq!((&all["peer"], &all["adapters"], &all["kind"]), (&json!("s3delta"), &json!(3), &json!("mix-structure")));
    for field in ["median_ms", "bare_median_ms", "tokens_per_s", "requests_per_s", "ratio", "ratio_min", "modules"] {
        assert!(all[field].as_f64() > Some(0.0), "{field}: {all}");
    }
    arguments.extend(["--adapters", "0"]);
    let none = json_of(home.path(), &arguments);
    assert_eq!((&none["tokens"], &none["modules"]), (&none["bare_tokens"], &json!(0.0)));
    assert_eq!(none["bare_tokens"], all["bare_tokens"], "the same rows and the same backbone");
    *arguments.last_mut().unwrap() = "1";
    arguments.extend(["--kind", "lora-qv", "--rank", "2"]);
    let one = json_of(home.path(), &arguments);
    assert_eq!((&one["adapters"], &one["kind"]), (&json!(1), &json!("lora-qv")));
    fails(home.path(), &["bench", "adapters", "--model", &model, "--adapters", "17"], 1, "raise --batch");
    fails(home.path(), &["bench", "adapters", "--model", &model, "--rank", "2"], 1, "--rank is for --kind lora-qv");
}

#[test]
fn one_text_for_many_adapters_is_timed() {
    let home = tempfile::tempdir().unwrap();
    let model = fixture("tiny-v1.1");
    for more in [&["--new-tokens", "3"][..], &["--score"]] {
        let mut arguments = vec!["bench", "sharing", "--model", &model, "--json", "--adapters", "3", "--runs", "2"];
        arguments.extend(more);
        let found = json_of(home.path(), &arguments);
        assert_eq!((&found["adapters"], &found["runs"]), (&json!(3), &json!(2)));
        assert_eq!(found["new_tokens"], if more.len() == 2 { 3 } else { 0 });
        for ratio in ["separate_to_shared", "separate_to_cached"] {
            assert!(found[ratio]["ratio"].as_f64() > Some(0.0), "{found}");
        }
    }
    fails(
        home.path(),
        &["bench", "sharing", "--model", &model, "--score", "--new-tokens", "3"],
        2,
        "cannot be used with",
    );
}

#[test]
fn a_server_is_put_under_load() {
    let home = tempfile::tempdir().unwrap();
    let kept = home.path().join("kept");
    let mut arguments = vec!["bench", "serve", "--keep", kept.to_str().unwrap(), "--json", "--rate", "20,2000"];
    arguments.extend("--adapters 3 --duration 1 --warmup 0.2 --source-len 8 --output-len uniform:2-4".split(' '));
    let output = command(home.path(), &arguments).env("S3DELTA_QUEUE", "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["adapters"], &found["registered"], &found["stream"]), (&json!(3), &json!(3), &json!(true)));
    let [calm, overload] = found["phases"].as_array().unwrap().as_slice() else { panic!("two phases: {found}") };
    assert!(calm["statuses"]["200"].as_u64() > Some(0) && calm["first_token_ms"]["count"].as_u64() > Some(0), "{calm}");
    for phase in [calm, overload] {
        let sum: u64 = phase["statuses"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        assert_eq!((phase["requests"].as_u64(), &phase["failures"]), (Some(sum), &json!({})));
    }
    assert!(overload["statuses"]["429"].as_u64() > Some(0), "{overload}");
    assert_eq!(overload["refused_without_retry_after"], 0, "{overload}");
    assert!(overload["retry_after_s"][0].as_u64() >= Some(1), "{overload}");
    assert!(overload["metrics"]["resident"].as_f64() > Some(0.0) && calm["metrics"]["loads"].as_f64() > Some(0.0));

    // a server that runs already, with the adapters that it has
    let server = Server::start(&kept);
    let url = format!("http://{}/", server.1);
    let mut arguments = vec!["bench", "serve", "--url", &url, "--json", "--rate", "20", "--whole", "--active", "2"];
    arguments.extend("--duration 1 --warmup 0 --source-len 8 --output-len 2".split(' '));
    let found = json_of(home.path(), &arguments);
    assert_eq!((&found["adapters"], &found["registered"], &found["stream"]), (&json!(2), &Value::Null, &json!(false)));
    let phase = &found["phases"][0];
    assert!(phase["statuses"]["200"].as_u64() > Some(0) && phase["first_token_ms"].is_null(), "{phase}");
    drop(server);

    // the adapters are there already; nothing is made
    let again = ["bench", "serve", "--keep", kept.to_str().unwrap(), "--adapters", "3", "--active", "4"];
    fails(home.path(), &again, 1, "--active 4 is more than the 3 adapters there are");
    fails(home.path(), &["bench", "serve", "--rate", "0"], 1, "give numbers above 0");
    fails(home.path(), &["bench", "serve", "--source-len", "poisson:3"], 2, "is no distribution of lengths");
    fails(home.path(), &["bench", "serve", "--timeout", "0"], 2, "give more than 0 seconds");
    fails(home.path(), &["bench", "serve", "--url", "nonsense"], 2, "give a URL such as http://127.0.0.1:8080");
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
    assert!(line.starts_with("s3delta: batch 3, 7 source ids, 5 new tokens, 2 beams, 2 threads: "), "{line}");
    let ids: Value = serde_json::from_str(ids).unwrap();
    assert!(ids["ids"].as_array().unwrap().iter().all(|row| row.as_array().unwrap().len() == 5), "{ids}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("these ids are its own"));
    fails(home.path(), &["bench", "generate", "--model", "builtin:pocket-t5", "--batch", "0"], 2, "--batch");
    fails(
        home.path(),
        &["bench", "generate", "--model", "builtin:pocket-t5", "--batch", "9999999"],
        2,
        "from 1 to 4096",
    );
    fails(home.path(), &["bench", "generate", "--model", "/nowhere"], 1, "config.json and model.safetensors");
    fails(home.path(), &["bench", "generate", "--model", "/nowhere", "--weights", "int4"], 2, "give f32 or int8");
}

/// Variants on a tiny backbone, and the same command again: nothing is made twice.
#[test]
fn variants_of_the_search_are_compared() {
    let home = tempfile::tempdir().unwrap();
    let (path, backbone) = (home.path().join("results.jsonl"), fixture("tiny-v1.1"));
    let words = "bench variants --tasks builtin-topic --shares 11%,5% --seeds 2 --train-rows 16 --dev-rows 8 --test-rows 8 \
                 --search-epochs 1 --retrain-epochs 1 --batch-size 4 --evaluations 1 --max-source-tokens 16 --json \
                 --variants first,second,reference,reference-order,shared-dropout,hard,pruned,from-saliency,saliency,l0,random,full-fine-tuning";
    let mut arguments: Vec<&str> = words.split_whitespace().collect();
    arguments.extend(["--backbone", &backbone, "--results", path.to_str().unwrap()]);
    let found = json_of(home.path(), &arguments);
    let (summary, runs) = (found["summary"].as_array().unwrap(), found["runs"].as_array().unwrap());
    assert_eq!((summary.len(), runs.len()), (2 * 2 * 11 + 2, 2 * 12), "by task and for all tasks, share and variant");
    let all =
        summary.iter().find(|line| line["task"].is_null() && line["share"] == "11%" && line["variant"] == "second");
    let all = all.unwrap();
    assert_eq!(all["runs"], 2);
    assert!(all["above"]["mean"].is_f64() && all["search_seconds"].as_f64() > Some(0.0), "{all}");
    for run in runs {
        let points = run["points"].as_array().unwrap();
        if run["variant"] == "full-fine-tuning" {
            assert_eq!((points.len(), &points[0]["share"]), (1, &"all parameters".into()), "{run}");
            continue;
        }
        assert_eq!(points.len(), 2);
        for point in points {
            assert!(point["parameters"].as_u64() <= point["budget"].as_u64() && point["modules"].as_u64() > Some(0));
        }
        assert_eq!(run["search_seconds"].as_f64() == Some(0.0), run["variant"] == "random", "{run}");
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(json_of(home.path(), &arguments), found);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), kept);
    let place = |word: &str| arguments.iter().position(|other| *other == word).unwrap() + 1;
    let (shares, variants, epochs) = (place("--shares"), place("--variants"), place("--search-epochs"));
    let mut others = arguments.clone();
    (others[shares], others[variants], others[epochs]) = ("7%", "full-fine-tuning", "2");
    others.extend(["--rate", "1e-4", "--structural-rate", "0.2", "--search-each", "--space", "lora"]);
    assert_eq!(json_of(home.path(), &others)["runs"].as_array().unwrap().len(), 2);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), kept, "all parameters know no space, no search and no share");
    fails(home.path(), &["bench", "variants", "--tasks", "builtin-topic", "--shares", "0%"], 2, "above 0%");
    let bench = |more: &[&'static str]| [&["bench", "variants", "--tasks", "builtin-topic"][..], more].concat();
    fails(home.path(), &bench(&["--variants", "third"]), 2, "reference");
    fails(home.path(), &bench(&["--variants", "random,random"]), 1, "--variants has an entry twice");
    fails(home.path(), &bench(&["--shares", "5%,5%"]), 1, "--shares has an entry twice");
    fails(home.path(), &bench(&["--retrain-rate", "0"]), 2, "a number above 0");
    fails(home.path(), &bench(&["--rate", "nan"]), 2, "a number above 0");
    fails(home.path(), &bench(&["--max-source-tokens", "0"]), 2, "--max-source-tokens");
}

#[test]
fn steps_of_training_and_search_are_measured() {
    let home = tempfile::tempdir().unwrap();
    let words =
        "bench search --model builtin:pocket-t5 --batch 9 --source-len 6 --target-len 3 --steps 2 --device cpu --mode";
    let step = |mode: &'static str, more: &[&'static str]| {
        let arguments: Vec<&str> = words.split(' ').chain([mode]).chain(more.iter().copied()).collect();
        json_of(home.path(), &[&arguments[..], &["--json"]].concat())
    };
    let wanted = "mode modules trainable median_ms min_ms max_ms peak_rss_mb run_rss_mb load batch source_len target_len threads";
    let fields = |json: &Value| json.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let lora = step("lora-qv", &[]);
    assert_eq!(fields(&lora), format!("{wanted} loss_first loss_last"), "the fields of ../shared/peers/train_step.py");
    assert_eq!((&lora["modules"], &lora["trainable"]), (&16.into(), &(16 * 2 * 192).into()));
    let fixed = step("mix-fixed", &["--modules", "20"]);
    assert_eq!((&fixed["mode"], &fixed["modules"], &fixed["batch"]), (&"mix-fixed".into(), &20.into(), &9.into()));
    let [first, second] = ["search-first", "search-second"].map(|mode| step(mode, &[]));
    assert_eq!(fields(&second), format!("{wanted} budget zeta loss_first loss_last"));
    assert_eq!(first["loss_first"], second["loss_first"], "both orders begin with the same pass");
    assert_ne!(first["zeta"], second["zeta"], "and part after it");
    let all = step("search-first", &["--budget", "500"]);
    let zeta = all["zeta"].as_f64().unwrap();
    assert!(
        zeta < -20.0 && all["budget"].as_u64() > first["budget"].as_u64(),
        "above the space all p are near 1: {all}"
    );
    for json in [&lora, &fixed, &first] {
        let [first, last] = ["loss_first", "loss_last"].map(|name| json[name].as_f64().unwrap());
        assert!(last < first, "the same batch again is learnt: {json}");
    }

    let output = run(home.path(), &words.split(' ').chain(["lora-qv"]).collect::<Vec<_>>());
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(line.starts_with("lora-qv: 16 modules, 6144 parameters, batch 9, 6 source and 3 target ids, "), "{line}");
    let refused = |arguments: &str, status, what| {
        let words = "bench search --model builtin:pocket-t5 --mode".split(' ');
        fails(home.path(), &words.chain(arguments.split(' ')).collect::<Vec<_>>(), status, what);
    };
    refused("mix-fixed --modules 5000", 1, "--modules 5000 is more than the");
    refused("search-first --budget nan", 2, "give a number above 0");
    refused("search-third", 2, "search-second");
}
