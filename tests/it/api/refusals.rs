//! What is refused, with which status and code, and that nothing is stored then.

use super::bench::{BACKBONE, Bench, json_request, structure, upload_request, weights};
use axum::{
    body::{Body, Bytes},
    http::Request,
};
use s3delta::config::Config;
use serde_json::{Value, json};

/// One line a case: the request, the status, the code, and a part of the message.
#[track_caller]
fn check<'a>(
    bench: &'a Bench,
    request: Request<Body>,
    status: u16,
    code: &'a str,
    wanted: &'a str,
) -> impl Future<Output = Value> + 'a {
    let place = std::panic::Location::caller();
    async move {
        let before = bench.stored();
        let reply = bench.call(request).await;
        let body = reply.json();
        let error = &body["error"];
        let message = error["message"].as_str().unwrap_or_default();
        assert_eq!((reply.status.as_u16(), error["code"].as_str()), (status, Some(code)), "{place}: {body}");
        assert!(message.contains(wanted), "{place}: {body}");
        assert!(error["type"].is_string() && error["request_id"] == reply.header("x-request-id"), "{place}: {body}");
        assert_eq!(bench.stored(), before, "{place}: the registry changed");
        error["param"].clone()
    }
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn post(path: &str, body: Value) -> Request<Body> {
    json_request("POST", path, &body)
}

fn raw(path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", content_type).body(body.into()).unwrap()
}

