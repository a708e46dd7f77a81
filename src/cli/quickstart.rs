//! `s3delta quickstart`: search, re-train, compare, transfer and serve, on the built-in backbone and tasks.

use super::session::Session;
use super::spread::Spread;
use super::tasks::{self, Data};
use super::{On, follow, output, serve};
use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// The task that is searched on, and the one that the structure is transferred to.
const SOURCE: &str = "builtin-topic";
const TARGET: &str = "builtin-sentiment";
const BUDGET: &str = "11%";
const BACKBONE: &str = "builtin:pocket-t5";
/// Of the trainings that are compared, and of the random structures.
const SEEDS: [u64; 3] = [0, 1, 2];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta quickstart              ends with a server on 127.0.0.1:8080
  s3delta quickstart --exit       stops after the work

What is in the registry already is not computed again.")]
pub(crate) struct Args {
    /// Stop after the work instead of serving.
    #[arg(long)]
    pub(super) exit: bool,
    /// Port to serve on afterwards [default: 8080].
    #[arg(long)]
    port: Option<u16>,
    #[command(flatten)]
    compute: super::Compute,
    /// Print the scores as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let started = Instant::now();
        let on = On { compute: self.compute.clone(), backbone: Some(BACKBONE.into()) };
        let session = Session::open(home, &on)?;
        for task in [SOURCE, TARGET] {
            tasks::register(&session, task, &Data::plain(None))?;
        }
        let steps = Steps { session: &session };
        // a registry of an older version may hold the work of another built-in backbone
        let backbone = session.get("/v1/backbone")?["digest"].clone();
        let training = json!({"backbone_digest": backbone, "steps": 300, "batch_size": 16, "learning_rate": 5e-3, "evaluations": 6});
        let with = |fields: Value| merged(&training, fields);
        eprintln!("1/5 searching a structure of {BUDGET} of the space on {SOURCE}");
        let search = steps
            .job("/v1/searches", with(json!({"task": SOURCE, "budget": BUDGET, "seeds": [0], "retrain": false})))?;
        let structure = &search["structure"];
        let train = |task: &str, seeds: &[u64], adapter: &str| {
            let request = json!({"source": structure, "target": task, "seeds": seeds, "adapter": adapter});
            steps.job("/v1/transfers", with(request))
        };
        eprintln!("2/5 training it, from {} seeds", SEEDS.len());
        let searched = train(SOURCE, &SEEDS, "topic")?;
        eprintln!("3/5 training {} random structures of the same budget", SEEDS.len());
        let random = SEEDS.map(|seed| {
            let request = json!({"structure": "random", "budget": BUDGET, "task": SOURCE, "seed": seed, "adapter": "topic-random"});
            steps.job("/v1/retrains", with(request))
        });
        let random = random.into_iter().collect::<Result<Vec<Value>>>()?;
        eprintln!("4/5 training BitFit, a hand-made structure");
        let bitfit = steps
            .job("/v1/retrains", with(json!({"structure": "bitfit", "task": SOURCE, "adapter": "topic-bitfit"})))?;
        eprintln!("5/5 transferring the structure to {TARGET}, and scoring the bare backbone");
        let transfer = train(TARGET, &SEEDS[..1], "sentiment")?;
        let bare = |task: &str| {
            steps.job("/v1/evaluations", json!({"adapter": null, "task": task, "backbone_digest": backbone}))
        };
        let (bare_source, bare_target) = (bare(SOURCE)?, bare(TARGET)?);
        let rows = [
            row(SOURCE, "bare backbone", &[&bare_source]),
            row(SOURCE, "searched structure", &[&searched]),
            row(SOURCE, "random structures", &random.iter().collect::<Vec<_>>()),
            row(SOURCE, "BitFit", &[&bitfit]),
            row(TARGET, "bare backbone", &[&bare_target]),
            row(TARGET, "transferred structure", &[&transfer]),
        ];
        let seconds = started.elapsed().as_secs_f64();
        if self.json {
            output::json(&json!({"scores": rows, "seconds": seconds, "structure": structure}))?;
        } else {
            let cells =
                |row: &Row| vec![row.task.into(), row.what.into(), row.parameters.to_string(), row.score.to_string()];
            output::table(&["task", "what", "parameters", "accuracy"], &rows.iter().map(cells).collect::<Vec<_>>());
            output::line(format!(
                "\n{seconds:.0} s. models/pocket-t5/README.md says what the built-in backbone can do."
            ));
        }
        if self.exit {
            return Ok(());
        }
        drop(session);
        eprintln!(
            "\nTry both adapters over the one backbone:\n  \
             curl -s localhost:{port}/v1/predictions -H 'content-type: application/json' \\\n    \
             -d '{{\"adapters\": [\"sentiment\", \"topic\"], \"inputs\": [{{\"sentence\": \"the film was not good\"}}]}}'\n  \
             and the page at http://localhost:{port}/\n",
            port = self.port.unwrap_or(8080)
        );
        serve::Args::after_quickstart(self.compute.clone(), BACKBONE, self.port).run(home)
    }
}

/// One line of the table: what the jobs that trained it gave, a score for each seed.
#[derive(Debug, Serialize)]
struct Row {
    task: &'static str,
    what: &'static str,
    parameters: u64,
    scores: Vec<f64>,
    score: Spread,
}

fn row(task: &'static str, what: &'static str, results: &[&Value]) -> Row {
    let scores: Vec<f64> = results
        .iter()
        .flat_map(|result| match &result["scores"] {
            Value::Array(scores) => scores.iter().filter_map(Value::as_f64).collect(),
            _ => result["score"]["value"].as_f64().into_iter().collect::<Vec<_>>(),
        })
        .collect();
    let parameters = results[0]["parameters"].as_u64().unwrap_or(0);
    Row { task, what, parameters, score: Spread::of(&scores), scores }
}

/// The jobs of the quickstart, each known by its request, so that a second run finds what the first one made.
struct Steps<'a> {
    session: &'a Session,
}

impl Steps<'_> {
    /// The result of a job: of an earlier run, of one under way, or of a new one.
    fn job(&self, path: &str, request: Value) -> Result<Value> {
        let earlier = self.session.list("/v1/jobs")?;
        let same = |job: &&Value| contains(&job["request"], &request) && job["kind"] == kind(path);
        if let Some(done) = earlier.iter().filter(same).find(|job| job["state"] == "succeeded") {
            eprintln!("    found in the registry: job {}", done["id"].as_str().unwrap_or_default());
            return Ok(done["result"].clone());
        }
        let running =
            earlier.iter().filter(same).find(|job| matches!(job["state"].as_str(), Some("queued" | "running")));
        let job = match running {
            Some(job) => follow::resume(self.session, job["id"].as_str().unwrap_or_default())?,
            None => follow::submit(self.session, path, &request)?,
        };
        Ok(job["result"].clone())
    }
}

/// The kind of job that a route makes.
fn kind(path: &str) -> &str {
    match path {
        "/v1/searches" => "search",
        "/v1/retrains" => "retrain",
        "/v1/transfers" => "transfer",
        _ => "evaluation",
    }
}

/// Whether `stored` has every field of `wanted`.
fn contains(stored: &Value, wanted: &Value) -> bool {
    wanted.as_object().is_some_and(|fields| fields.iter().all(|(name, value)| stored[name] == *value))
}

fn merged(a: &Value, b: Value) -> Value {
    let mut all = a.clone();
    if let (Some(all), Value::Object(b)) = (all.as_object_mut(), b) {
        all.extend(b);
    }
    all
}
