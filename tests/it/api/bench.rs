//! A server without a socket: the router over a temporary home, a fake engine, and a runner that waits for its gate.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
    response::Response,
};
use http_body_util::BodyExt;
use s3delta::{
    api::{AppState, Tokens, router},
    config::Config,
    jobs::{Control, Failure, Jobs, Progress, Runner},
    registry::{JobRecord, PageRequest, Registry, StructureFilter},
    serve::{
        BackboneInfo, Command, Engine, Error, FinishReason, Queued, Result as Served, Settings, Shared, Text, TextPart,
        TextStream, Tokenize,
    },
    structure::{DeltaModule, Kind, Origin, Positions, Provenance, Shape, Structure},
    t5::{Backbone, DecodeSettings, Token, Tokenizer},
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, mpsc};
use tempfile::TempDir;
use tower::ServiceExt;

/// Digest of the served backbone.
pub(crate) const BACKBONE: &str = "0123456789abcdef0123456789abcdef";

/// An id that the engine makes of the source `poison`.
const POISON: u32 = 299;

/// ByT5's tokenizer, which some texts and ids kill.
struct Bytes;

impl Tokenize for Bytes {
    fn encode(&self, text: &str) -> Served<Vec<u32>> {
        assert_ne!(text, "unreadable", "a text that the tokenizer dies of");
        Text::from(Tokenizer::bytes()).encode(text)
    }

    fn most_characters(&self, ids: usize) -> usize {
        Text::from(Tokenizer::bytes()).most_characters(ids)
    }

    fn decode(&self, ids: &[u32]) -> Served<String> {
        Text::from(Tokenizer::bytes()).decode(ids)
    }

    fn push(&self, text: &mut TextStream, id: u32) -> Served<TextPart> {
        assert_ne!(id, POISON, "an id that the tokenizer dies of");
        Text::from(Tokenizer::bytes()).push(text, id)
    }

    fn finish(&self, text: &mut TextStream) -> Served<TextPart> {
        Text::from(Tokenizer::bytes()).finish(text)
    }
}

/// Holds the engine at the source `wait` until the test lets it go.
struct Gate {
    reached: mpsc::Sender<()>,
    open: mpsc::Receiver<()>,
}

/// A token with alternatives that are the bytes behind it.
fn token(id: u32, alternatives: usize) -> Token {
    let top = (0..alternatives as u32).map(|n| (id + n, -0.5 - n as f32)).collect();
    Token { id, logprob: -0.5, top }
}

/// Texts that say `again` are encoded already.
fn shared(source: &str) -> Shared {
    Shared { encoder: source.contains("again"), keys_values: false }
}

/// Generates the source itself, with the adapter's generation behind it, and the number of a further text; finds those targets likely that the source
/// contains. Some sources do what their name says.
fn answer(command: Command, gate: &Gate) {
    match command {
        Command::Generate(command) => {
            let request = command.request.clone();
            let source = Bytes.decode(&request.ids).unwrap();
            command.share(shared(&source));
            match source.as_str() {
                "fail" => return command.fail(Error::Internal("out of memory at 0xdead".into())),
                "misfit" => return command.fail(Error::Adapter("the adapter does not fit".into())),
                "damage" => return command.fail(Error::Damaged("its file is not what was stored".into())),
                "die" => panic!("as told"),
                "poison" => command.token(0, token(POISON, 0)),
                "wait" => {
                    gate.reached.send(()).unwrap();
                    gate.open.recv().unwrap();
                }
                _ => {}
            }
            let adapter = request.adapter.map(|adapter| format!("|{}", adapter.generation)).unwrap_or_default();
            for sequence in 0..request.settings.num_return_sequences {
                let number = if sequence == 0 { String::new() } else { format!("#{sequence}") };
                let ids = Bytes.encode(&format!("{source}{adapter}{number}")).unwrap();
                let made = ids.iter().take(request.settings.max_new_tokens).take_while(|id| **id != 1);
                let made: Vec<u32> = made.copied().collect();
                let ended = ids.get(made.len()) == Some(&1) && made.len() < request.settings.max_new_tokens;
                made.into_iter().for_each(|id| command.token(sequence, token(id, request.settings.top_logprobs)));
                command.finish(sequence, if ended { FinishReason::Stop } else { FinishReason::Length });
            }
        }
        Command::Score(command) => {
            let source = Bytes.decode(&command.request.ids).unwrap();
            command.share(shared(&source));
            let likely = |target: &Vec<u32>| {
                if source.contains(&Bytes.decode(target).unwrap()) { -0.1 } else { -2.0 }
            };
            let scores = command.request.targets.iter().map(likely).collect();
            command.reply(Ok(scores));
        }
    }
}

