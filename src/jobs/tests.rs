//! The queue with runners that do what a channel tells them: nothing here sleeps or polls.

use super::*;
use crate::t5::{TextPart, TextStream};
use crate::{
    registry::{JobKind, JobRecord, JobState, NewTask, Registry, TaskRows},
    serve::{BackboneInfo, Tokenize},
    structure::{DeltaModule, ModuleProbability, Origin, Provenance, Shape, Space, Structure},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};
use tempfile::TempDir;

/// What the running job is told to do next.
enum Step {
    Finish(Value),
    Fail(&'static str),
    Panic,
    Progress(Progress),
    Checkpoint(&'static [u8]),
    /// Wait until asked to stop, then stop.
    Obey,
}

/// A registry with a task `sst2`, jobs over it, and the two ends that a test holds.
struct Bench {
    jobs: Jobs,
    registry: Registry,
    steps: Sender<Step>,
    /// Id and checkpoint of each job as it starts to run.
    started: Receiver<(String, Option<Vec<u8>>)>,
    home: TempDir,
}

fn backbone() -> BackboneInfo {
    let shape = Shape::small();
    let (digest, device, decoding) = ("0".repeat(32), "cpu".into(), Err("jobs decode nothing".into()));
    BackboneInfo {
        name: "tiny".into(),
        shape,
        parameters: 1_000_000,
        digest,
        device,
        weights: crate::t5::WeightFormat::F32,
        decoding,
    }
}

/// A tokenizer that does not tell capitals apart.
struct Small;

impl Tokenize for Small {
    fn encode(&self, text: &str) -> crate::serve::Result<Vec<u32>> {
        Ok(text.to_lowercase().bytes().map(u32::from).collect())
    }

    fn most_characters(&self, _: usize) -> usize {
        usize::MAX
    }

    fn decode(&self, _: &[u32]) -> crate::serve::Result<String> {
        unreachable!("jobs decode nothing")
    }

    fn push(&self, _: &mut TextStream, _: u32) -> crate::serve::Result<TextPart> {
        unreachable!("jobs decode nothing")
    }

    fn finish(&self, _: &mut TextStream) -> crate::serve::Result<TextPart> {
        unreachable!("jobs decode nothing")
    }
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let registry = Registry::open(home.path()).unwrap();
        let rows = registry.put_blob_bytes(b"rows").unwrap();
        for (name, train, word) in [("sst2", 2, "no"), ("single", 1, "no"), ("twins", 2, "Yes")] {
            let labels = json!([{"value": "0", "word": word}, {"value": "1", "word": "yes"}]);
            let target = json!({"kind": "classification", "labels": labels});
            let definition = json!({"name": name, "template": "{text}", "metric": "accuracy", "target": target});
            let rows_of = TaskRows { train, dev: 1, test: 1 };
            let new = NewTask { name: name.into(), definition, rows: rows_of, builtin: false };
            registry.put_task(new, &rows).unwrap();
        }
        Self::over(home, registry)
    }

    fn over(home: TempDir, registry: Registry) -> Self {
        let (steps, next) = channel();
        let (tell, started) = channel();
        let next = Mutex::new(next);
        let tell = Mutex::new(tell);
        let runner: Runner = Arc::new(move |job: &JobRecord, control: &Control| {
            let checkpoint = control.resume_checkpoint()?;
            tell.lock().unwrap_or_else(|e| e.into_inner()).send((job.id.clone(), checkpoint)).unwrap();
            loop {
                let step = next.lock().unwrap_or_else(|e| e.into_inner()).recv().unwrap();
                match step {
                    Step::Finish(result) => return Ok(result),
                    Step::Fail(code) => return Err(Failure::new(code, "as told")),
                    Step::Panic => panic!("a fault"),
                    Step::Progress(progress) => control.progress(progress),
                    Step::Checkpoint(bytes) => control.checkpoint(bytes)?,
                    Step::Obey => {
                        while control.should_stop().is_none() {
                            std::thread::yield_now();
                        }
                        return Err(Failure::Stopped);
                    }
                }
            }
        });
        let hour = Duration::from_secs(3600);
        let jobs = Jobs::with_interval(registry.clone(), backbone(), Arc::new(Small), 3, runner, hour);
        Self { jobs, registry, steps, started, home }
    }

    /// Stops this one without a word to the jobs' records, as far as the registry can tell, and opens the next.
    fn restart(self) -> Self {
        let Self { jobs, registry, home, .. } = self;
        drop((jobs, registry));
        let registry = Registry::open(home.path()).unwrap();
        Self::over(home, registry)
    }

    fn submit(&self) -> JobRecord {
        self.jobs.submit(request(json!({"task": "sst2", "budget": "5%"})), None).unwrap().0
    }

    fn tell(&self, step: Step) {
        self.steps.send(step).unwrap();
    }

    /// The id and checkpoint of the job that starts next.
    fn next_start(&self) -> (String, Option<Vec<u8>>) {
        self.started.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    /// The job once it has ended.
    fn ended(&self, id: &str) -> JobRecord {
        let (job, events) = self.jobs.subscribe(id).unwrap();
        let Some(mut events) = events else { return job };
        while let Ok(event) = events.blocking_recv() {
            if let JobEvent::State(job) = event
                && job.state.is_terminal()
            {
                return (*job).clone();
            }
        }
        self.registry.job(id).unwrap()
    }
}

fn request(value: Value) -> JobRequest {
    JobRequest::from_value(JobKind::Search, &value).unwrap()
}

#[test]
fn jobs_run_in_order_and_keep_their_results() {
    let bench = Bench::new();
    bench.jobs.start(true).unwrap();
    let (one, two) = (bench.submit(), bench.submit());
    assert_eq!((one.state, &one.request["task_digest"]), (JobState::Queued, &two.request["task_digest"]));
    assert_eq!(bench.next_start().0, one.id);
    assert_eq!(bench.jobs.counts(), (1, 1));
    bench.tell(Step::Finish(json!({"structure": "x"})));
    assert_eq!(bench.ended(&one.id).result, Some(json!({"structure": "x"})));
    assert_eq!(bench.next_start().0, two.id);
    bench.tell(Step::Finish(Value::Null));
    assert_eq!(bench.ended(&two.id).state, JobState::Succeeded);
}

#[test]
fn a_panic_fails_its_job_and_the_next_one_runs() {
    let bench = Bench::new();
    bench.jobs.start(true).unwrap();
    let (one, two, three) = (bench.submit(), bench.submit(), bench.submit());
    bench.tell(Step::Panic);
    let failed = bench.ended(&one.id);
    let error = failed.error.unwrap();
    assert_eq!((failed.state, error.code.as_str()), (JobState::Failed, "job_panicked"));
    assert!(error.message.contains("a fault"), "{}", error.message);
    bench.tell(Step::Fail("out_of_memory"));
    assert_eq!(bench.ended(&two.id).error.unwrap().code, "out_of_memory");
    bench.tell(Step::Finish(Value::Null));
    assert_eq!(bench.ended(&three.id).state, JobState::Succeeded);
}

#[test]
fn a_waiting_job_is_cancelled_at_once_and_a_running_one_at_its_next_step() {
    let bench = Bench::new();
    bench.jobs.start(true).unwrap();
    let (one, two) = (bench.submit(), bench.submit());
    bench.next_start();
    assert_eq!(bench.jobs.cancel(&two.id).unwrap().state, JobState::Cancelled);
    assert_eq!(bench.jobs.cancel(&two.id).unwrap().state, JobState::Cancelled);
    assert_eq!(bench.jobs.cancel(&one.id).unwrap().state, JobState::Running);
    bench.tell(Step::Obey);
    assert_eq!(bench.ended(&one.id).state, JobState::Cancelled);
    let three = bench.submit();
    assert_eq!(bench.next_start().0, three.id);
    bench.tell(Step::Finish(Value::Null));
    bench.ended(&three.id);
    let four = bench.submit();
    bench.next_start();
    assert!(bench.jobs.cancel(&four.id).unwrap().cancel_requested);
    bench.tell(Step::Finish(Value::Null));
    let four = bench.ended(&four.id);
    assert_eq!((four.state, four.cancel_requested), (JobState::Succeeded, false), "the wish came too late");
    let conflict = bench.jobs.cancel(&three.id).unwrap_err().to_string();
    assert!(conflict.contains("succeeded and cannot become cancelled"), "{conflict}");
}

#[test]
fn a_cancelled_job_resumes_from_its_checkpoint() {
    let bench = Bench::new();
    bench.jobs.start(true).unwrap();
    let job = bench.submit();
    assert_eq!(bench.next_start().1, None);
    bench.tell(Step::Checkpoint(b"half way"));
    bench.jobs.cancel(&job.id).unwrap();
    bench.tell(Step::Obey);
    bench.ended(&job.id);
    assert_eq!(bench.jobs.resume(&job.id).unwrap().state, JobState::Queued);
    assert_eq!(bench.next_start().1.as_deref(), Some(&b"half way"[..]));
    bench.tell(Step::Finish(Value::Null));
    let job = bench.ended(&job.id);
    assert_eq!((job.state, job.checkpoint, job.error), (JobState::Succeeded, None, None));
    assert!(bench.jobs.resume(&job.id).unwrap_err().to_string().contains("succeeded and cannot become queued"));
}

#[test]
fn a_stopping_server_puts_its_job_back_and_the_next_goes_on() {
    let bench = Bench::new();
    bench.jobs.start(true).unwrap();
    let (one, two) = (bench.submit(), bench.submit());
    bench.next_start();
    bench.tell(Step::Checkpoint(b"so far"));
    bench.tell(Step::Obey);
    bench.jobs.shutdown();
    let job = bench.registry.job(&one.id).unwrap();
    assert_eq!((job.state, job.attempts), (JobState::Queued, 0));
    assert!(matches!(bench.jobs.submit(request(json!({"task": "sst2", "budget": "5%"})), None), Err(Error::Closed)));
    let bench = bench.restart();
    bench.jobs.start(true).unwrap();
    assert_eq!(bench.next_start(), (one.id.clone(), Some(b"so far".to_vec())));
    bench.tell(Step::Finish(Value::Null));
    assert_eq!(bench.next_start().0, two.id);
    bench.tell(Step::Finish(Value::Null));
    assert_eq!(bench.ended(&two.id).state, JobState::Succeeded);
}

#[test]
fn a_killed_servers_job_is_taken_up_or_left_to_be_resumed() {
    let bench = Bench::new();
    let job = bench.submit();
    let running = |bench: &Bench| bench.registry.update_job(&job.id, |job| job.state = JobState::Running).unwrap();
    running(&bench);
    let bench = bench.restart();
    // a command beside no server works on its own job only
    bench.jobs.start(false).unwrap();
    assert_eq!(bench.registry.job(&job.id).unwrap().state, JobState::Queued);
    assert_eq!(bench.jobs.counts(), (0, 0));
    bench.jobs.resume(&job.id).unwrap();
    assert_eq!(bench.next_start().0, job.id);
    bench.tell(Step::Finish(Value::Null));
    assert_eq!(bench.ended(&job.id).state, JobState::Succeeded);
}

#[test]
fn a_job_that_kills_the_server_again_and_again_is_given_up() {
    let bench = Bench::new();
    let job = bench.submit();
    bench.registry.update_job(&job.id, |job| (job.state, job.attempts) = (JobState::Running, 4)).unwrap();
    let bench = bench.restart();
    bench.jobs.start(true).unwrap();
    assert_eq!(bench.ended(&job.id).error.unwrap().code, "job_keeps_crashing");
    bench.jobs.resume(&job.id).unwrap();
    bench.tell(Step::Finish(Value::Null));
    assert_eq!(bench.ended(&job.id).state, JobState::Succeeded);
}

/// A job that came to a new checkpoint before each kill goes on; one that stays at the same checkpoint is given up.
#[test]
fn a_job_that_comes_further_is_not_given_up() {
    let mut bench = Bench::new();
    let job = bench.submit();
    for (kill, checkpoint) in [b"1", b"2", b"3", b"4", b"5", b"6", b"6", b"6", b"6", b"6"].iter().enumerate() {
        bench.registry.update_job(&job.id, |job| job.state = JobState::Running).unwrap();
        bench.registry.set_checkpoint(&job.id, *checkpoint).unwrap();
        bench = bench.restart();
        bench.jobs.start(false).unwrap();
        let attempts = bench.registry.job(&job.id).unwrap().attempts;
        assert_eq!(attempts as usize, 1 + kill.saturating_sub(5), "after kill {kill}");
    }
    let bench = bench.restart();
    bench.jobs.start(true).unwrap();
    assert_eq!(bench.ended(&job.id).error.unwrap().code, "job_keeps_crashing");
}

#[test]
fn progress_reaches_watchers_always_and_the_store_seldom() {
    let bench = Bench::new();
    bench.jobs.start(true).unwrap();
    let job = bench.submit();
    bench.next_start();
    let (_, events) = bench.jobs.subscribe(&job.id).unwrap();
    let mut events = events.unwrap();
    let place = ModulePlace { position: "decoder.final_layer_norm".into(), kind: crate::structure::KindName::Lnfit };
    let modules = Some(vec![place]);
    let at = |step, modules| Progress { step, total_steps: 3, modules, ..Progress::default() };
    bench.tell(Step::Progress(at(1, modules.clone())));
    bench.tell(Step::Progress(at(2, None)));
    let mut step = || loop {
        if let JobEvent::Progress(progress) = events.blocking_recv().unwrap() {
            return progress.step;
        }
    };
    assert_eq!((step(), step()), (1, 2));
    let stored = |bench: &Bench| -> Progress {
        serde_json::from_value(bench.registry.job(&job.id).unwrap().progress.unwrap()).unwrap()
    };
    assert_eq!(stored(&bench), at(1, modules.clone()));
    bench.tell(Step::Finish(Value::Null));
    bench.ended(&job.id);
    assert_eq!(stored(&bench), at(2, modules));
}

#[test]
fn the_same_key_gives_the_same_job_and_too_many_are_refused() {
    let bench = Bench::new();
    let submit = |budget: &str, key: Option<&str>| {
        bench.jobs.submit(request(json!({"task": "sst2", "budget": budget})), key.map(String::from))
    };
    let (first, new) = submit("5%", Some("k")).unwrap();
    assert!(new);
    assert_eq!(submit("5%", Some("k")).unwrap(), (first.clone(), false));
    let plain = json!({"task": "sst2", "budget": "5%"});
    let written = json!({
        "task": "sst2", "budget": "5.0%", "order": "first", "selection": "exact", "batch_size": 16, "dropout": 0.0, "epochs": 5,
        "adapter": "sst2", "space": "mix", "seeds": [0],
    });
    for value in [plain, written] {
        // as the interface reads it
        let sent = JobRequest::Search(serde_json::from_value(value).unwrap());
        assert_eq!(bench.jobs.submit(sent, Some("k".into())).unwrap(), (first.clone(), false));
    }
    assert!(submit("6%", Some("k")).unwrap_err().to_string().contains("`k` was used"));
    submit("5%", None).unwrap();
    submit("5%", None).unwrap();
    assert!(matches!(submit("5%", None), Err(Error::TooMany { waiting: 3 })));
    assert_eq!(submit("5%", Some("k")).unwrap(), (first, false), "it takes no place");
}

/// A search's structure of these modules, which are chosen at p whatever the task.
fn found(task: &str, space: &str, p: f64, created: i64) -> Structure {
    let space = Space::built_in(space, &Shape::small()).unwrap();
    let modules = space.modules()[..2].to_vec();
    let entry = |(module, parameters): (&DeltaModule, &usize)| ModuleProbability {
        module: module.clone(),
        p,
        deviation: None,
        logits: Vec::new(),
        parameters: *parameters,
    };
    let provenance = Provenance {
        source_task: Some(task.into()),
        space: Some(space.name().into()),
        created: jiff::Timestamp::from_second(created).unwrap(),
        probabilities: space.modules().iter().zip(space.sizes()).map(entry).collect(),
        ..Provenance::new(Origin::Search)
    };
    Structure::new(&Shape::small(), modules, provenance).unwrap()
}

/// Two tasks' searches that chose the same modules are one structure: each task stands for its own search, over the space asked for.
#[test]
fn a_task_stands_for_its_own_search() {
    let bench = Bench::new();
    for (task, space, p, created) in
        [("sst2", "mix", 0.9, 1), ("single", "mix", 0.1, 2), ("sst2", "lora", 0.5, 3), ("single", "lora", 0.2, 4)]
    {
        bench.registry.put_structure(&found(task, space, p, created)).unwrap();
    }
    let submit =
        |kind, value| bench.jobs.submit(JobRequest::from_value(kind, &value).unwrap(), None).unwrap().0.request;
    let accepted = |space: &str| {
        let value = json!({"task": "sst2", "budget": "5%", "warm_start": "sst2", "space": space});
        let job = submit(JobKind::Search, value);
        let again = submit(JobKind::Search, job.clone());
        assert_eq!(again, job, "what was accepted says which search");
        let structure = bench.registry.structure(job["warm_start"].as_str().unwrap()).unwrap();
        let created = serde_json::from_value(job["warm_start_search"].clone()).unwrap();
        let search = structure.searched_at(created).unwrap();
        (search.source_task.clone().unwrap(), search.probabilities[0].p)
    };
    assert_eq!(accepted("mix"), ("sst2".into(), 0.9));
    let job = submit(JobKind::Transfer, json!({"source": "sst2", "target": "sst2"}));
    assert_eq!(job["source_task"], "sst2");
    let full = json!({"task": "sst2", "budget": "5%", "warm_start": "sst2", "space": "full"});
    refused(&bench, JobKind::Search, full, "warm_start", "was over this space `full`, but over lora, mix");
}

/// One line a case: the request, the field at fault, and a part of the message.
#[track_caller]
fn refused(bench: &Bench, kind: JobKind, value: Value, field: &str, wanted: &str) {
    let error = bench.jobs.submit(JobRequest::from_value(kind, &value).unwrap(), None).unwrap_err();
    assert_eq!(error.param(), Some(field), "{value} gave {error}");
    assert!(error.to_string().contains(wanted), "{value} gave {error}");
}

#[test]
fn requests_are_checked_against_registry_and_backbone() {
    let bench = Bench::new();
    let check = |kind, value, field, wanted| refused(&bench, kind, value, field, wanted);
    use JobKind::{Evaluation, Retrain, Search, Transfer};
    check(Search, json!({"task": "cola", "budget": "5%"}), "task", "no task `cola`");
    check(Search, json!({"task": "single", "budget": "5%"}), "task", "1 training row: a search needs at least 2");
    check(Search, json!({"task": "sst2", "budget": 1}), "budget", "smallest module");
    let same = "task `twins`: its label words `Yes` and `yes` have the same tokens";
    check(Search, json!({"task": "twins", "budget": "5%"}), "task", same);
    check(Retrain, json!({"task": "twins", "structure": "lnfit"}), "task", same);
    check(Transfer, json!({"source": "mr", "target": "twins"}), "target", same);
    check(Evaluation, json!({"task": "twins"}), "task", same);
    let most = 100_000_000;
    let of = "`epochs` 100000000 over 2 rows makes 200000000 steps, more than 100000000";
    check(Search, json!({"task": "sst2", "budget": "5%", "epochs": most, "batch_size": 1}), "epochs", of);
    check(Retrain, json!({"task": "sst2", "structure": "lnfit", "epochs": most, "batch_size": 1}), "epochs", of);
    check(Transfer, json!({"source": "mr", "target": "sst2", "epochs": most, "batch_size": 1}), "epochs", of);
    check(Search, json!({"task": "sst2", "budget": "5%", "space": "mxi"}), "space", "unknown space `mxi`");
    check(Search, json!({"task": "sst2", "budget": "5%", "adapter": "a/b"}), "adapter", "not a valid name");
    check(Search, json!({"task": "sst2", "budget": "5%", "task_digest": "00"}), "task_digest", "was replaced");
    check(Retrain, json!({"task": "sst2", "structure": "feed"}), "structure", "no structure `feed`");
    check(Transfer, json!({"source": "mr", "target": "sst2"}), "source", "searched on a task `mr`");
    check(Transfer, json!({"source": "sst2", "target": "mr"}), "target", "no task `mr`");
    check(Evaluation, json!({"task": "sst2", "adapter": "none"}), "adapter", "no adapter `none`");
    assert!(bench.registry.jobs(&Default::default()).unwrap().data.is_empty());
}
