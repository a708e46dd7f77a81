//! Each route as it is meant to be used.

use super::bench::{BACKBONE, Bench, Step, json_request, structure, task, weights, weights_that_say};
use axum::{body::Body, http::Request};
use http_body_util::BodyExt;
use s3delta::config::Config;
use s3delta::jobs::Progress;
use serde_json::{Value, json};

#[tokio::test]
async fn health_and_backbone() {
    let bench = Bench::new();
    assert_eq!(bench.get("/healthz").await.expect(200), json!({"status": "ok"}));
    assert_eq!(bench.get("/readyz").await.expect(200), json!({"status": "ready"}));
    let backbone = bench.get("/v1/backbone").await.expect(200);
    assert_eq!((&backbone["digest"], &backbone["weights"]), (&json!(BACKBONE), &json!("f32")));
    let metrics = bench.get("/metrics").await.text();
    assert!(metrics.contains("s3delta_jobs{state=\"queued\"} 0"), "{metrics}");
    assert!(metrics.contains("s3delta_requests_total{route=\"/healthz\",outcome=\"success\"}"), "{metrics}");
    assert!(metrics.contains("s3delta_request_duration_seconds_bucket"), "{metrics}");
    let document = bench.get("/openapi.json").await.expect(200);
    assert_eq!(document, serde_json::to_value(s3delta::api::openapi()).unwrap());
    assert_eq!(bench.get("/").await.header("content-type"), "text/html; charset=utf-8");
}

#[tokio::test]
async fn request_ids_are_kept_or_made() {
    let bench = Bench::new();
    let with = |id: &str| Request::get("/healthz").header("x-request-id", id).body(Body::empty()).unwrap();
    assert_eq!(bench.call(with("mine-1")).await.header("x-request-id"), "mine-1");
    let made = bench.call(with("not an id!")).await;
    assert!(made.header("x-request-id").len() == 16, "{made:?}");
    let failed = bench.get("/v1/structures/0000").await;
    assert_eq!(failed.json()["error"]["request_id"], failed.header("x-request-id"));
}

#[tokio::test]
async fn structures() {
    let bench = Bench::new();
    let document = serde_json::to_value(structure()).unwrap();
    let made = bench.post("/v1/structures", document.clone()).await;
    let id = document["id"].as_str().unwrap();
    assert_eq!(made.header("location"), format!("/v1/structures/{id}"));
    assert_eq!(made.expect(201), document);
    assert_eq!(bench.post("/v1/structures", document.clone()).await.expect(200), document);
    let mut found = bench.get(&format!("/v1/structures/{id}")).await.expect(200);
    assert_eq!(bench.get(&format!("/v1/structures/{}", &id[..8])).await.expect(200), found);
    let again = bench.post("/v1/structures", found.clone()).await.expect(200);
    assert_eq!(again["id"], id, "what the server told of it is no part of it");
    let serving = found.as_object_mut().unwrap().remove("serving").unwrap();
    assert_eq!(found, document);
    assert_eq!(serving["first_position"], "encoder.block.0.layer.0.SelfAttention.q");
    assert_eq!((&serving["shares_encoder"], &serving["shares_keys_values"]), (&json!(false), &json!(false)));
    assert_eq!((&serving["parameters"], &serving["bytes"]), (&json!(192), &json!(4 * 192)));
    let measured = &serving["measured"];
    let [request, source, token] = ["request_microseconds", "source_microseconds", "token_microseconds"]
        .map(|name| measured[name].as_f64().unwrap());
    assert!(source > 0.0 && token > 0.0 && (request - source - 16.0 * token).abs() < 1e-6, "{measured}");
    let list = bench.get("/v1/structures?source_task=sst2&space=mix&limit=5").await.expect(200);
    let entry = &list["data"][0];
    assert_eq!((&entry["id"], &entry["modules"], &entry["parameters"]), (&json!(id), &json!(2), &json!(192)));
    assert_eq!(entry["by_kind"]["lora"], json!({"modules": 1, "parameters": 128}));
    assert_eq!((&entry["source_tasks"], &entry["spaces"]), (&json!(["sst2"]), &json!(["mix"])));
    assert_eq!(bench.get("/v1/structures?source_task=cola").await.expect(200)["data"], json!([]));
    bench.delete(&format!("/v1/structures/{id}")).await.expect(204);
    bench.get(&format!("/v1/structures/{id}")).await.expect(404);
}

