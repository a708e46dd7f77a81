//! A server on a socket: it answers, and stops without cutting off those who wait.

use super::bench::Bench;
use burn::tensor::Device;
use s3delta::{
    api::{AppState, Tokens, bind, serve},
    config::Config,
    serve::{Error, Event, GenerateRequest, Settings, Text, start},
    t5::{Backbone, DecodeSettings},
};
use serde_json::json;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_event_streams_and_puts_jobs_back() {
    let bench = Bench::stocked().await;
    let job = bench.post("/v1/searches", json!({"task": "sst2", "budget": "5%"})).await.expect(202);
    let id = job["id"].as_str().unwrap().to_string();
    let config = Config { port: 0, ..Config::default() };
    let listener = bind(&config, &Tokens::default()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, bench.state.clone(), async move { stopped.await.unwrap_or_default() }));
    let (first, seen) = oneshot::channel();
    let watcher = tokio::task::spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        let request = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut text = vec![0; 64];
        socket.read_exact(&mut text).unwrap();
        first.send(()).unwrap();
        socket.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    });
    seen.await.unwrap();
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    let text = watcher.await.unwrap();
    assert!(text.contains("event: state") && text.contains("\"queued\""), "{text}");
    // the chunked body came to its proper end
    assert!(text.ends_with("0\r\n\r\n"), "{text}");
    let refused = bench.post("/v1/searches", json!({"task": "sst2", "budget": "5%"})).await.expect(503);
    assert_eq!(refused["error"]["code"], "server_stopping");
}

/// Answers that take longer than a stop may are dropped, and their clients hear so.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stop_takes_no_longer_than_it_may() {
    let folder = crate::reference::folder("tiny-v1.1");
    let backbone = Arc::new(Backbone::open(&folder, &Device::flex()).unwrap());
    let config = Config { port: 0, shutdown_seconds: 1, ..Config::default() };
    let slow = Settings { max_new_tokens: 60_000, ..Settings::default() };
    let engine = start(backbone.clone(), Arc::new(Text::of(&backbone)), slow).unwrap();
    let keeps_on = DecodeSettings { min_new_tokens: 60_000, ..DecodeSettings::new(&backbone.config, 60_000) };
    let request = GenerateRequest { adapter: None, ids: vec![5, 1], settings: Arc::new(keeps_on) };
    let mut running = engine.generate(request).unwrap();
    assert!(matches!(running.recv().await, Some(Event::Token { .. })));

    let bench = Bench::new();
    let state = AppState::new(bench.registry.clone(), engine, bench.jobs.clone(), config.clone(), Tokens::default());
    let listener = bind(&config, &Tokens::default()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, state, async move { stopped.await.unwrap_or_default() }));
    // a connection that never ends its request
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let head = "content-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    socket.write_all(format!("POST /v1/completions HTTP/1.1\r\nhost: {address}\r\n{head}").as_bytes()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?} for one second", begun.elapsed());
    let last = std::iter::from_fn(|| running.try_recv()).last();
    assert_eq!(last, Some(Event::Failed(Error::Stopped)));
}
