//! Random operations, reopenings and kills against a model of maps.

use super::{adapters, blob_files, code, copy, generation, structure, weights};
use proptest::prelude::*;
use s3delta::registry::{
    Digest, Expected, Idempotency, JobFilter, JobKind, JobState, NewTask, PageRequest, Registry, StructureFilter,
    TaskRows,
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
enum Op {
    PutStructure(usize),
    DeleteStructure(usize),
    PutGeneration { name: usize, rank: usize, value: u8, aliases: Vec<usize> },
    MoveAlias { name: usize, alias: usize, to: usize, expected: Option<Option<usize>> },
    DeleteAlias { name: usize, alias: usize },
    DeleteGeneration { name: usize, index: usize },
    DeleteAdapter(usize),
    PutTask { name: usize, rows: u8 },
    DeleteTask(usize),
    CreateJob { key: Option<u8>, request: u8 },
    SetState { job: usize, state: JobState },
    SetCheckpoint { job: usize, bytes: u8 },
    DeleteJob(usize),
    Reopen,
    Kill,
}

const NAMES: [&str; 3] = ["sst2", "sst2-b", "cola"];
const ALIASES: [&str; 3] = ["latest", "live", "abcdef"];

fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES.len();
    let alias = 0..ALIASES.len();
    let state = prop::sample::select(vec![
        JobState::Queued,
        JobState::Running,
        JobState::Running,
        JobState::Succeeded,
        JobState::Failed,
        JobState::Cancelled,
    ]);
    let expected = prop::option::of(prop::option::of(0..3usize));
    let aliases = prop::collection::vec(alias.clone(), 0..3);
    prop_oneof![
        2 => (1..4usize).prop_map(Op::PutStructure),
        1 => (1..4usize).prop_map(Op::DeleteStructure),
        6 => (name.clone(), 1..4usize, 0..3u8, aliases)
            .prop_map(|(name, rank, value, aliases)| Op::PutGeneration { name, rank, value, aliases }),
        3 => (name.clone(), alias.clone(), 0..3usize, expected)
            .prop_map(|(name, alias, to, expected)| Op::MoveAlias { name, alias, to, expected }),
        1 => (name.clone(), alias).prop_map(|(name, alias)| Op::DeleteAlias { name, alias }),
        2 => (name.clone(), 0..3usize).prop_map(|(name, index)| Op::DeleteGeneration { name, index }),
        1 => name.clone().prop_map(Op::DeleteAdapter),
        2 => (name.clone(), 0..3u8).prop_map(|(name, rows)| Op::PutTask { name, rows }),
        1 => name.prop_map(Op::DeleteTask),
        3 => (prop::option::of(0..3u8), 0..2u8).prop_map(|(key, request)| Op::CreateJob { key, request }),
        5 => (0..4usize, state).prop_map(|(job, state)| Op::SetState { job, state }),
        3 => (0..4usize, 0..3u8).prop_map(|(job, bytes)| Op::SetCheckpoint { job, bytes }),
        1 => (0..4usize).prop_map(Op::DeleteJob),
        1 => Just(Op::Reopen),
        1 => Just(Op::Kill),
    ]
}

/// What the registry must hold. Jobs are in order of creation.
#[derive(Debug, Clone, Default)]
struct Model {
    structures: BTreeSet<usize>,
    adapters: BTreeMap<String, (Vec<Digest>, BTreeMap<String, Digest>)>,
    /// Rank and weights of every generation ever made.
    generations: BTreeMap<Digest, (usize, Digest)>,
    tasks: BTreeMap<String, Digest>,
    jobs: Vec<Job>,
}

#[derive(Debug, Clone)]
struct Job {
    id: String,
    state: JobState,
    key: Option<u8>,
    request: u8,
    checkpoint: Option<Digest>,
}

impl Model {
    fn blobs(&self) -> BTreeSet<String> {
        let generations = self.adapters.values().flat_map(|(generations, _)| generations);
        let weights = generations.map(|digest| self.generations[digest].1);
        let checkpoints = self.jobs.iter().filter_map(|job| job.checkpoint);
        weights.chain(self.tasks.values().copied()).chain(checkpoints).map(|digest| digest.to_string()).collect()
    }

    fn uses(&self, rank: usize) -> bool {
        self.adapters.values().any(|(all, _)| all.iter().any(|digest| self.generations[digest].0 == rank))
    }

