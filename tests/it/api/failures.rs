//! What happens when parts of the server fail, are busy, or change under a request.

use super::bench::{BACKBONE, Bench, json_request, weights};
use axum::{body::Body, http::Request};
use http_body_util::BodyExt;
use s3delta::config::Config;
use serde_json::{Value, json};

fn ask(prompt: &str, stream: bool) -> Request<Body> {
    json_request("POST", "/v1/completions", &json!({"model": "tiny", "prompt": prompt, "stream": stream}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_told_at_once() {
    let bench = Bench::with(Config { queue: 1, ..Config::default() }, |_| {});
    let at_work = bench.begin(ask("wait", true));
    bench.reached.recv().unwrap();
    let queued = bench.begin(ask("next", true));
    while bench.engine.queued() == 0 {
        tokio::task::yield_now().await;
    }
    let refused = bench.call(ask("too many", false)).await;
    assert_eq!(refused.header("retry-after"), "1");
    let error = refused.expect(429)["error"].clone();
    assert_eq!((&error["code"], &error["type"]), (&json!("queue_full"), &json!("rate_limit_error")));
    bench.open.send(()).unwrap();
    for (reply, text) in [(at_work, "\"text\":\"w\""), (queued, "\"text\":\"n\"")] {
        let body = reply.await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.contains(text) && body.ends_with("data: [DONE]\n\n"), "{body}");
    }
}

#[tokio::test]
async fn an_engine_that_fails_keeps_its_reasons_to_the_log() {
    let bench = Bench::new();
    let failed = bench.call(ask("fail", false)).await;
    assert!(!failed.text().contains("0xdead"), "{}", failed.text());
    assert_eq!(failed.expect(500)["error"]["code"], "internal_error");
    let two = json!({"model": "tiny", "prompt": ["fine", "fail"], "stream": true});
    let streamed = bench.call(json_request("POST", "/v1/completions", &two)).await;
    let text = streamed.text();
    let part = |line: &str| line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
    let error = text.lines().filter_map(part).find(|part| part["error"].is_object()).unwrap();
    assert_eq!(error["error"]["code"], "internal_error");
    assert_eq!(error["error"]["request_id"], streamed.header("x-request-id"));
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    bench.call(ask("fine", false)).await.expect(200);
}

#[tokio::test]
async fn what_the_engine_refuses_has_its_status_and_field_in_a_stream_too() {
    let bench = Bench::new();
    for (prompt, status, code) in
        [("misfit", 409, "adapter_not_servable"), ("damage", 500, "adapter_damaged"), ("fail", 500, "internal_error")]
    {
        for stream in [false, true] {
            let error = bench.call(ask(prompt, stream)).await.expect(status)["error"].clone();
            let param = if prompt == "fail" { Value::Null } else { json!("model") };
            assert_eq!((&error["code"], &error["param"]), (&json!(code), &param), "{prompt}, stream {stream}");
        }
    }
}

#[tokio::test]
async fn an_engine_that_dies_makes_the_server_unready() {
    let bench = Bench::new();
    bench.get("/readyz").await.expect(200);
    assert_eq!(bench.call(ask("die", false)).await.expect(503)["error"]["code"], "engine_stopped");
    assert!(bench.reached.recv().is_err(), "the answer comes while the thread still unwinds");
    assert_eq!(bench.get("/readyz").await.expect(503)["error"]["code"], "engine_stopped");
    bench.get("/healthz").await.expect(200);
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_next_request_is_served() {
    let bench = Bench::new();
    for prompt in ["unreadable", "poison"] {
        let failed = bench.call(ask(prompt, false)).await;
        assert!(!failed.text().contains("dies of"), "{}", failed.text());
        assert_eq!(failed.expect(500)["error"]["code"], "internal_error", "{prompt}");
        bench.call(ask("fine", false)).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_keeps_the_generation_that_it_began_with() {
    let bench = Bench::stocked().await;
    let before = bench.get("/v1/adapters/sst2").await.json()["aliases"]["latest"].clone();
    let ask = |prompt: &str| json!({"model": "sst2", "prompt": prompt, "stream": true, "max_tokens": 80});
    let under_way = bench.begin(json_request("POST", "/v1/completions", &ask("wait")));
    bench.reached.recv().unwrap();
    bench.upload(&[], &weights(0.25, BACKBONE)).await.expect(201);
    let path = format!("/v1/adapters/sst2/generations/{}", before.as_str().unwrap());
    bench.delete(&path).await.expect(204);
    let stored = bench.stored();
    bench.open.send(()).unwrap();
    let body = under_way.await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.contains(&format!("\"adapter_generation\":{before}")), "{body}");
    // its weights stayed until the last part was sent, and went then
    assert_ne!(bench.stored(), stored);
    let after = bench.post("/v1/completions", json!({"model": "sst2", "prompt": "x"})).await.expect(200);
    assert_ne!(after["adapter_generation"], before);
}
