//! How requests' texts are read: text by text in turn, and of no more requests at a time than may wait.

use super::bench::json_request;
use super::changing::{call, serving_with};
use axum::Router;
use s3delta::config::Config;
use s3delta::serve::{Engine, Result, Settings, Text, TextPart, TextStream, Tokenize};
use s3delta::t5::Tokenizer;
use serde_json::{Value, json};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::available_parallelism;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// ByT5's tokenizer (capitals are ids that the backbone has), which goes on with the text `SLOW` when the test lets it.
struct Slow {
    bytes: Text,
    /// Texts that have come to the gate, and those that may pass it.
    gate: Mutex<(usize, usize)>,
    opened: Condvar,
}

impl Tokenize for Slow {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        if text == "SLOW" {
            let mut gate = self.gate.lock().unwrap();
            gate.0 += 1;
            let mut gate = self.opened.wait_while(gate, |(_, free)| *free == 0).unwrap();
            gate.1 -= 1;
        }
        self.bytes.encode(text)
    }

    fn most_characters(&self, ids: usize) -> usize {
        self.bytes.most_characters(ids)
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.bytes.decode(ids)
    }

    fn push(&self, text: &mut TextStream, id: u32) -> Result<TextPart> {
        self.bytes.push(text, id)
    }

    fn finish(&self, text: &mut TextStream) -> Result<TextPart> {
        self.bytes.finish(text)
    }
}

impl Slow {
    fn let_go(&self, texts: usize) {
        self.gate.lock().unwrap().1 += texts;
        self.opened.notify_all();
    }

    async fn until_there_are(&self, texts: usize) {
        while self.gate.lock().unwrap().0 < texts {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

struct Server {
    text: Arc<Slow>,
    engine: Engine,
    router: Router,
    name: String,
    _home: TempDir,
}

impl Server {
    fn new(config: Config) -> Self {
        let backbone = Arc::new(crate::reference::backbone("tiny-v1.1"));
        let (bytes, gate, opened) = (Text::from(Tokenizer::bytes()), Mutex::default(), Condvar::new());
        let text = Arc::new(Slow { bytes, gate, opened });
        let (_home, engine, router) = serving_with(&backbone, Settings::default(), text.clone(), config);
        Self { text, engine, router, name: backbone.name.clone(), _home }
    }

    /// Asks for a token behind each text.
    fn ask(&self, texts: &[&str]) -> JoinHandle<(u16, Value)> {
        self.post(json!({"prompt": texts, "max_tokens": 1}))
    }

    fn post(&self, mut request: Value) -> JoinHandle<(u16, Value)> {
        request["model"] = json!(&self.name);
        let router = self.router.clone();
        tokio::spawn(async move { call(&router, json_request("POST", "/v1/completions", &request)).await })
    }
}

/// The runtime's end waits for threads that read.
impl Drop for Server {
    fn drop(&mut self) {
        self.text.let_go(1000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_waits_for_one_text_of_a_list_and_not_for_all() {
    let server = Server::new(Config::default());
    let cores = available_parallelism().unwrap().get();
    let lists: Vec<_> = (0..cores).map(|_| server.ask(&["SLOW"; 8])).collect();
    server.text.until_there_are(cores).await;
    let quick = server.ask(&["QUICK"]);
    let mut passed = 0;
    while !quick.is_finished() {
        assert!(passed < 7, "the lists' texts go before it");
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.text.let_go(1);
        passed += 1;
        server.text.until_there_are(cores + passed - 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(quick.await.unwrap().0, 200);
    server.text.let_go(8 * cores);
    for list in lists {
        assert_eq!(list.await.unwrap().0, 200);
    }
    server.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_are_refused_than_may_wait_to_be_read() {
    let server = Server::new(Config { queue: 2, ..Config::default() });
    let read = [server.ask(&["SLOW"]), server.ask(&["SLOW"])];
    server.text.until_there_are(available_parallelism().unwrap().get().min(2)).await;
    tokio::time::sleep(Duration::from_millis(50)).await; // where one core reads, the other request is behind it
    let (status, refused) = server.ask(&["QUICK"]).await.unwrap();
    assert_eq!((status, &refused["error"]["code"]), (429, &json!("queue_full")), "{refused}");
    server.text.let_go(2);
    for read in read {
        assert_eq!(read.await.unwrap().0, 200);
    }
    assert_eq!(server.ask(&["QUICK"]).await.unwrap().0, 200);
    server.engine.shutdown().await;
}

/// A list is read no further where its time is over, so that others are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_for_a_request_that_is_over() {
    let server = Server::new(Config { queue: 1, ..Config::default() });
    let list = server.post(json!({"prompt": vec!["SLOW"; 8], "max_tokens": 1, "timeout": 0.1}));
    server.text.until_there_are(1).await;
    assert_eq!(list.await.unwrap().0, 504);
    assert_eq!(server.ask(&["QUICK"]).await.unwrap().0, 429, "a text is read to its end");
    server.text.let_go(1);
    let freed = async {
        while server.ask(&["QUICK"]).await.unwrap().0 != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), freed).await.expect("the list is not read on");
    assert_eq!(server.text.gate.lock().unwrap().0, 1);
    server.engine.shutdown().await;
}