#[tokio::test]
async fn what_there_is_not() {
    let bench = Bench::stocked().await;
    check(&bench, get("/v1/structures/feedfeed"), 404, "structure_not_found", "no structure `feedfeed`").await;
    check(&bench, get("/v1/adapters/none"), 404, "adapter_not_found", "no adapter `none`").await;
    check(&bench, get("/v1/adapters/sst2/generations/none/weights"), 404, "alias_not_found", "sst2@none").await;
    check(&bench, get("/v1/tasks/none"), 404, "task_not_found", "no task `none`").await;
    check(&bench, get("/v1/jobs/none"), 404, "job_not_found", "no job `none`").await;
    check(&bench, get("/v1/jobs/none/events"), 404, "job_not_found", "no job `none`").await;
    check(&bench, get("/v1/nothing"), 404, "route_not_found", "/v1/nothing").await;
    let ask = |model: &str| post("/v1/completions", json!({"model": model, "prompt": "x"}));
    let param = check(&bench, ask("none"), 404, "adapter_not_found", "no adapter `none`").await;
    assert_eq!(param, "model");
    check(&bench, ask("sst2@none"), 404, "alias_not_found", "sst2@none").await;
    check(&bench, ask("sst2@feedfeed"), 404, "generation_not_found", "sst2@feedfeed").await;
    let bare = Bench::stocked().await;
    bare.delete("/v1/adapters/sst2/aliases/latest").await.expect(200);
    let param = check(&bare, ask("sst2"), 404, "alias_not_found", "set it: `s3delta adapters alias sst2 latest").await;
    assert_eq!(param, "model");
    let ask = post("/v1/predictions", json!({"adapter": "none", "inputs": [{"sentence": "x"}]}));
    check(&bench, ask, 404, "adapter_not_found", "no adapter `none`").await;
    let search = post("/v1/searches", json!({"task": "none", "budget": "5%"}));
    assert_eq!(check(&bench, search, 404, "task_not_found", "no task `none`").await, "task");
    let wrong = || Request::delete("/v1/models").body(Body::empty()).unwrap();
    check(&bench, wrong(), 405, "method_not_allowed", "`allow`").await;
    assert_eq!(bench.call(wrong()).await.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let bench = Bench::stocked().await;
    for path in ["/v1/structures", "/v1/completions", "/v1/predictions", "/v1/searches"] {
        let wrong = raw(path, "application/json", "{\"model\": ");
        check(&bench, wrong, 400, "json_malformed", "not valid JSON").await;
        let wrong = raw(path, "text/plain", "{}");
        check(&bench, wrong, 415, "content_type_unsupported", "content-type: application/json").await;
    }
    let wrong = post("/v1/completions", json!({"model": "tiny", "prompt": "x", "colour": "red"}));
    assert_eq!(check(&bench, wrong, 422, "request_invalid", "unknown field `colour`").await, "colour");
    let wrong = post("/v1/completions", json!({"prompt": "x"}));
    assert_eq!(check(&bench, wrong, 422, "request_invalid", "missing field `model`").await, "model");
    let wrong = post("/v1/completions", json!({"model": "tiny", "prompt": 3}));
    assert_eq!(check(&bench, wrong, 422, "request_invalid", "`prompt` must be a text").await, "prompt");
    let wrong = post("/v1/searches", json!({"task": "sst2", "budget": "5%", "sedes": [1]}));
    assert_eq!(check(&bench, wrong, 422, "request_invalid", "unknown field `sedes`").await, "sedes");
    let wrong = post("/v1/searches", json!({"task": "sst2", "budget": "5%", "seeds": [1, "two"]}));
    assert_eq!(check(&bench, wrong, 422, "request_invalid", "expected u64").await, "seeds[1]");
    let wrong = post("/v1/searches", json!({"task": "sst2", "budget": "much"}));
    assert_eq!(check(&bench, wrong, 422, "request_invalid", "budget `much`").await, "budget");
    let wrong = post("/v1/searches", json!({"task": "sst2", "budget": null}));
    assert_eq!(check(&bench, wrong, 422, "request_invalid", "a share of the space (5.447%)").await, "budget");
    let wrong = post("/v1/searches", json!({"task": "sst2", "budget": "5%", "warm_start": ""}));
    assert_eq!(check(&bench, wrong, 422, "request_invalid", "is empty: name a task").await, "warm_start");
    for list in [json!([]), json!(["sst2", null, null, "mix", "5%"])] {
        let wrong = post("/v1/searches", list);
        assert_eq!(check(&bench, wrong, 422, "request_invalid", "with named fields").await, Value::Null);
    }
    let wrong =
        post("/v1/searches", json!({"task": "sst2", "budget": "5%", "warm_start_search": "2026-11-27T00:00:00Z"}));
    assert_eq!(check(&bench, wrong, 422, "request_invalid", "give that too").await, "warm_start_search");
    let wrong = post("/v1/searches", json!({"task": "sst2", "budget": "5%", "l0": 1e300}));
    assert_eq!(check(&bench, wrong, 422, "request_invalid", "from 0 to 1000").await, "l0");
    let row = |row: Value| {
        let mut upload = super::bench::task();
        upload["rows"]["dev"][1] = row;
        json_request("PUT", "/v1/tasks/sst2", &upload)
    };
    let wrong = row(json!({"fields": {"sentence": 7}, "label": "positive"}));
    let param = check(&bench, wrong, 422, "request_invalid", "expected a string").await;
    assert_eq!(param, "rows.dev[1].fields.sentence");
    let param = check(&bench, row(json!({"fields": {}})), 422, "request_invalid", "missing field `label`").await;
    assert_eq!(param, "rows.dev[1].label");
    let wrong = raw("/v1/completions", "application/json", "{\"model\": \"tiny\", \"prompt\": \"x\"} and more");
    check(&bench, wrong, 400, "json_malformed", "not valid JSON").await;
    let latin1 = Request::post("/v1/completions").header("content-type", "application/json");
    let wrong = latin1.body(Body::from(&b"{\"model\": \"caf\xe9\", \"prompt\": \"x\"}"[..])).unwrap();
    check(&bench, wrong, 400, "json_malformed", "invalid utf-8").await;
    check(&bench, get("/v1/structures?colour=red"), 400, "query_invalid", "unknown field `colour`").await;
    check(&bench, get("/v1/structures?limit=0"), 400, "query_invalid", "give 1 to 1000").await;
    check(&bench, get("/v1/jobs?state=lost"), 400, "query_invalid", "unknown variant `lost`").await;
    let wrong = raw("/v1/adapters", "application/json", "{}");
    check(&bench, wrong, 415, "content_type_unsupported", "multipart/form-data").await;
    let wrong = raw("/v1/adapters", "multipart/form-data; boundary=edge", "--edge\r\nnonsense");
    check(&bench, wrong, 400, "multipart_invalid", "not valid").await;
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let config = Config { body_bytes: 1000, upload_bytes: 5000, ..Config::default() };
    let bench = Bench::with(config, |_| {});
    let declared = |path: &str, length: u64| {
        let request = Request::post(path).header("content-length", length).header("content-type", "application/json");
        // a body that fails when read: the declared length alone must do
        let body = Body::from_stream(futures_util::stream::once(async {
            Err::<Bytes, _>(std::io::Error::other("the body was read"))
        }));
        request.body(body).unwrap()
    };
    check(&bench, declared("/v1/completions", 2 << 30), 413, "body_too_large", "`body_bytes`").await;
    check(&bench, declared("/v1/adapters", 2 << 30), 413, "body_too_large", "`upload_bytes`").await;
    let counted = |path: &str, kind: &str, first: &str| {
        let first = Bytes::from(first.to_string());
        let pieces = std::iter::once(first).chain(std::iter::repeat_n(Bytes::from(vec![b' '; 500]), 100));
        let pieces = futures_util::stream::iter(pieces.map(Ok::<_, std::io::Error>));
        raw(path, kind, Body::from_stream(pieces))
    };
    let json = counted("/v1/completions", "application/json", "{");
    check(&bench, json, 413, "body_too_large", "larger than the server allows").await;
    let head = "--edge\r\ncontent-disposition: form-data; name=\"weights\"\r\n\r\n";
    let upload = counted("/v1/adapters", "multipart/form-data; boundary=edge", head);
    check(&bench, upload, 413, "body_too_large", "`upload_bytes`").await;
}

#[tokio::test]
async fn structures_that_cannot_be_served() {
    let bench = Bench::new();
    let send = |change: &dyn Fn(&mut Value)| {
        let mut document = serde_json::to_value(structure()).unwrap();
        document.as_object_mut().unwrap().remove("id");
        change(&mut document);
        post("/v1/structures", document)
    };
    let at = |position: &'static str| move |d: &mut Value| d["modules"][0]["position"] = position.into();
    let unknown = send(&at("encoder.block.9.layer.0.SelfAttention.q"));
    check(&bench, unknown, 422, "unknown_position", "encoder.block.9").await;
    let refused = send(&at("encoder.block.0.layer.0.layer_norm"));
    check(&bench, refused, 422, "kind_not_admitted", "lora cannot be placed").await;
    let rank = send(&|d| d["modules"][0]["rank"] = 65.into());
    check(&bench, rank, 422, "invalid_hyper_parameter", "rank 65").await;
    let shape = send(&|d| d["shape"]["encoder_layers"] = 3.into());
    check(&bench, shape, 422, "shape_mismatch", "layers=3+2").await;
    let format = send(&|d| d["format"] = "other/1".into());
    check(&bench, format, 422, "invalid_structure", "other/1").await;
    let empty = send(&|d| d["modules"] = json!([]));
    check(&bench, empty, 422, "invalid_structure", "no module").await;
    let field = send(&|d| d["colour"] = "red".into());
    check(&bench, field, 422, "request_invalid", "unknown field `colour`").await;
    let mut foreign = serde_json::to_value(structure()).unwrap();
    foreign["shape"]["encoder_layers"] = 3.into();
    foreign.as_object_mut().unwrap().remove("id");
    bench.post("/v1/structures?allow_shape_mismatch=true", foreign).await.expect(201);
}

#[tokio::test]
async fn uploads_that_cannot_be_served() {
    let bench = Bench::stocked().await;
    let good = weights(0.25, BACKBONE);
    let upload = |parts: &[(&str, &str)]| upload_request(parts, &good);
    check(&bench, upload(&[("name", "-")]), 422, "part_missing", "`name`").await;
    check(&bench, upload(&[("structure", "-")]), 422, "part_missing", "`structure`").await;
    check(&bench, upload(&[("name", "a/b")]), 400, "name_invalid", "`a/b`").await;
    assert_eq!(check(&bench, upload(&[("name", "tiny")]), 409, "name_taken", "name of the backbone").await, "name");
    check(&bench, upload(&[("aliases", "b@c")]), 400, "name_invalid", "`b@c`").await;
    check(&bench, upload(&[("colour", "red")]), 422, "part_unknown", "unknown part `colour`").await;
    check(&bench, upload(&[("task", "none")]), 404, "task_not_found", "no task `none`").await;
    check(&bench, upload(&[("structure", "feedfeed")]), 404, "structure_not_found", "feedfeed").await;
    check(&bench, upload(&[("structure", "{")]), 400, "json_malformed", "not valid JSON").await;
    check(&bench, upload(&[("structure", "{}")]), 422, "invalid_structure", "missing field").await;
    check(&bench, upload(&[("allow_backbone_mismatch", "yes")]), 422, "request_invalid", "true or false").await;
    let mut foreign = structure();
    foreign.shape.encoder_layers = 3;
    foreign.id.clear();
    let foreign = serde_json::to_string(&foreign).unwrap();
    check(&bench, upload(&[("structure", &foreign)]), 422, "shape_mismatch", "layers=3+2").await;
    let others = weights(0.25, &"f".repeat(32));
    check(&bench, upload_request(&[], &others), 409, "backbone_mismatch", "allow_backbone_mismatch").await;
}

#[tokio::test]
async fn weights_that_are_not_what_they_say() {
    let bench = Bench::new();
    let good = weights(0.25, BACKBONE);
    let check_bytes = async |bytes: &[u8], wanted: &str| {
        let param = check(&bench, upload_request(&[], bytes), 422, "weights_invalid", wanted).await;
        assert_eq!(param, "weights");
    };
    check_bytes(b"", "").await;
    check_bytes(&good[..good.len() - 1], "").await;
    check_bytes(&good[..7], "").await;
    check_bytes(&[&good[..], b"x"].concat(), "").await;
    let mut lying = good.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    check_bytes(&lying, "").await;
    check_bytes(&weights_with(f32::NAN), "encoder.block.0.layer.0.SelfAttention.q").await;
    // one tensor's name changed: one is missing, another too many
    let text = String::from_utf8_lossy(&good).contains("decoder.final_layer_norm");
    assert!(text, "the tensor is named by its position");
    let at = good.windows(24).position(|window| window == b"decoder.final_layer_norm").unwrap();
    let mut renamed = good.clone();
    renamed[at..at + 7].copy_from_slice(b"encoder");
    check_bytes(&renamed, "decoder.final_layer_norm").await;
}

/// Weights whose every value is this one, bypassing what the encoder refuses.
fn weights_with(value: f32) -> Vec<u8> {
    let mut bytes = weights(1.0, BACKBONE);
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for four in bytes[8 + header..].chunks_exact_mut(4) {
        four.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

#[tokio::test]
async fn weights_that_do_not_say_their_backbone() {
    let bench = Bench::new();
    let key = b"backbone_digest";
    let mut none = weights(0.5, BACKBONE);
    let at = none.windows(key.len()).position(|window| window == key).unwrap();
    none[at..at + 8].copy_from_slice(b"whatever");
    check(&bench, upload_request(&[], &none), 422, "backbone_unknown", "backbone_digest").await;
    bench.upload(&[("allow_backbone_mismatch", "true")], &none).await.expect(201);
}

#[tokio::test]
async fn weights_of_another_structure() {
    let bench = Bench::new();
    let id = structure().id;
    let mut lying = weights(0.5, BACKBONE);
    let at = lying.windows(id.len()).position(|window| window == id.as_bytes()).unwrap();
    lying[at..at + id.len()].fill(b'0');
    check(&bench, upload_request(&[], &lying), 422, "weights_invalid", &id).await;
}

#[tokio::test]
async fn completions_that_would_not_do_what_they_ask() {
    let bench = Bench::new();
    let ask = |field: &str, value: Value| {
        let mut request = json!({"model": "tiny", "prompt": "x"});
        request[field] = value;
        post("/v1/completions", request)
    };
    let fields = [
        ("best_of", json!(2), "not available"),
        ("echo", json!(true), "not available"),
        ("suffix", json!("x"), "not available"),
        ("top_p", json!(0.9), "nothing is drawn: give `temperature`"),
        ("top_k", json!(50), "nothing is drawn: give `temperature`"),
        ("min_p", json!(0.1), "nothing is drawn: give `temperature`"),
        ("typical_p", json!(0.9), "nothing is drawn: give `temperature`"),
        ("length_penalty", json!(2.0), "no beams: give `num_beams`"),
        ("early_stopping", json!("never"), "no beams: give `num_beams`"),
    ];
    for (field, value, wanted) in fields {
        let param = check(&bench, ask(field, value), 422, "parameter_unsupported", wanted).await;
        assert_eq!(param, field);
    }
    let fields = [
        ("n", json!(2), "`n` is 2, but greedy decoding gives one: draw (`temperature`)"),
        ("n", json!(0), "`n` is 0: give at least 1"),
        ("n", json!(1_000_000_000_000u64), "give at most 28"),
        ("num_beams", json!(29), "`num_beams` is 29: give at most 28"),
        ("num_beams", json!(0), "`num_beams` is 0: give at least 1"),
        ("temperature", json!(-1.0), "`temperature` is -1.0: give 1e-6 to 1e6"),
        ("temperature", json!(1e39), "give 1e-6 to 1e6"),
        ("min_new_tokens", json!(65), "`min_new_tokens` is 65, more than `max_tokens` 64"),
        ("repetition_penalty", json!(0.0), "`repetition_penalty` is 0.0: give more than 0"),
        ("logit_bias", json!({"5": 101}), "`logit_bias` of 5 is 101: give -100 to 100"),
        ("logit_bias", json!({"x": 1}), "`x` is no token id"),
        ("logit_bias", json!({"5": 1, "05": 2}), "`05` is no token id"),
        ("logit_bias", json!({"300": 1}), "`logit_bias` holds id 300"),
        ("bad_words_ids", json!([[]]), "an empty run of tokens"),
        ("logprobs", json!(21), "`logprobs` is 21: give 0 to 20"),
    ];
    for (field, value, wanted) in fields {
        let param = check(&bench, ask(field, value), 422, "request_invalid", wanted).await;
        assert_eq!(param, field);
    }
    check(&bench, ask("max_tokens", json!(0)), 422, "request_invalid", "give 1 to 1024").await;
    check(&bench, ask("max_tokens", json!(9999)), 422, "request_invalid", "give 1 to 1024").await;
    check(&bench, ask("stop", json!([""])), 422, "request_invalid", "none of them empty").await;
    check(&bench, ask("prompt", json!([])), 422, "request_invalid", "give 1 to").await;
    check(&bench, ask("timeout", json!(0)), 422, "request_invalid", "`timeout` is 0").await;
    check(&bench, ask("prompt", json!([5000])), 422, "request_invalid", "token id 5000").await;
    check(&bench, ask("prompt", json!("x".repeat(5000))), 422, "input_too_long", "5001 tokens").await;
    check(&bench, ask("prompt", json!("x".repeat(500_000))), 422, "input_too_long", "500000 characters").await;
    let ligatures = json!("\u{fdfa}".repeat(20_000));
    check(&bench, ask("prompt", ligatures), 422, "input_too_long", "360000 characters").await;
    let long = ask("model", json!("x".repeat(500_000)));
    assert!(bench.call(long).await.bytes.len() < 10_000, "what was sent is not sent back");
}

#[tokio::test]
async fn predictions_that_do_not_fit_their_task() {
    let bench = Bench::stocked().await;
    let ask = |value: Value| post("/v1/predictions", value);
    let input = json!([{"sentence": "x"}]);
    let wrong = ask(json!({"adapter": "sst2", "inputs": [{"sentence": "x"}, {"text": "x"}]}));
    assert_eq!(check(&bench, wrong, 422, "task_data_invalid", "`sentence` is missing").await, "inputs[1]");
    check(&bench, ask(json!({"adapter": "sst2", "inputs": []})), 422, "request_invalid", "give 1 to").await;
    let never = ask(json!({"adapter": "sst2", "inputs": input, "timeout": -1}));
    assert_eq!(check(&bench, never, 422, "request_invalid", "`timeout` is -1").await, "timeout");
    let none = ask(json!({"adapter": "sst2", "inputs": input, "top_k": 0}));
    assert_eq!(check(&bench, none, 422, "request_invalid", "`top_k` is 0").await, "top_k");
    check(&bench, ask(json!({"inputs": input})), 422, "request_invalid", "either `adapter`").await;
    let both = json!({"adapter": "sst2", "adapters": ["sst2"], "inputs": input});
    check(&bench, ask(both), 422, "request_invalid", "either `adapter`").await;
    check(&bench, ask(json!({"adapter": "tiny", "inputs": input})), 422, "task_missing", "name one in `task`").await;
}

#[tokio::test]
async fn tasks_that_contradict_themselves() {
    let bench = Bench::new();
    let put = |change: &dyn Fn(&mut Value)| {
        let mut upload = super::bench::task();
        change(&mut upload);
        json_request("PUT", "/v1/tasks/sst2", &upload)
    };
    check(&bench, put(&|t| t["definition"]["name"] = "other".into()), 422, "request_invalid", "`other`").await;
    let template = put(&|t| t["definition"]["template"] = "{sentence".into());
    check(&bench, template, 422, "task_definition_invalid", "unbalanced brace").await;
    let label = put(&|t| t["rows"]["dev"][0]["label"] = "7".into());
    check(&bench, label, 422, "task_data_invalid", "row 0 of `dev`").await;
    let many: Vec<_> = (0..1001).map(|n| json!({"value": n.to_string(), "word": format!("w{n}")})).collect();
    let many = put(&|t| t["definition"]["target"]["labels"] = json!(many));
    check(&bench, many, 422, "task_definition_invalid", "1001 labels: give at most 1000").await;
    check(&bench, put(&|t| t["rows"]["test"] = json!([])), 422, "task_data_invalid", "`test` has no row").await;
}

#[tokio::test]
async fn jobs_that_cannot_be_done() {
    let bench = Bench::stocked().await;
    let search = |value: Value| post("/v1/searches", value);
    let budget = search(json!({"task": "sst2", "budget": 1}));
    assert_eq!(check(&bench, budget, 422, "invalid_budget", "smallest module").await, "budget");
    let budget = search(json!({"task": "sst2", "budget": "much"}));
    check(&bench, budget, 422, "request_invalid", "budget `much`").await;
    let space = search(json!({"task": "sst2", "budget": "5%", "space": "mxi"}));
    assert_eq!(check(&bench, space, 422, "invalid_space", "unknown space `mxi`").await, "space");
    let named = search(json!({"task": "sst2", "budget": "5%", "adapter": "tiny"}));
    assert_eq!(check(&bench, named, 422, "request_invalid", "name of the backbone").await, "adapter");
    let transfer = post("/v1/transfers", json!({"source": "mr", "target": "sst2"}));
    assert_eq!(check(&bench, transfer, 404, "structure_not_found", "search one first").await, "source");
    let retrain = post("/v1/retrains", json!({"structure": "random", "task": "sst2"}));
    assert_eq!(check(&bench, retrain, 422, "request_invalid", "needs a `budget`").await, "budget");
}

#[tokio::test]
async fn a_full_queue_of_jobs() {
    let bench = Bench::with(Config { waiting_jobs: 1, ..Config::default() }, |_| {});
    bench.put("/v1/tasks/sst2", super::bench::task()).await.expect(200);
    let search = || post("/v1/searches", json!({"task": "sst2", "budget": "5%"}));
    bench.call(search()).await.expect(202);
    check(&bench, search(), 429, "too_many_jobs", "1 jobs wait").await;
    assert_eq!(bench.call(search()).await.header("retry-after"), "1");
}

#[tokio::test]
async fn foreign_hosts_and_origins() {
    let bench = Bench::new();
    let with = |method: &str, host: &str, origin: &str| {
        let request = Request::builder().method(method).uri("/v1/models").header("host", host);
        request.header("origin", origin).body(Body::empty()).unwrap()
    };
    let rebound = with("GET", "evil.example:8080", "http://evil.example:8080");
    check(&bench, rebound, 403, "host_refused", "evil.example").await;
    let crossing = with("POST", "localhost:8080", "http://evil.example");
    check(&bench, crossing, 403, "origin_refused", "evil.example").await;
    let sandboxed = with("POST", "localhost:8080", "null");
    check(&bench, sandboxed, 403, "origin_refused", "null").await;
    bench.call(with("GET", "localhost:8080", "http://evil.example")).await.expect(200);
    let own = with("POST", "localhost:8080", "http://localhost:8080");
    check(&bench, own, 405, "method_not_allowed", "`allow`").await;
}