    fn check(&self, registry: &Registry) {
        let filter = StructureFilter { page: PageRequest::all(), ..Default::default() };
        let structures: BTreeSet<_> = registry.structures(&filter).unwrap().data.into_iter().map(|s| s.id).collect();
        assert_eq!(structures, self.structures.iter().map(|rank| structure(*rank).id).collect());
        assert_eq!(adapters(registry), self.adapters);
        for (name, (generations, _)) in &self.adapters {
            for digest in generations {
                let found = registry.resolve(&format!("{name}@{digest}")).unwrap();
                let (rank, weights) = self.generations[digest];
                assert_eq!((found.structure.id.clone(), found.weights.digest()), (structure(rank).id, weights));
                found.weights.read().unwrap();
            }
        }
        let tasks = registry.tasks(&PageRequest::all()).unwrap().data;
        assert_eq!(tasks.into_iter().map(|task| (task.name, task.blob)).collect::<BTreeMap<_, _>>(), self.tasks);
        let all = JobFilter { page: PageRequest::all(), ..Default::default() };
        let jobs = registry.jobs(&all).unwrap().data.into_iter().rev();
        let jobs: Vec<_> = jobs.map(|job| (job.id, job.state, job.checkpoint)).collect();
        let wanted = self.jobs.iter().map(|job| (job.id.clone(), job.state, job.checkpoint));
        assert_eq!(jobs, wanted.collect::<Vec<_>>());
        assert_eq!(blob_files(registry.home()), self.blobs());
    }

