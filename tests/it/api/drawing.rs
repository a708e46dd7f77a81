//! Sampling through the API over a real engine.

use super::bench::json_request;
use super::changing::{call, serving};
use s3delta::serve::Settings;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// Without a seed each of equal prompts draws for itself, and so does each request; with one all draw alike, as often as they are asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_prompts_differ_unless_a_seed_is_given() {
    let backbone = Arc::new(crate::reference::backbone("tiny-v1.1"));
    let (_home, engine, router) = serving(&backbone, Settings::default());
    let ask = async |seed: Value| {
        let prompts = vec![vec![5, 42, 79, 1]; 6];
        let mut request = json!({"model": &backbone.name, "prompt": prompts, "max_tokens": 16, "min_new_tokens": 16});
        (request["temperature"], request["seed"]) = (json!(2.0), seed);
        let (status, answer) = call(&router, json_request("POST", "/v1/completions", &request)).await;
        assert_eq!(status, 200, "{answer}");
        let choices = answer["choices"].as_array().unwrap().clone();
        choices.iter().map(|choice| choice["text"].to_string()).collect::<HashSet<_>>()
    };
    let (first, second) = (ask(Value::Null).await, ask(Value::Null).await);
    assert_eq!((first.len(), first.intersection(&second).count()), (6, 0), "{first:?} {second:?}");
    let seeded = ask(json!(7)).await;
    assert_eq!((seeded.len(), ask(json!(7)).await), (1, seeded.clone()));
    assert_ne!(ask(json!(8)).await, seeded);
    engine.shutdown().await;
}
