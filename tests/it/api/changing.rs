//! Many clients of a real engine while adapters are replaced, deleted and made again under their names: each answer is that
//! of the generation that it names.

use super::bench::{json_request, upload_request};
use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use s3delta::api::{AppState, Tokens, router};
use s3delta::config::Config;
use s3delta::delta::{DeltaWeights, Layout, Metadata, Single};
use s3delta::jobs::{Failure, Jobs};
use s3delta::registry::Registry;
use s3delta::serve::{self, Engine, Settings, Text, Tokenize};
use s3delta::structure::{DeltaModule, Kind, Origin, Provenance, Structure};
use s3delta::t5::{Backbone, DecodeSettings, Tokenizer, generate};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tower::ServiceExt;

const CLIENTS: usize = 64;
/// Answers that a client waits for at least.
const ANSWERS: usize = 6;
/// Changes that clients stay for.
const CHANGES: usize = 24;
/// Tokens of an answer at most.
const TOKENS: usize = 12;
const NAMES: [&str; 3] = ["red", "green", "blue"];

/// An adapter that may be uploaded under any name.
struct Variant {
    structure: Structure,
    weights: Vec<u8>,
    single: Single,
}

fn variants(backbone: &Backbone) -> Vec<Variant> {
    let lora = Kind::Lora { rank: 2, alpha: 8.0 };
    let lists: [&[(&str, Kind)]; 3] = [
        &[("encoder.block.0.layer.0.SelfAttention.q", lora), ("decoder.block.1.layer.2.layer_norm", Kind::Lnfit)],
        &[("decoder.block.0.layer.0.SelfAttention.v", lora), ("lm_head", lora)],
        &[("decoder.block.1.layer.1.EncDecAttention.k", lora), ("decoder.final_layer_norm", Kind::Bitfit)],
    ];
    let variant = |number: usize| {
        let modules = lists[number % 3].iter().map(|(position, kind)| DeltaModule::new(*position, *kind)).collect();
        let structure = Structure::new(backbone.shape(), modules, Provenance::new(Origin::Manual)).unwrap();
        let layout = Layout::new(&backbone.positions, &structure.modules).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let values: Vec<f32> = (0..layout.len()).map(|_| rng.random_range(-0.7..0.7)).collect();
        let single = Single::new(&layout, values.clone(), backbone.positions.len(), backbone.model.device());
        let metadata =
            Metadata { structure: structure.id.clone(), backbone: backbone.digest.clone(), ..Metadata::default() };
        let weights = DeltaWeights { values, metadata }.to_bytes(&backbone.positions, &structure).unwrap();
        Variant { structure, weights, single }
    };
    (0..9).map(variant).collect()
}

