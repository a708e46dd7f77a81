//! The command line as scripts use it: documents on standard output, exit codes, and work beside a server.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub(crate) fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3delta"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("S3DELTA_")) {
        command.env_remove(name);
    }
    command.args(arguments).arg("--home").arg(home);
    command
}

pub(crate) fn run(home: &Path, arguments: &[&str]) -> Output {
    command(home, arguments).output().unwrap()
}

/// The one JSON document that a command prints.
#[track_caller]
pub(crate) fn json_of(home: &Path, arguments: &[&str]) -> Value {
    let output = run(home, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A command that fails with this exit code and these words on standard error.
#[track_caller]
pub(crate) fn fails(home: &Path, arguments: &[&str], code: i32, words: &str) {
    let output = run(home, arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(text.contains(words), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "a failure prints nothing on standard output");
}

pub(crate) fn fixture(name: &str) -> String {
    format!("{}/tests/reference/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn space_counts_t5_large_from_its_configuration_alone() {
    let home = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": "t5", "d_model": 1024, "d_kv": 64, "num_heads": 16, "num_layers": 24, "d_ff": 4096,
        "vocab_size": 32100, "feed_forward_proj": "relu",
    });
    std::fs::write(home.path().join("config.json"), config.to_string()).unwrap();
    let backbone = home.path().to_str().unwrap();
    let mix = json_of(home.path(), &["space", "--backbone", backbone, "--space", "mix", "--json"]);
    assert_eq!((&mix["modules"], &mix["parameters"]), (&json!(916), &json!(1_881_088)));
    assert_eq!(mix["by_kind"]["lora"], json!({"modules": 288, "parameters": 884_736}));
    let lora = json_of(home.path(), &["space", "--backbone", backbone, "--space", "lora", "--json"]);
    assert_eq!((&lora["modules"], &lora["parameters"]), (&json!(288), &json!(884_736)));
    fails(home.path(), &["space", "--backbone", backbone, "--space", "mixed"], 1, "unknown space `mixed`");
}

#[test]
fn usage_and_failures_have_their_exit_codes() {
    let home = tempfile::tempdir().unwrap();
    fails(home.path(), &["search", "--task", "builtin-topic"], 2, "--budget");
    fails(home.path(), &["search", "--task", "builtin-topic", "--budget", "many"], 2, "is not 102458");
    fails(home.path(), &["search", "--task", "builtin-topic", "--budget", "3"], 1, "smallest module");
    fails(home.path(), &["search", "--task", "builtin-topic", "--budget", "5%", "--l0", "nan"], 2, "a finite number");
    fails(home.path(), &["retrain", "--task", "nix", "--structure", "bitfit"], 1, "nix");
    fails(home.path(), &["generate", "--backbone", "/nowhere", "--text", "x"], 1, "config.json and model.safetensors");
    fails(home.path(), &["adapters", "show", "nix"], 1, "nix");
    if cfg!(not(feature = "cuda")) {
        fails(home.path(), &["serve", "--device", "cuda:0"], 1, "--features cuda");
    }
    fails(home.path(), &["serve", "--host", "0.0.0.0", "--port", "0"], 1, "--insecure");
    fails(home.path(), &["tasks", "import", "sst2"], 1, "error: task `sst2`: its rows");
}

#[test]
fn a_home_that_is_a_file_is_named() {
    let home = tempfile::NamedTempFile::new().unwrap();
    let words = format!("error: `{}` is a file: give a folder as --home", home.path().display());
    for arguments in [&["adapters", "list"][..], &["serve", "--port", "0"], &["tokens", "list"], &["space"]] {
        fails(home.path(), arguments, 1, &words);
    }
}

#[test]
fn generate_gives_transformers_ids() {
    let home = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(fixture("tiny-v1.0/expected.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let rows = |name: &str| {
        let view = tensors.tensor(name).unwrap();
        let width = view.shape()[1];
        let ids: Vec<i64> = view.data().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
        ids.chunks(width).map(<[i64]>::to_vec).collect::<Vec<_>>()
    };
    let (mask, ids) = (rows("attention_mask"), rows("input_ids"));
    let sources: Vec<Vec<i64>> = ids
        .iter()
        .zip(&mask)
        .map(|(ids, mask)| ids.iter().zip(mask).filter(|(_, seen)| **seen == 1).map(|(id, _)| *id).collect())
        .collect();
    let file = home.path().join("ids.json");
    std::fs::write(&file, json!(sources).to_string()).unwrap();
    let backbone = fixture("tiny-v1.0");
    let arguments = ["generate", "--backbone", &backbone, "--ids-file", file.to_str().unwrap()];
    let made = json_of(home.path(), &[&arguments[..], &["--max-new-tokens", "24", "--json"]].concat());
    for (made, wanted) in made["ids"].as_array().unwrap().iter().zip(rows("greedy_ids")) {
        let mut made: Vec<i64> = made.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        made.resize(wanted.len(), 0);
        assert_eq!(made, wanted);
    }
    assert_eq!(made["scores"].as_array().unwrap().len(), sources.len());
    // a beam search with two sequences a source, each with the log-probabilities of its tokens
    let beams =
        ["--max-new-tokens", "6", "--num-beams", "3", "--num-return-sequences", "2", "--json", "--logprobs", "2"];
    let made = json_of(home.path(), &[&arguments[..], &beams].concat());
    assert_eq!(made["ids"].as_array().unwrap().len(), sources.len());
    for (ids, (scores, logprobs)) in made["ids"]
        .as_array()
        .unwrap()
        .iter()
        .zip(made["scores"].as_array().unwrap().iter().zip(made["logprobs"].as_array().unwrap()))
    {
        for at in 0..2 {
            let each = logprobs[at].as_array().unwrap();
            let mean = each.iter().map(|p| p.as_f64().unwrap()).sum::<f64>() / each.len() as f64;
            assert_eq!(each.len(), ids[at].as_array().unwrap().len());
            assert!((mean - scores[at].as_f64().unwrap()).abs() < 1e-4, "the length penalty is 1: {made}");
        }
    }
    let usage = |more: &[&str], words: &str| fails(home.path(), &[&arguments[..], more].concat(), 2, words);
    usage(&["--num-beams", "0"], "0 is not in 1..=256");
    usage(&["--max-new-tokens", "3", "--min-new-tokens", "4"], "--min-new-tokens is 4, more than");
    usage(&["--num-beams", "2", "--num-return-sequences", "3"], "--num-return-sequences is 3, more than");
    usage(&["--top-p", "0.9"], "--top-p has no effect without --do-sample");
    usage(&["--do-sample", "--top-p", "1.9"], "--top-p is 1.9: give 0 to 1");
    usage(&["--length-penalty", "2"], "--length-penalty has no effect without beams");
    usage(&["--early-stopping", "soon"], "possible values: true, false, never");
    usage(&["--logprobs", "2"], "--json");
}

/// A server process; killed when dropped.
pub(crate) struct Server(Child, pub(crate) String);

impl Server {
    pub(crate) fn start(home: &Path) -> Self {
        let mut child =
            command(home, &["serve", "--port", "0"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .by_ref()
            .find_map(|line| line.split_once(" on http://").map(|(_, rest)| rest.trim_end_matches('/').to_string()))
            .expect("the server says where it listens");
        std::thread::spawn(move || lines.for_each(drop)); // keep the pipe from filling
        Self(child, address)
    }

    fn get(&self, path: &str) -> Value {
        ureq::get(format!("http://{}{path}", self.1)).call().unwrap().body_mut().read_json().unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        ureq::post(format!("http://{}{path}", self.1)).send_json(body).unwrap().body_mut().read_json().unwrap()
    }

    /// Reads a job's events until `enough` says so of one of them.
    fn watch(&self, id: &str, mut enough: impl FnMut(&str, &Value) -> bool) {
        let url = format!("http://{}/v1/jobs/{id}/events", self.1);
        let response = ureq::get(url).call().unwrap();
        let mut name = String::new();
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line = line.unwrap();
            if let Some(event) = line.strip_prefix("event:") {
                name = event.trim().into();
            } else if let Some(data) = line.strip_prefix("data:") {
                let data = serde_json::from_str(data.trim()).unwrap();
                if enough(&name, &data) {
                    return;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_search_goes_on_and_ends_as_if_nothing_had_happened() {
    let home = tempfile::tempdir().unwrap();
    let small = ["--train-rows", "64", "--steps", "60", "--batch-size", "4", "--evaluations", "2"];
    let here = json_of(
        home.path(),
        &[&["search", "--task", "builtin-topic", "--budget", "5.447%", "--no-retrain", "--json"][..], &small].concat(),
    );
    let structure = here["result"]["structure"].clone();
    let request = json!({
        "task": "builtin-topic", "budget": "5.447%", "train_rows": 64, "steps": 60, "batch_size": 4,
        "evaluations": 2, "adapter": "topic",
    });
    let mut server = Server::start(home.path());
    let id = server.post("/v1/searches", &request)["id"].as_str().unwrap().to_string();
    server.watch(&id, |event, data| event == "progress" && data["step"].as_u64() >= Some(5));
    server.0.kill().unwrap(); // SIGKILL
    server.0.wait().unwrap();
    let server = Server::start(home.path());
    server.watch(&id, |event, data| event == "state" && data["state"] == "succeeded");
    let job = server.get(&format!("/v1/jobs/{id}"));
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(job["result"]["structure"], structure, "the same seed gives the same structure");
    // the command line works beside the server
    let adapters = json_of(home.path(), &["adapters", "list", "--json"]);
    assert_eq!(adapters[0]["name"], "topic");
    let prediction = server.post(
        "/v1/predictions",
        &json!({"adapter": "topic", "inputs": [{"sentence": "the doctor treated the patient"}]}),
    );
    assert_eq!(prediction["data"][0]["adapter_generation"], job["result"]["generation"]);
    // where the server computes is the server's to say
    let evaluate = ["evaluate", "--adapter", "topic", "--task", "builtin-topic"];
    fails(home.path(), &[&evaluate[..], &["--device", "cuda:0"]].concat(), 1, "computes on cpu, not cuda:0");
    fails(home.path(), &[&evaluate[..], &["--threads", "1"]].concat(), 1, "leave --threads out");
    fails(home.path(), &["evaluate", "--task", "sst2", "--threads", "100000"], 2, "from 1 to 1024");
    // an adapter leaves and comes back as the same generation
    let folder = home.path().join("exported");
    let folder = folder.to_str().unwrap();
    assert!(run(home.path(), &["adapters", "export", "topic", folder]).status.success());
    let copy = json_of(home.path(), &["adapters", "import", folder, "--name", "copy"]);
    let digest = |adapter: &Value| adapter["generations"][0]["digest"].clone();
    assert_eq!(digest(&copy), digest(&adapters[0]), "the task is kept too");
    let text = run(home.path(), &["generate", "--adapter", folder, "--text", "a text", "--max-new-tokens", "3"]);
    assert!(text.status.success(), "{}", String::from_utf8_lossy(&text.stderr));
}

/// One search over two seeds: a structure a budget, and each chosen anew from what the registry keeps.
#[test]
fn a_search_gives_structures_at_several_budgets() {
    let home = tempfile::tempdir().unwrap();
    let json = |arguments: &str| json_of(home.path(), &arguments.split(' ').collect::<Vec<_>>());
    let small = "--train-rows 32 --steps 20 --batch-size 4 --evaluations 2 --no-retrain --json";
    let search = "search --task builtin-topic --budget 5.447% --more-budgets 11%,1.365%,5.447% --seeds 2";
    let job = json(&format!("{search} --preset s3delta-reference --prune-below 0.05 {small}"));
    let request = &job["request"];
    assert_eq!(
        (&request["order"], &request["dropout"]),
        (&"reference".into(), &0.1.into()),
        "the preset is written out"
    );
    assert_eq!((&request["batch_size"], &request["selection"]), (&4.into(), &"greedy".into()));
    let more = job["result"]["more"].as_array().unwrap();
    assert_eq!((more.len(), &more[2]["structure"]), (3, &job["result"]["structure"]), "its own budget is itself");
    let mean = json(&format!("structures show {}", job["result"]["structure"].as_str().unwrap()));
    let told = mean["provenance"][0]["probabilities"].as_array().unwrap();
    assert!(told.iter().all(|entry| entry["deviation"].is_f64()), "two seeds have a deviation");
    assert!(told.iter().any(|entry| entry["deviation"].as_f64() > Some(1e-4)));
    let sum = |provenance: &Value| -> f64 {
        let each = provenance["probabilities"].as_array().unwrap().iter();
        each.map(|entry| entry["p"].as_f64().unwrap() * entry["parameters"].as_f64().unwrap()).sum()
    };
    let own = |parent: &Value| parent == &mean["id"];
    let parents = |of: &Value| of["parents"].as_array().is_some_and(|parents| parents.iter().any(own));
    assert!(!mean["provenance"].as_array().unwrap().iter().any(parents), "it is no parent of its own");
    for point in &more[..2] {
        let structure = json(&format!("structures show {}", point["structure"].as_str().unwrap()));
        let (provenance, budget) = (&structure["provenance"][0], point["budget"].as_f64().unwrap());
        assert!((sum(provenance) / budget - 1.0).abs() < 0.02, "ζ is solved for {budget}: {}", sum(provenance));
        assert!(point["parameters"].as_f64().unwrap() <= budget);
        let deviations = provenance["probabilities"].as_array().unwrap().iter().map(|entry| &entry["deviation"]);
        assert!(deviations.clone().all(Value::is_f64) && deviations.clone().any(|one| one.as_f64() > Some(1e-4)));
    }

    let id = mean["id"].as_str().unwrap();
    let again = json(&format!("structures choose {id} --selection greedy"));
    assert_eq!(again["id"], mean["id"], "the same budget and selection choose the same");
    let large = json(&format!("structures choose {id} --budget 30%"));
    assert!((sum(&large["provenance"][0]) / large["provenance"][0]["budget"].as_f64().unwrap() - 1.0).abs() < 0.02);
    assert_eq!(large["provenance"][0]["parents"], serde_json::json!([id]));
    let told = large["provenance"][0]["probabilities"].as_array().unwrap();
    assert!(told.iter().all(|entry| entry["deviation"].is_f64()), "another budget's p have deviations too");
    let front = json(&format!("structures front {id} --cost prefer-decoder --budget 30% --json"));
    let points = front.as_array().unwrap();
    let of = |point: &Value, name: &str| point[name].as_f64().unwrap();
    assert!(points.len() > 2, "{front}");
    assert_eq!(points[0]["modules"].as_u64(), Some(large["modules"].as_array().unwrap().len() as u64));
    for pair in points.windows(2) {
        assert!(
            of(&pair[0], "cost") > of(&pair[1], "cost") && of(&pair[0], "probability") > of(&pair[1], "probability")
        );
    }
    let last = &points[points.len() - 1];
    assert_eq!(of(last, "cost"), 0.0, "the decoder alone");
    let weight = of(last, "weight");
    let choose = format!("structures choose {id} --budget 30% --cost prefer-decoder --weight {weight}");
    let decoder = json(&choose);
    let modules = decoder["modules"].as_array().unwrap();
    assert_eq!(modules.len() as u64, last["modules"].as_u64().unwrap());
    assert!(modules.iter().all(|module| module["position"].as_str().unwrap().starts_with("decoder.")));
    assert_eq!(decoder["provenance"].as_array().unwrap().last().unwrap()["objective"]["cost"], "prefer_decoder");
    let shown = run(home.path(), &["structures", "front", id, "--cost", "microseconds"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.starts_with("WEIGHT") || shown.starts_with("weight"), "{shown}");
    // each process reads what the first measured
    let front = format!("structures front {id} --cost microseconds --json");
    let points = json(&front);
    assert_eq!(json(&front), points);
    for point in points.as_array().unwrap() {
        let weight = &point["weight"];
        let kept = json(&format!("structures choose {id} --cost microseconds --weight {weight}"));
        assert_eq!(kept["modules"].as_array().unwrap().len() as u64, point["modules"].as_u64().unwrap(), "{point}");
    }

    let fails =
        |arguments: &str, status, what| fails(home.path(), &arguments.split(' ').collect::<Vec<_>>(), status, what);
    fails(&format!("structures choose {id} --cost bytes"), 2, "--weight");
    fails(&format!("structures choose {id} --cost bytes --weight=-1"), 1, "give 0 or more");
    fails(&format!("structures choose {id} --cost bytes --weight 9"), 1, "no module is worth its cost");
    fails(&format!("structures front {id} --cost bytes --budget 1"), 1, "smallest module");
    fails("structures choose 0123abcd", 1, "0123abcd");
    // a warm start from what was found, by the task's name; and what has no p
    let warm = json(&format!("search --task builtin-topic --budget 5.447% --warm-start builtin-topic {small}"));
    assert_eq!(warm["request"]["warm_start"], mean["id"], "neither one of a seed nor one of another budget");
    fails("search --task builtin-topic --budget 5% --space lora --warm-start 0000", 1, "0000");
    fails("search --task builtin-topic --budget 5% --warm-start nix", 1, "nix");
    fails("search --task builtin-topic --budget 5% --saliency 2 --warm-start nix", 2, "--warm-start");
    // a seed of several is that seed alone, rows and all
    let p = |structure: &Value| -> Vec<Value> {
        let structure = json(&format!("structures show {}", structure.as_str().unwrap()));
        let own =
            structure["provenance"].as_array().unwrap().iter().filter(|one| one["seeds"] == serde_json::json!([1]));
        own.map(|one| one["probabilities"].clone()).collect()
    };
    let plain = format!("search --task builtin-topic --budget 5.447% {small}");
    let both = json(&format!("{plain} --seeds 2"));
    let second = p(&both["result"]["structures"][1]);
    let alone = p(&json(&format!("{plain} --seed 1"))["result"]["structure"]);
    assert!(second.len() == 1 && !alone.is_empty() && alone.iter().all(|told| *told == second[0]));
}

#[cfg(unix)]
#[test]
fn a_signal_stops_a_job_that_waits() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    let search = |steps: u32| {
        let request = json!({
            "task": "builtin-topic", "budget": "5.447%", "train_rows": 64, "steps": steps, "batch_size": 4,
            "evaluations": 1, "retrain": false,
        });
        server.post("/v1/searches", &request)["id"].as_str().unwrap().to_string()
    };
    json_of(home.path(), &["tasks", "import", "builtin-topic"]);
    let (running, waiting) = (search(300), search(2));
    server.watch(&running, |event, _| event == "progress");
    let mut resume = command(home.path(), &["jobs", "resume", &waiting]).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(resume.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(told.next(), Some(format!("job {waiting}")));
    assert!(Command::new("kill").arg(resume.id().to_string()).status().unwrap().success());
    assert!(told.any(|line| line.contains("was stopped; go on with")));
    assert_eq!(resume.wait().unwrap().code(), Some(1));
    let job = server.get(&format!("/v1/jobs/{waiting}"));
    assert_eq!((&job["state"], &job["started"]), (&json!("cancelled"), &Value::Null), "it did not wait for its turn");
}
