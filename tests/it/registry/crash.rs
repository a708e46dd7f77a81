//! Kills: what was acknowledged is there afterwards, and nothing half-written is.

use super::{adapters, blob_files, copy, put, weights};
use s3delta::registry::{Digest, Error, Idempotency, JobFilter, JobKind, JobState, PageRequest, Registry};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const HOME: &str = "S3DELTA_TEST_KILLED_HOME";
const WORKER: &str = "registry::crash::worker_that_is_killed";

#[test]
fn leftovers_of_a_crash_are_swept_and_the_rest_stays() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    put(&registry, "a", 1, 0.5, &["latest"]).unwrap();
    registry.announce("http://127.0.0.1:1").unwrap();
    let job = registry.create_job(JobKind::Search, serde_json::json!({}), None).unwrap().0;
    registry.set_checkpoint(&job.id, b"half way").unwrap();
    let _unreferenced = registry.put_blob_bytes(b"stored, then killed before the record").unwrap();
    let mut unfinished = registry.blob_writer(1 << 20).unwrap();
    unfinished.write(b"an upload under way").unwrap();
    let killed = tempfile::tempdir().unwrap();
    copy(home.path(), killed.path());
    let foreign = killed.path().join("blobs/ab");
    fs::create_dir_all(&foreign).unwrap();
    fs::write(foreign.join("not-a-blob"), b"").unwrap();
    assert_eq!(blob_files(killed.path()).len(), 5);
    let reopened = Registry::open(killed.path()).unwrap();
    let checkpoint = reopened.job(&job.id).unwrap().checkpoint.unwrap();
    let used = [Digest::of(&weights(1, 0.5)), checkpoint].map(|digest| digest.to_string());
    assert_eq!(blob_files(killed.path()), used.into());
    assert_eq!(adapters(&reopened), adapters(&registry));
    assert!(!killed.path().join("server.json").exists());
}

/// Runs in a process of its own, says what was acknowledged, and ends only by being killed.
#[test]
#[ignore = "the other test starts it in a process of its own"]
fn worker_that_is_killed() {
    let Some(home) = std::env::var_os(HOME) else {
        eprintln!("skipped: {HOME} is not set");
        return;
    };
    let registry = Registry::open(Path::new(&home)).unwrap();
    registry.announce("http://127.0.0.1:1").unwrap();
    let mut upload = registry.blob_writer(u64::MAX).unwrap();
    let idempotency = Idempotency { key: "key".into(), asked: serde_json::json!({}) };
    let job = registry.create_job(JobKind::Search, serde_json::json!({}), Some(idempotency)).unwrap().0.id;
    registry.update_job(&job, |job| job.state = JobState::Running).unwrap();
    for step in 0u32.. {
        upload.write(&[1; 4096]).unwrap();
        let digest = put(&registry, &format!("a{}", step % 7), 1, step as f32, &["latest"]).unwrap();
        println!("\nput a{} {digest}", step % 7);
        let checkpoint = registry.set_checkpoint(&job, &step.to_le_bytes()).unwrap().checkpoint.unwrap();
        println!("\ncheckpoint {step} {checkpoint}");
        if step % 5 == 4 {
            registry.delete_adapter(&format!("a{}", step % 7)).unwrap();
            println!("\ndeleted a{} -", step % 7);
        }
    }
}

#[test]
fn kill_minus_nine_loses_nothing_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args([WORKER, "--exact", "--ignored", "--nocapture"])
        .env(HOME, home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(worker.stdout.take().unwrap()).lines().map(Result::unwrap);
    let words = |line: String| line.split(' ').map(String::from).collect::<Vec<_>>();
    let mut acknowledged = lines.map(words).filter(|words| words.len() == 3 && words[0] != "test");
    let mut seen: Vec<_> = acknowledged.by_ref().take(60).collect();
    match Registry::open(home.path()).err() {
        Some(Error::Locked { server: Some(server), .. }) => assert_eq!(server.pid, worker.id()),
        other => panic!("the worker does not hold the folder: {other:?}"),
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    seen.extend(acknowledged); // what it had said before it died
    let in_the_making = fs::read_dir(home.path().join("blobs/tmp")).unwrap().count();
    assert!(in_the_making >= 1, "the unfinished upload was there");

    let registry = Registry::open(home.path()).unwrap();
    let found = adapters(&registry);
    let mut expected = std::collections::BTreeMap::new();
    let mut step = 0;
    for words in &seen {
        match words[0].as_str() {
            "put" => _ = expected.insert(words[1].as_str(), words[2].parse::<Digest>().unwrap()),
            "deleted" => _ = expected.remove(words[1].as_str()),
            _ => step = words[1].parse::<u32>().unwrap(),
        }
    }
    // one operation may have happened without being acknowledged: the one under way
    let under_way = [format!("a{}", (step + 1) % 7), format!("a{}", step % 7)];
    for (name, digest) in expected {
        let latest = found.get(name).and_then(|(_, aliases)| aliases.get("latest"));
        assert!(latest == Some(&digest) || under_way.contains(&name.into()), "{name} is {latest:?}, not {digest}");
    }
    for name in found.keys() {
        registry.resolve(name).unwrap().weights.read().unwrap();
    }
    let jobs = registry.recover_jobs().unwrap();
    assert_eq!((jobs.len(), jobs[0].attempts), (1, 1));
    let checkpoint = registry.blob(&jobs[0].checkpoint.unwrap()).unwrap().read().unwrap();
    let stored = u32::from_le_bytes(checkpoint.try_into().unwrap());
    assert!(stored == step || stored == step + 1, "checkpoint {stored} after {step} was acknowledged");
    let weights: usize = found.values().map(|(generations, _)| generations.len()).sum();
    assert!(blob_files(home.path()).len() <= weights + 1);
    let all = JobFilter { page: PageRequest::all(), ..Default::default() };
    assert_eq!(registry.jobs(&all).unwrap().data, jobs);
}