/// Status and body of a reply.
pub(super) async fn call(router: &Router, request: Request<Body>) -> (u16, Value) {
    let reply = router.clone().oneshot(request).await.unwrap();
    let status = reply.status().as_u16();
    let bytes = reply.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Uploads a variant under a name; gives its generation.
async fn upload(router: &Router, name: &str, variant: &Variant) -> String {
    let structure = serde_json::to_string(&variant.structure).unwrap();
    let (status, adapter) =
        call(router, upload_request(&[("name", name), ("structure", &structure)], &variant.weights)).await;
    assert!((200..300).contains(&status), "{adapter}");
    adapter["aliases"]["latest"].as_str().unwrap().to_string()
}

/// The API over a real engine.
pub(super) fn serving(backbone: &Arc<Backbone>, settings: Settings) -> (TempDir, Engine, Router) {
    serving_with(backbone, settings, Arc::new(Text::from(Tokenizer::bytes())), Config::default())
}

/// The same with this tokenizer and these settings of the server.
pub(super) fn serving_with(
    backbone: &Arc<Backbone>,
    settings: Settings,
    text: Arc<dyn Tokenize>,
    config: Config,
) -> (TempDir, Engine, Router) {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    let engine = serve::start(Arc::clone(backbone), text.clone(), settings).unwrap();
    let jobs = Jobs::new(registry.clone(), engine.backbone().clone(), text, 1, Arc::new(|_, _| Err(Failure::Stopped)));
    let state = AppState::new(registry, engine.clone(), jobs, config, Tokens::default());
    (home, engine, router(state))
}

fn prompt(number: usize) -> Vec<u32> {
    (0..3 + 4 * number as u32 % 11).map(|at| 5 + (at * 37 + number as u32 * 11) % 90).chain([1]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_is_that_of_the_generation_that_it_names() {
    let backbone = Arc::new(crate::reference::backbone("tiny-v1.1"));
    // adapters leave memory and come back, and sources the cache
    let settings =
        Settings { adapter_bytes: 4000, max_batch_rows: 12, encoder_cache_bytes: 30_000, ..Settings::default() };
    let (_home, engine, router) = serving(&backbone, settings);
    let variants = Arc::new(variants(&backbone));
    let generations = Arc::new(Mutex::new(HashMap::new()));
    for (number, name) in NAMES.into_iter().enumerate() {
        let generation = upload(&router, name, &variants[number]).await;
        generations.lock().unwrap().insert(generation, number);
    }
    let (left, changes) = (Arc::new(AtomicUsize::new(CLIENTS)), Arc::new(AtomicUsize::new(0)));
    let changing = {
        let (router, variants, generations) = (router.clone(), variants.clone(), generations.clone());
        let (left, changes) = (left.clone(), changes.clone());
        tokio::spawn(async move {
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            while left.load(Ordering::Relaxed) > 0 {
                let name = NAMES[rng.random_range(0..NAMES.len())];
                let path = format!("/v1/adapters/{name}");
                if rng.random_range(0..3) == 0 {
                    let (status, body) = call(&router, Request::delete(&path).body(Body::empty()).unwrap()).await;
                    assert_eq!(status, 204, "{body}");
                }
                let number = rng.random_range(0..variants.len());
                let generation = upload(&router, name, &variants[number]).await;
                generations.lock().unwrap().insert(generation.clone(), number);
                let alias = json_request("PUT", &format!("{path}/aliases/live"), &json!({"generation": generation}));
                let (status, body) = call(&router, alias).await;
                assert_eq!(status, 200, "{body}");
                changes.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let client = |client: usize| {
        let (router, left, changes) = (router.clone(), left.clone(), changes.clone());
        async move {
            let (mut rng, mut answers) = (ChaCha8Rng::seed_from_u64(100 + client as u64), Vec::new());
            while answers.len() < ANSWERS || changes.load(Ordering::Relaxed) < CHANGES {
                let (name, number) = (NAMES[rng.random_range(0..NAMES.len())], rng.random_range(0..4));
                let alias = ["", "@live"][rng.random_range(0..2)];
                let request =
                    json!({"model": format!("{name}{alias}"), "prompt": prompt(number), "max_tokens": TOKENS});
                let (status, body) = call(&router, json_request("POST", "/v1/completions", &request)).await;
                match status {
                    200 => {
                        let generation = body["adapter_generation"].as_str().unwrap().to_string();
                        answers.push((generation, number, body["choices"][0]["text"].as_str().unwrap().to_string()));
                    }
                    // between its deletion and its return, or before the alias is there again
                    404 => tokio::task::yield_now().await,
                    // more of them at one generation than its share of the queue, where the machine is busy
                    429 => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                    _ => panic!("{status}: {body}"),
                }
            }
            left.fetch_sub(1, Ordering::Relaxed);
            answers
        }
    };
    let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(client(number))).collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.extend(client.await.unwrap());
    }
    changing.await.unwrap();
    engine.shutdown().await;

    let generations = generations.lock().unwrap();
    let (mut alone, mut parted) = (HashMap::new(), Vec::new());
    let settings = DecodeSettings::new(&backbone.config, TOKENS);
    let solo = |variant: usize, number: usize| {
        let (model, deltas, ids) = (&backbone.model, &variants[variant].single, prompt(number));
        let encoded = model.encode(&model.batch(&[&ids]).unwrap(), deltas);
        let made = generate(model, &encoded, &[ids], &settings, deltas).unwrap().remove(0).remove(0);
        serve::Tokenize::decode(&Text::from(Tokenizer::bytes()), &made.ids).unwrap()
    };
    for (generation, number, found) in &answers {
        let variant = generations[generation];
        if found != alone.entry((variant, *number)).or_insert_with(|| solo(variant, *number)) {
            parted.push((variant, *number, found));
        }
    }
    // a near tie falls to either side in another batch, but never to what another generation says
    for (variant, number, found) in &parted {
        let theirs =
            (0..variants.len()).filter(|other| other != variant).find(|other| solo(*other, *number) == **found);
        assert_eq!(theirs, None, "variant {variant} answered prompt {number} as that one does");
    }
    let parted = parted.len();
    let distinct: std::collections::HashSet<_> = alone.values().collect();
    assert!(distinct.len() > 12, "variants answer differently: {distinct:?}");
    assert!(alone.len() > 12 && parted * 100 <= answers.len(), "{parted} of {} answers differ", answers.len());
}