    /// Does it to both, and gives both outcomes' codes.
    fn apply(&mut self, op: &Op, registry: &Registry) -> (&'static str, &'static str) {
        match op {
            Op::PutStructure(rank) => {
                self.structures.insert(*rank);
                (code(&registry.put_structure(&structure(*rank))), "ok")
            }
            Op::DeleteStructure(rank) => {
                let wanted = match (self.structures.contains(rank), self.uses(*rank)) {
                    (false, _) => "structure_not_found",
                    (true, true) => "structure_in_use",
                    (true, false) => "ok",
                };
                if wanted == "ok" {
                    self.structures.remove(rank);
                }
                (code(&registry.delete_structure(&structure(*rank).id)), wanted)
            }
            Op::PutGeneration { name, rank, value, aliases } => {
                let aliases: Vec<_> = aliases.iter().map(|alias| ALIASES[*alias]).collect();
                let blob = registry.put_blob_bytes(&weights(*rank, f32::from(*value))).unwrap();
                let digest = blob.digest();
                let put = registry.put_generation(NAMES[*name], generation(&structure(*rank), blob), &aliases);
                if !self.structures.contains(rank) {
                    return (code(&put), "structure_not_found");
                }
                if let Ok((_, generation)) = &put {
                    self.generations.insert(generation.digest, (*rank, digest));
                    let (generations, targets) = self.adapters.entry(NAMES[*name].into()).or_default();
                    if !generations.contains(&generation.digest) {
                        generations.push(generation.digest);
                    }
                    targets.extend(aliases.iter().map(|alias| (alias.to_string(), generation.digest)));
                }
                (code(&put), "ok")
            }
            Op::MoveAlias { name, alias, to, expected } => {
                let (name, alias) = (NAMES[*name], ALIASES[*alias]);
                let known = self.adapters.get_mut(name);
                let unknown = Digest::of(b"unknown");
                let nth = |index: usize| {
                    known.as_ref().and_then(|(generations, _)| generations.get(index)).copied().unwrap_or(unknown)
                };
                let to = nth(*to);
                let required = match expected {
                    None => Expected::Anything,
                    Some(None) => Expected::Nothing,
                    Some(Some(index)) => Expected::Generation(nth(*index)),
                };
                let moved = code(&registry.move_alias(name, alias, &to, required));
                let Some((_, aliases)) = known else { return (moved, "adapter_not_found") };
                let current = aliases.get(alias).copied();
                let fits = match required {
                    Expected::Anything => true,
                    Expected::Nothing => current.is_none(),
                    Expected::Generation(digest) => current == Some(digest),
                };
                if to == unknown {
                    return (moved, "generation_not_found");
                }
                if !fits {
                    return (moved, "alias_stale");
                }
                aliases.insert(alias.into(), to);
                (moved, "ok")
            }
            Op::DeleteAlias { name, alias } => {
                let deleted = code(&registry.delete_alias(NAMES[*name], ALIASES[*alias], Expected::Anything));
                let wanted = match self.adapters.get_mut(NAMES[*name]) {
                    None => "adapter_not_found",
                    Some((_, aliases)) => aliases.remove(ALIASES[*alias]).map_or("alias_not_found", |_| "ok"),
                };
                (deleted, wanted)
            }
            Op::DeleteGeneration { name, index } => {
                let name = NAMES[*name];
                let Some((generations, aliases)) = self.adapters.get_mut(name) else {
                    return (code(&registry.delete_generation(name, &Digest::of(b""))), "adapter_not_found");
                };
                let Some(digest) = generations.get(*index).copied() else {
                    return (code(&registry.delete_generation(name, &Digest::of(b""))), "generation_not_found");
                };
                let deleted = code(&registry.delete_generation(name, &digest));
                if aliases.values().any(|target| *target == digest) {
                    return (deleted, "generation_in_use");
                }
                generations.remove(*index);
                if generations.is_empty() {
                    self.adapters.remove(name);
                }
                (deleted, "ok")
            }
            Op::DeleteAdapter(name) => {
                let wanted = self.adapters.remove(NAMES[*name]).map_or("adapter_not_found", |_| "ok");
                (code(&registry.delete_adapter(NAMES[*name])), wanted)
            }
            Op::PutTask { name, rows } => {
                // the same bytes as some checkpoints: one blob with two users
                let blob = registry.put_blob_bytes(&[*rows]).unwrap();
                self.tasks.insert(NAMES[*name].into(), blob.digest());
                let (name, definition) = (NAMES[*name].into(), serde_json::json!({}));
                let task = NewTask { name, definition, rows: TaskRows::default(), builtin: false };
                (code(&registry.put_task(task, &blob)), "ok")
            }
            Op::DeleteTask(name) => {
                let wanted = self.tasks.remove(NAMES[*name]).map_or("task_not_found", |_| "ok");
                (code(&registry.delete_task(NAMES[*name])), wanted)
            }
            Op::CreateJob { key, request } => {
                let asked = serde_json::json!([request]);
                let idempotency = key.map(|key| Idempotency { key: format!("key {key}"), asked: asked.clone() });
                let made = registry.create_job(JobKind::Search, asked, idempotency);
                let known = self.jobs.iter().find(|job| key.is_some() && job.key == *key);
                match (known, &made) {
                    (Some(job), _) if job.request != *request => return (code(&made), "idempotency_key_reused"),
                    (Some(job), Ok((found, new))) => assert_eq!((&found.id, *new), (&job.id, false)),
                    (None, Ok((job, new))) => {
                        assert!(*new);
                        let (id, state, key) = (job.id.clone(), job.state, *key);
                        self.jobs.push(Job { id, state, key, request: *request, checkpoint: None });
                    }
                    (_, Err(_)) => {}
                }
                (code(&made), "ok")
            }
            Op::SetState { job, state } => {
                let Some(job) = self.jobs.get_mut(*job) else { return ("", "") };
                use JobState::*;
                let good = match (job.state, state) {
                    (Queued, next) => *next != Succeeded,
                    (Running, _) => true,
                    (Succeeded, next) => *next == Succeeded,
                    (_, next) => *next == job.state || *next == Queued,
                };
                let updated = code(&registry.update_job(&job.id, |job| {
                    job.state = *state;
                    // too large for sled in some states, so that it comes and goes
                    job.progress = Some("p".repeat(state.as_str().len() * 600).into());
                }));
                if good {
                    job.state = *state;
                    job.checkpoint = job.checkpoint.filter(|_| *state != Succeeded);
                }
                (updated, if good { "ok" } else { "job_state_conflict" })
            }
            Op::SetCheckpoint { job, bytes } => {
                let Some(job) = self.jobs.get_mut(*job) else { return ("", "") };
                let set = code(&registry.set_checkpoint(&job.id, &[*bytes]));
                if job.state.is_terminal() {
                    return (set, "job_state_conflict");
                }
                job.checkpoint = Some(Digest::of(&[*bytes]));
                (set, "ok")
            }
            Op::DeleteJob(index) => {
                let Some(job) = self.jobs.get(*index) else { return ("", "") };
                let deleted = code(&registry.delete_job(&job.id));
                if !job.state.is_terminal() {
                    return (deleted, "job_active");
                }
                self.jobs.remove(*index);
                (deleted, "ok")
            }
            Op::Reopen | Op::Kill => unreachable!("needs the folder"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 400, ..Default::default() })]

    #[test]
    fn the_registry_does_what_the_model_does(ops in prop::collection::vec(op(), 1..60)) {
        let mut home = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(home.path()).unwrap();
        let mut model = Model::default();
        for op in &ops {
            match op {
                Op::Reopen => {
                    drop(registry);
                    registry = Registry::open(home.path()).unwrap();
                }
                Op::Kill => {
                    let killed = tempfile::tempdir().unwrap();
                    copy(home.path(), killed.path());
                    drop(registry);
                    home = killed;
                    registry = Registry::open(home.path()).unwrap();
                }
                op => {
                    let (found, wanted) = model.apply(op, &registry);
                    prop_assert_eq!(found, wanted, "{:?}", op);
                    continue;
                }
            }
            model.check(&registry);
        }
        model.check(&registry);
    }
}