#[tokio::test]
async fn a_structure_from_nowhere_is_an_upload() {
    let bench = Bench::new();
    let mut document = serde_json::to_value(structure()).unwrap();
    document.as_object_mut().unwrap().remove("provenance");
    let stored = bench.post("/v1/structures", document.clone()).await.expect(201);
    assert_eq!(stored["provenance"][0]["origin"], "upload");
    assert_eq!(bench.post("/v1/structures", document).await.expect(200), stored);
    assert_eq!(bench.get("/v1/structures").await.expect(200)["data"][0]["origin"], "upload");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        let mut upload = task();
        upload["definition"]["name"] = name.into();
        bench.put(&format!("/v1/tasks/{name}"), upload).await.expect(200);
    }
    let first = bench.get("/v1/tasks?limit=2").await.expect(200);
    let names = |page: &Value| page["data"].as_array().unwrap().iter().map(|t| t["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&first), ["a", "b"]);
    let next = format!("/v1/tasks?limit=2&cursor={}", first["next_cursor"].as_str().unwrap());
    let last = bench.get(&next).await.expect(200);
    assert_eq!((names(&last), &last["next_cursor"]), (vec!["c".into()], &Value::Null));
}

#[tokio::test]
async fn tasks() {
    let bench = Bench::new();
    let stored = bench.put("/v1/tasks/sst2", task()).await.expect(200);
    assert_eq!(stored["rows"], json!({"train": 2, "dev": 2, "test": 2}));
    assert_eq!(bench.get("/v1/tasks/sst2").await.expect(200), stored);
    assert_eq!(stored["definition"]["template"], "sst2 sentence: {sentence}");
    bench.delete("/v1/tasks/sst2").await.expect(204);
    bench.get("/v1/tasks/sst2").await.expect(404);
}

#[tokio::test]
async fn adapters_and_their_weights() {
    let bench = Bench::stocked().await;
    let adapter = bench.get("/v1/adapters/sst2").await.expect(200);
    let generation = &adapter["generations"][0];
    assert_eq!((&generation["task"]["name"], &generation["parameters"]), (&json!("sst2"), &json!(192)));
    assert_eq!(bench.get("/v1/adapters").await.expect(200)["data"], json!([adapter]));
    let digest = generation["digest"].as_str().unwrap();
    let path = format!("/v1/adapters/sst2/generations/{digest}/weights");
    let download = bench.get(&path).await;
    assert_eq!(download.bytes, weights(0.5, BACKBONE));
    assert_eq!(download.header("content-length"), download.bytes.len().to_string());
    let again = Request::get(&path).header("if-none-match", download.header("etag")).body(Body::empty()).unwrap();
    assert_eq!(bench.call(again).await.status.as_u16(), 304);
    assert_eq!(bench.get("/v1/adapters/sst2/generations/latest/weights").await.bytes, download.bytes);
    let models = bench.get("/v1/models").await.expect(200);
    assert_eq!((&models["data"][0]["id"], &models["data"][1]["id"]), (&json!("tiny"), &json!("sst2")));
    assert_eq!(models["data"][1]["root"], format!("sst2@{digest}"));
    bench.delete("/v1/adapters/sst2").await.expect(204);
    bench.get("/v1/adapters/sst2").await.expect(404);
}

#[tokio::test]
async fn the_same_upload_again_is_the_same_generation() {
    let bench = Bench::stocked().await;
    let before = bench.stored();
    bench.upload(&[("task", "sst2")], &weights(0.5, BACKBONE)).await.expect(201);
    assert_eq!(bench.stored(), before);
    let id = structure().id;
    let adapter = bench.upload(&[("structure", &id), ("aliases", "a, b")], &weights(0.25, BACKBONE)).await.expect(201);
    assert_eq!(adapter["generations"].as_array().unwrap().len(), 2);
    let second = &adapter["generations"][1]["digest"];
    assert_eq!((&adapter["aliases"]["a"], &adapter["aliases"]["b"]), (second, second));
    assert_ne!(&adapter["aliases"]["latest"], second);
}

#[tokio::test]
async fn an_upload_keeps_the_task_that_its_weights_name() {
    let bench = Bench::stocked().await;
    let known = bench.get("/v1/tasks/sst2").await.expect(200)["digest"].clone();
    let mut value = 1.0;
    let mut check = async |part: Option<&str>, named: Value, wanted: Value| {
        let mut metadata = json!({"backbone_digest": BACKBONE});
        metadata.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
        value += 1.0; // other weights, another generation
        let parts: Vec<_> = part.map(|task| ("task", task)).into_iter().collect();
        let adapter = bench.upload(&parts, &weights_that_say(value, metadata)).await.expect(201);
        assert_eq!(adapter["generations"].as_array().unwrap().last().unwrap()["task"], wanted, "{named}");
    };
    let of = |name: &str, digest: &Value| json!({"name": name, "digest": digest});
    let other = json!("f".repeat(32));
    check(None, json!({"task": "sst2"}), of("sst2", &known)).await;
    check(None, json!({"task": "sst2", "task_digest": known}), of("sst2", &known)).await;
    // a version, or a task, that this registry does not have: what they were trained on all the same
    check(None, json!({"task": "sst2", "task_digest": other}), of("sst2", &other)).await;
    check(None, json!({"task": "cola", "task_digest": other}), of("cola", &other)).await;
    check(Some("sst2"), json!({"task": "cola", "task_digest": other}), of("sst2", &known)).await;
    // words of another maker
    check(None, json!({"task": "cola"}), Value::Null).await;
    check(None, json!({"task": "text classification", "task_digest": other}), Value::Null).await;
    check(None, json!({"task": "sst2", "task_digest": "7"}), of("sst2", &known)).await;
}

#[tokio::test]
async fn weights_of_another_backbone_by_leave() {
    let bench = Bench::new();
    let other = "f".repeat(32);
    let adapter = bench.upload(&[("allow_backbone_mismatch", "true")], &weights(0.5, &other)).await.expect(201);
    let generation = &adapter["generations"][0];
    assert_eq!((&generation["backbone_digest"], &generation["allow_backbone_mismatch"]), (&json!(other), &json!(true)));
    bench.post("/v1/completions", json!({"model": "sst2", "prompt": "hi"})).await.expect(200);
}

#[tokio::test]
async fn aliases_move_by_compare_and_set() {
    let bench = Bench::stocked().await;
    let adapter = bench.upload(&[], &weights(0.25, BACKBONE)).await.expect(201);
    let digest = |i: usize| adapter["generations"][i]["digest"].as_str().unwrap().to_string();
    let (first, second) = (digest(0), digest(1));
    let put = async |to: &str, header: (&str, String)| {
        let mut request = json_request("PUT", "/v1/adapters/sst2/aliases/production", &json!({"generation": to}));
        if !header.0.is_empty() {
            request
                .headers_mut()
                .insert(axum::http::HeaderName::try_from(header.0).unwrap(), header.1.parse().unwrap());
        }
        bench.call(request).await
    };
    put(&first, ("if-none-match", "*".into())).await.expect(200);
    let stale = put(&second, ("if-none-match", "*".into())).await.expect(409);
    assert_eq!(stale["error"]["code"], "alias_stale");
    put(&second, ("if-match", format!("\"{second}\""))).await.expect(409);
    let moved = put(&second, ("if-match", format!("\"{first}\""))).await;
    assert_eq!(moved.header("etag"), format!("\"{second}\""));
    assert_eq!(moved.expect(200)["aliases"]["production"], second.as_str());
    put(&second, ("if-match", "*".into())).await.expect(400);
    put(&first, ("", String::new())).await.expect(200);
    let in_use = bench.delete(&format!("/v1/adapters/sst2/generations/{first}")).await.expect(409);
    assert_eq!(in_use["error"]["code"], "generation_in_use");
    bench.delete("/v1/adapters/sst2/aliases/production").await.expect(200);
    bench.delete(&format!("/v1/adapters/sst2/generations/{first}")).await.expect(204);
    bench.delete("/v1/adapters/sst2/aliases/production").await.expect(404);
}

fn usage(prompt: usize, made: usize, cached: usize) -> Value {
    let details = json!({"cached_tokens": cached});
    json!({"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made,
        "prompt_tokens_details": details})
}

#[tokio::test]
async fn completions() {
    let bench = Bench::stocked().await;
    let ask = |value: Value| bench.post("/v1/completions", value);
    let bare = ask(json!({"model": "tiny", "prompt": ["one", "two"]})).await.expect(200);
    assert_eq!((&bare["object"], &bare["adapter_generation"]), (&json!("text_completion"), &Value::Null));
    let choice =
        |i: usize, text: &str, why: &str| json!({"index": i, "text": text, "logprobs": null, "finish_reason": why});
    assert_eq!(bare["choices"], json!([choice(0, "one", "stop"), choice(1, "two", "stop")]));
    assert_eq!(bare["usage"], usage(8, 6, 0));
    let again = ask(json!({"model": "tiny", "prompt": ["again", "two"]})).await.expect(200);
    assert_eq!(again["usage"], usage(10, 8, 6), "tokens of prompts whose encoding was there");
    let adapter = bench.get("/v1/adapters/sst2").await.json();
    let digest = adapter["aliases"]["latest"].as_str().unwrap();
    let answer = ask(json!({"model": "sst2@latest", "prompt": "hi"})).await.expect(200);
    assert_eq!(answer["choices"][0]["text"], format!("hi|{digest}"));
    assert_eq!(answer["adapter_generation"], digest);
    let short = ask(json!({"model": "tiny", "prompt": "hello", "max_tokens": 2, "temperature": 0})).await.expect(200);
    assert_eq!(short["choices"], json!([choice(0, "he", "length")]));
    let stopped = ask(json!({"model": "tiny", "prompt": "a. b. c", "stop": [". c", ". b"]})).await.expect(200);
    assert_eq!(stopped["choices"], json!([choice(0, "a", "stop")]));
    let ids = ask(json!({"model": "tiny", "prompt": [[107, 108], [107, 108, 1]]})).await.expect(200);
    assert_eq!((&ids["choices"][0]["text"], &ids["choices"][1]["text"]), (&json!("hi"), &json!("hi")));
}

#[tokio::test]
async fn completions_with_several_texts_and_log_probabilities() {
    let bench = Bench::new();
    let ask = |value: Value| bench.post("/v1/completions", value);
    let drawn = json!({"model": "tiny", "prompt": ["a", "b"], "n": 2, "best_of": 2, "temperature": 1, "top_p": 0.5});
    let drawn = ask(drawn).await.expect(200);
    let texts: Vec<_> = drawn["choices"].as_array().unwrap().iter().map(|c| (&c["index"], &c["text"])).collect();
    let wanted = ["a", "a#1", "b", "b#1"].map(Value::from);
    assert!(texts.iter().enumerate().all(|(at, (index, text))| **index == at && **text == wanted[at]), "{drawn}");
    assert_eq!(drawn["usage"], usage(4, 8, 0));

    let told = ask(json!({"model": "tiny", "prompt": "aé.", "logprobs": 2, "stop": "."})).await.expect(200);
    let found = &told["choices"][0];
    assert_eq!(found["text"], "aé");
    assert_eq!(found["logprobs"]["token_logprobs"], json!([-0.5, -0.5, -0.5]));
    assert_eq!(found["logprobs"]["top_logprobs"][0], json!({"a": -0.5, "b": -1.5}));
    let told = ask(json!({"model": "tiny", "prompt": "ab", "logprobs": 0})).await.expect(200);
    let wanted =
        json!({"tokens": ["a", "b"], "token_logprobs": [-0.5, -0.5], "top_logprobs": null, "text_offset": [0, 1]});
    assert_eq!(told["choices"][0]["logprobs"], wanted);

    let search = json!({"num_beams": 3, "n": 2, "length_penalty": 2, "early_stopping": "never"});
    let mut beams = json!({"model": "tiny", "prompt": "x. y", "stop": ". y#"});
    beams.as_object_mut().unwrap().extend(search.as_object().unwrap().clone());
    let beams = ask(beams).await.expect(200);
    assert_eq!((&beams["choices"][0]["text"], &beams["choices"][1]["text"]), (&json!("x. y"), &json!("x")));
}

#[tokio::test]
async fn completions_stream() {
    let bench = Bench::new();
    let options = json!({"include_usage": true});
    let request = json!({"model": "tiny", "prompt": ["é.", "b"], "stream": true, "stream_options": options});
    let reply = bench.post("/v1/completions", request).await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let text = reply.text();
    let mut parts: Vec<_> = text.split("\n\n").filter(|part| !part.is_empty()).collect();
    assert_eq!(parts.pop(), Some("data: [DONE]"));
    let parts: Vec<Value> =
        parts.iter().map(|part| serde_json::from_str(part.strip_prefix("data: ").unwrap()).unwrap()).collect();
    let (last, parts) = parts.split_last().unwrap();
    assert_eq!(last["usage"], usage(6, 4, 0));
    let of = |index: usize| {
        let choices = parts.iter().map(|part| &part["choices"][0]).filter(move |choice| choice["index"] == index);
        choices.map(|choice| (choice["text"].as_str().unwrap().to_string(), choice["finish_reason"].clone()))
    };
    let part = |text: &str, why: Value| (text.to_string(), why);
    let null = Value::Null;
    assert_eq!(of(0).collect::<Vec<_>>(), [part("é", null.clone()), part(".", null.clone()), part("", json!("stop"))]);
    assert_eq!(of(1).collect::<Vec<_>>(), [part("b", null), part("", json!("stop"))]);
}

#[tokio::test]
async fn completions_stream_several_texts_with_log_probabilities() {
    let bench = Bench::new();
    let request =
        json!({"model": "tiny", "prompt": ["é", "b"], "n": 2, "temperature": 1, "logprobs": 0, "stream": true});
    let text = bench.post("/v1/completions", request).await.text();
    let mut texts = vec![String::new(); 4];
    let (mut tokens, mut ends) = (vec![0; 4], 0);
    for part in text.split("\n\n").filter_map(|part| part.strip_prefix("data: {")) {
        let part: Value = serde_json::from_str(&format!("{{{part}")).unwrap();
        let choice = &part["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        texts[index] += choice["text"].as_str().unwrap();
        tokens[index] += choice["logprobs"]["tokens"].as_array().unwrap().len();
        ends += usize::from(choice["finish_reason"] == "stop");
    }
    assert_eq!((texts, tokens, ends), (["é", "é#1", "b", "b#1"].map(String::from).to_vec(), vec![2, 4, 1, 3], 4));
}

#[tokio::test]
async fn predictions() {
    let bench = Bench::stocked().await;
    let inputs = json!([{"sentence": "so positive"}, {"sentence": "how negative"}]);
    let answer = bench.post("/v1/predictions", json!({"adapter": "sst2", "inputs": inputs})).await.expect(200);
    let data = &answer["data"][0];
    assert_eq!((&data["adapter"], &data["task"]), (&json!("sst2"), &json!("sst2")));
    let adapter = bench.get("/v1/adapters/sst2").await.json();
    assert_eq!(data["adapter_generation"], adapter["aliases"]["latest"]);
    let labels: Vec<_> = data["predictions"].as_array().unwrap().iter().map(|p| p["label"].clone()).collect();
    assert_eq!(labels, ["positive", "negative"]);
    let scores = &data["predictions"][0]["scores"];
    let (yes, no) = (scores["positive"].as_f64().unwrap(), scores["negative"].as_f64().unwrap());
    assert!((yes + no - 1.0).abs() < 1e-9 && (yes / no - 1.9f64.exp()).abs() < 1e-3, "{scores}");
    assert_eq!(answer["usage"]["encoder_shared"], 0);
    let several = json!({"adapters": ["sst2", "tiny"], "task": "sst2", "inputs": inputs, "top_k": 1});
    let answer = bench.post("/v1/predictions", several).await.expect(200);
    for (input, label) in ["positive", "negative"].iter().enumerate() {
        for data in answer["data"].as_array().unwrap() {
            let found = &data["predictions"][input];
            assert_eq!((&found["label"], &found["top"][0]["label"]), (&json!(label), &json!(label)), "{answer}");
            assert_eq!((found["top"].as_array().unwrap().len(), found["scores"].as_object().unwrap().len()), (1, 1));
        }
    }
    assert_eq!(
        (&answer["data"][1]["adapter"], &answer["data"][1]["adapter_generation"]),
        (&json!("tiny"), &Value::Null)
    );
}

/// More inputs than the queue holds wait for one another.
#[tokio::test]
async fn predictions_need_no_more_places_than_there_are() {
    let bench = Bench::with(Config { queue: 3, ..Config::default() }, |_| {});
    bench.put("/v1/tasks/sst2", task()).await.expect(200);
    bench.upload(&[("task", "sst2")], &weights(0.5, BACKBONE)).await.expect(201);
    let inputs: Vec<_> = (0..40).map(|n| json!({"sentence": format!("film {n}")})).collect();
    let answer = bench.post("/v1/predictions", json!({"adapter": "sst2", "inputs": inputs})).await.expect(200);
    assert_eq!(answer["data"][0]["predictions"].as_array().unwrap().len(), 40);
}

/// So do prompts, whole and streamed; and how streams end is counted.
#[tokio::test]
async fn completions_need_no_more_places_than_there_are() {
    let bench = Bench::with(Config { queue: 3, ..Config::default() }, |_| {});
    let prompts: Vec<_> = (0..40).map(|n| format!("{n:02}")).collect();
    let ask = |stream: bool| {
        json_request("POST", "/v1/completions", &json!({"model": "tiny", "prompt": prompts, "stream": stream}))
    };
    let choices = |body: &Value| -> Vec<(u64, String)> {
        let choices = body["choices"].as_array().unwrap().iter();
        choices.map(|one| (one["index"].as_u64().unwrap(), one["text"].as_str().unwrap().to_string())).collect()
    };
    let whole = choices(&bench.call(ask(false)).await.expect(200));
    assert!(whole.iter().enumerate().all(|(at, (index, text))| *index == at as u64 && !text.is_empty()), "{whole:?}");
    assert_eq!(whole.len(), 40);
    let counted = |outcome: &str| format!("s3delta_streams_total{{route=\"/v1/completions\",outcome=\"{outcome}\"}}");
    let text = bench.call(ask(true)).await.text();
    let mut texts = vec![String::new(); 40];
    for line in text.lines().filter_map(|line| line.strip_prefix("data: {")) {
        for (index, part) in choices(&serde_json::from_str(&format!("{{{line}")).unwrap()) {
            texts[index as usize] += &part;
        }
    }
    assert!(whole.iter().map(|(_, text)| text).eq(&texts), "{texts:?}");
    assert!(bench.get("/metrics").await.text().contains(&counted("success")));
    let failed = json_request("POST", "/v1/completions", &json!({"model": "tiny", "prompt": "fail", "stream": true}));
    bench.call(failed).await.text();
    drop(bench.send(ask(true)).await);
    let metrics = bench.get("/metrics").await.text();
    assert!(metrics.contains(&counted("server_error")) && metrics.contains(&counted("abandoned")), "{metrics}");
}

#[tokio::test]
async fn predictions_tell_what_was_shared() {
    let bench = Bench::stocked().await;
    let inputs = json!([{"sentence": "again"}, {"sentence": "new"}]);
    let several = json!({"adapters": ["sst2", "tiny"], "task": "sst2", "inputs": inputs});
    let answer = bench.post("/v1/predictions", several).await.expect(200);
    let tokens = |text: &str| format!("sst2 sentence: {text}").len() + 1;
    let (again, new) = (tokens("again"), tokens("new"));
    let usage = json!({"inputs": 4, "encoder_shared": 2, "keys_values_shared": 0, "prompt_tokens": 2 * (again + new),
        "cached_tokens": 2 * again});
    assert_eq!(answer["usage"], usage);
}

#[tokio::test]
async fn predictions_keep_to_the_task_that_was_trained_on() {
    let bench = Bench::stocked().await;
    let mut other = task();
    other["definition"]["template"] = "another: {sentence}".into();
    bench.put("/v1/tasks/sst2", other).await.expect(200);
    let ask = |task: Value| json!({"adapter": "sst2", "task": task, "inputs": [{"sentence": "x"}]});
    let refused = bench.post("/v1/predictions", ask(Value::Null)).await.expect(409);
    assert_eq!(refused["error"]["code"], "task_changed");
    bench.post("/v1/predictions", ask(json!("sst2"))).await.expect(200);
}

#[tokio::test]
async fn jobs_are_accepted_watched_and_cancelled() {
    let bench = Bench::stocked().await;
    let search = || json_request("POST", "/v1/searches", &json!({"task": "sst2", "budget": "5%"}));
    let accepted = bench.call(search()).await;
    let path = accepted.header("location").to_string();
    let job = accepted.expect(202);
    assert_eq!(
        (&job["state"], &job["kind"], &job["request"]["space"]),
        (&json!("queued"), &json!("search"), &json!("mix"))
    );
    assert_eq!(bench.get(&path).await.expect(200), job);
    let watch = bench.send(Request::get(format!("{path}/events")).body(Body::empty()).unwrap()).await;
    bench.steps.send(Step::Progress(Progress { step: 3, total_steps: 9, ..Progress::default() })).unwrap();
    bench.steps.send(Step::Finish(json!({"structure": "x"}))).unwrap();
    bench.jobs.start(true).unwrap();
    let text = String::from_utf8(watch.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let events: Vec<(&str, Value)> = text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("event: ")?.split_once("\ndata: "))
        .map(|(name, data)| (name, serde_json::from_str(data).unwrap()))
        .collect();
    let names: Vec<_> = events.iter().map(|(name, data)| (*name, data["state"].as_str().unwrap_or(""))).collect();
    assert_eq!(names, [("state", "queued"), ("state", "running"), ("progress", ""), ("state", "succeeded")]);
    assert_eq!((&events[2].1["step"], &events[3].1["result"]["structure"]), (&json!(3), &json!("x")));
    assert_eq!(events[3].1["progress"]["step"], 3);
    let ended = bench.get(&format!("{path}/events")).await.text();
    assert_eq!(ended.matches("event: state").count(), 1, "{ended}");

    let second = bench.call(search()).await.expect(202);
    let cancelled =
        bench.post(&format!("/v1/jobs/{}/cancel", second["id"].as_str().unwrap()), json!({})).await.expect(200);
    assert!(cancelled["state"] == "cancelled" || cancelled["cancel_requested"] == true, "{cancelled}");
    let list = bench.get("/v1/jobs?kind=search&state=succeeded").await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    bench.delete(&path).await.expect(204);
    bench.get(&path).await.expect(404);
}

#[tokio::test]
async fn every_kind_of_job_is_accepted() {
    let bench = Bench::stocked().await;
    let accepted = async |path: &str, body: Value| bench.post(path, body).await.expect(202);
    accepted("/v1/retrains", json!({"structure": structure().id, "task": "sst2"})).await;
    accepted("/v1/retrains", json!({"structure": "random", "budget": "5%", "task": "sst2"})).await;
    let transfer = accepted("/v1/transfers", json!({"source": "sst2", "target": "sst2"})).await;
    assert_eq!(transfer["request"]["source"], structure().id, "another search may end before the job does");
    assert_eq!(transfer["request"]["adapter"], "sst2-from-sst2", "named after what was asked for");
    let evaluation = accepted("/v1/evaluations", json!({"adapter": "sst2", "task": "sst2", "split": "dev"})).await;
    // an alias may move before the job runs
    assert!(evaluation["request"]["adapter"].as_str().unwrap().starts_with("sst2@"), "{evaluation}");
    accepted("/v1/evaluations", json!({"task": "sst2"})).await;
    assert_eq!(bench.get("/v1/jobs").await.expect(200)["data"].as_array().unwrap().len(), 5);
    assert_eq!(bench.get("/v1/transfers").await.expect(200), json!({"data": [], "next_cursor": null}));
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_job() {
    let bench = Bench::stocked().await;
    let submit = async |budget: &str| {
        let mut request = json_request("POST", "/v1/searches", &json!({"task": "sst2", "budget": budget}));
        request.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
        bench.call(request).await
    };
    let first = submit("5%").await.expect(202);
    assert_eq!(submit("5%").await.expect(202)["id"], first["id"]);
    let mut task = super::bench::task();
    task["rows"]["train"][0]["fields"]["sentence"] = "another text".into();
    bench.call(json_request("PUT", "/v1/tasks/sst2", &task)).await.expect(200);
    let again = submit("5%").await.expect(202);
    assert_eq!(again["id"], first["id"], "what the names stand for is that of the first call");
    assert_eq!(submit("6%").await.expect(409)["error"]["code"], "idempotency_key_reused");
}