/// What the running job is told to do next.
pub(crate) enum Step {
    Progress(Progress),
    Finish(Value),
}

pub(crate) struct Bench {
    pub(crate) registry: Registry,
    pub(crate) jobs: Jobs,
    pub(crate) state: AppState,
    pub(crate) engine: Engine,
    pub(crate) steps: mpsc::Sender<Step>,
    /// Tells that the engine has come to the source `wait`.
    pub(crate) reached: mpsc::Receiver<()>,
    /// Lets it go on.
    pub(crate) open: mpsc::Sender<()>,
    router: Router,
    home: TempDir,
}

pub(crate) fn shape() -> Shape {
    Shape {
        family: "t5".into(),
        encoder_layers: 2,
        decoder_layers: 2,
        d_model: 64,
        d_kv: 16,
        num_heads: 4,
        d_ff: 128,
        gated: true,
        vocab_size: 300,
    }
}

/// A structure of two modules that fits the served backbone, found on `sst2`.
pub(crate) fn structure() -> Structure {
    let modules = vec![
        DeltaModule::new("encoder.block.0.layer.0.SelfAttention.q", Kind::Lora { rank: 1, alpha: 16.0 }),
        DeltaModule::new("decoder.final_layer_norm", Kind::Bitfit),
    ];
    let provenance = Provenance {
        created: jiff::Timestamp::UNIX_EPOCH,
        source_task: Some("sst2".into()),
        space: Some("mix".into()),
        ..Provenance::new(Origin::Search)
    };
    Structure::new(&shape(), modules, provenance).unwrap()
}

/// Delta weights for it, trained on this backbone: the same bytes for the same values.
pub(crate) fn weights(value: f32, backbone: &str) -> Vec<u8> {
    weights_that_say(value, json!({"structure_digest": structure().id, "backbone_digest": backbone}))
}

