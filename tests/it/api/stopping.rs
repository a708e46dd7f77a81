//! A server on a socket: it answers, and stops without cutting off those who wait.

use super::bench::Bench;
use s3delta::{
    api::{Tokens, bind, serve},
    config::Config,
};
use serde_json::json;
use std::io::{Read, Write};
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