/// Delta weights for it with this metadata.
pub(crate) fn weights_that_say(value: f32, metadata: Value) -> Vec<u8> {
    let structure = structure();
    let positions = Positions::new(&structure.shape);
    let mut tensors = Vec::new();
    for module in &structure.modules {
        let site = positions.site(positions.id(&module.position).unwrap());
        let of = format!("{}.{}", module.position, module.kind.name().as_str());
        tensors.extend(module.kind.tensors(site).into_iter().map(|tensor| (format!("{of}.{}", tensor.name), tensor)));
    }
    let mut header = serde_json::Map::from_iter([("__metadata__".to_string(), metadata)]);
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let start = data.len();
        (0..tensor.len()).for_each(|_| data.extend(value.to_le_bytes()));
        let offsets = [start, data.len()];
        header.insert(name, json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": offsets}));
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// A sentiment task.
pub(crate) fn task() -> Value {
    let row = |text: &str, label: &str| json!({"fields": {"sentence": text}, "label": label});
    let rows = [row("fine", "positive"), row("poor", "negative")];
    json!({
        "definition": {
            "name": "sst2", "template": "sst2 sentence: {sentence}", "metric": "accuracy",
            "target": {"kind": "classification",
                "labels": [{"value": "0", "word": "negative"}, {"value": "1", "word": "positive"}]},
        },
        "rows": {"train": rows, "dev": rows, "test": rows},
    })
}

/// A reply, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// Its JSON, if the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Config::default(), |_| {})
    }

    pub(crate) fn with(config: Config, tokens: impl FnOnce(&mut Tokens)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let registry = Registry::open(home.path()).unwrap();
        let (name, digest, device) = ("tiny".into(), BACKBONE.into(), "cpu".into());
        let tiny = Backbone::read_config(&crate::reference::folder("tiny-v1.1")).unwrap();
        let decoding = Ok(DecodeSettings::defaults(&tiny));
        let backbone = BackboneInfo {
            name,
            shape: shape(),
            parameters: 1_000_000,
            digest,
            device,
            weights: s3delta::t5::WeightFormat::F32,
            decoding,
        };
        let (engine, commands) =
            Engine::new(backbone.clone(), Arc::new(Bytes), &Settings { queue: config.queue, ..Settings::default() });
        let ((tell, reached), (open, opened)) = (mpsc::channel(), mpsc::channel());
        let gate = Gate { reached: tell, open: opened };
        std::thread::spawn(move || {
            let (gate, mut commands) = (gate, commands); // dropped in reverse: a gate that is gone tells of a dead engine
            while let Some(Queued { command, place }) = commands.blocking_recv() {
                drop(place);
                answer(command, &gate);
            }
        });
        let (steps, next) = mpsc::channel();
        let next = Mutex::new(next);
        let runner: Runner = Arc::new(move |_: &JobRecord, control: &Control| {
            loop {
                match next.lock().unwrap().recv() {
                    Ok(Step::Progress(progress)) => control.progress(progress),
                    Ok(Step::Finish(result)) => return Ok(result),
                    Err(_) => return Err(Failure::Stopped),
                }
            }
        });
        let jobs = Jobs::new(registry.clone(), backbone, Arc::new(Bytes), config.waiting_jobs, runner);
        let mut known = Tokens::open(home.path()).unwrap();
        tokens(&mut known);
        let state = AppState::new(registry.clone(), engine.clone(), jobs.clone(), config, known);
        let router = router(state.clone());
        Self { registry, jobs, state, engine, steps, reached, open, router, home }
    }

    /// With the task, and an adapter `sst2` of one generation.
    pub(crate) async fn stocked() -> Self {
        let bench = Self::new();
        bench.put("/v1/tasks/sst2", task()).await.expect(200);
        bench.upload(&[("task", "sst2")], &weights(0.5, BACKBONE)).await.expect(201);
        bench
    }

    /// The response's head on its way, while the caller goes on; for a runtime of several threads.
    pub(crate) fn begin(&self, request: Request<Body>) -> tokio::task::JoinHandle<Response> {
        let answer = self.router.clone().oneshot(request);
        tokio::spawn(async move { answer.await.unwrap() })
    }

    /// The response's head; its body is still to come.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Reply {
        let (head, body) = self.send(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Reply { status: head.status, headers: head.headers, bytes }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.call(Request::delete(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(json_request("POST", path, &body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        self.call(json_request("PUT", path, &body)).await
    }

    /// Uploads weights for [`structure`] as adapter `sst2`, unless the parts say otherwise.
    pub(crate) async fn upload(&self, parts: &[(&str, &str)], weights: &[u8]) -> Reply {
        self.call(upload_request(parts, weights)).await
    }

    /// All that is stored, for comparison.
    pub(crate) fn stored(&self) -> String {
        let all = || PageRequest::all();
        let registry = &self.registry;
        let structures = registry.structures(&StructureFilter { page: all(), ..Default::default() }).unwrap().data;
        let mut files: Vec<_> = files(&self.home.path().join("blobs"));
        files.sort();
        format!(
            "{structures:?} {:?} {:?} {:?} {:?} {files:?}",
            registry.adapters(&all()).unwrap(),
            registry.tasks(&all()).unwrap(),
            registry.jobs(&Default::default()).unwrap(),
            registry.transfers().unwrap(),
        )
    }
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

pub(crate) fn json_request(method: &str, path: &str, body: &Value) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

/// A multipart body as a client writes it; a part given as `-` is left out.
pub(crate) fn upload_request(parts: &[(&str, &str)], weights: &[u8]) -> Request<Body> {
    let structure = serde_json::to_string(&structure()).unwrap();
    let mut fields = vec![("name", "sst2"), ("structure", structure.as_str())];
    fields.retain(|(name, _)| !parts.iter().any(|(given, _)| given == name));
    fields.extend(parts.iter().filter(|(_, value)| *value != "-"));
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(head.bytes());
    }
    let head = "--edge\r\ncontent-disposition: form-data; name=\"weights\"; filename=\"w.safetensors\"\r\n\r\n";
    body.extend(head.bytes());
    body.extend(weights);
    body.extend(b"\r\n--edge--\r\n");
    let request = Request::post("/v1/adapters").header("content-type", "multipart/form-data; boundary=edge");
    request.body(Body::from(body)).unwrap()
}
