//! Jobs: states, idempotency keys, order, checkpoints, recovery.

use super::{blob_files, code};
use jiff::Timestamp;
use s3delta::registry::{Idempotency, JobError, JobFilter, JobKind, JobState, PageRequest, Registry};
use serde_json::{Value, json};

fn open() -> (tempfile::TempDir, Registry) {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::open(home.path()).unwrap();
    (home, registry)
}

#[test]
fn states_go_only_where_they_may() {
    use JobState::*;
    let (_home, registry) = open();
    let check = |path: &[JobState], wanted: &str| {
        let id = registry.create_job(JobKind::Search, json!({}), None).unwrap().0.id;
        let (last, before) = path.split_last().unwrap();
        for state in before {
            registry.update_job(&id, |job| job.state = *state).unwrap();
        }
        let found = registry.update_job(&id, |job| job.state = *last);
        assert_eq!(code(&found), wanted, "{path:?}");
        assert_eq!(registry.job(&id).unwrap().state == *last, wanted == "ok", "{path:?}");
    };
    check(&[Running, Succeeded], "ok");
    check(&[Running, Failed, Queued, Running], "ok");
    check(&[Running, Cancelled, Queued], "ok");
    check(&[Cancelled], "ok");
    check(&[Succeeded], "job_state_conflict");
    check(&[Running, Succeeded, Queued], "job_state_conflict");
    check(&[Cancelled, Running], "job_state_conflict");
    check(&[Failed, Succeeded], "job_state_conflict");
    check(&[Running, Cancelled, Succeeded], "job_state_conflict");
    assert_eq!(code(&registry.update_job("nope", |_| {})), "job_not_found");
}

#[test]
fn times_and_errors_follow_the_state_and_identity_stays() {
    let (_home, registry) = open();
    let id =
        registry.create_job(JobKind::Retrain, json!({ "task": "rte" }), Some(asked("key", json!({})))).unwrap().0.id;
    let running = registry.update_job(&id, |job| job.state = JobState::Running).unwrap();
    assert!(running.started.is_some() && running.finished.is_none());
    let failed = registry.update_job(&id, |job| {
        job.state = JobState::Failed;
        job.error = Some(JobError { code: "task_not_found".into(), message: "there is no task".into() });
        job.cancel_requested = true;
        job.id = "other".into();
        job.request = json!(null);
        job.idempotency_key = None;
    });
    let failed = failed.unwrap();
    assert!(failed.finished.is_some() && failed.error.is_some());
    assert_eq!((&failed.id, &failed.request), (&id, &json!({ "task": "rte" })));
    let queued = registry.update_job(&id, |job| job.state = JobState::Queued).unwrap();
    assert_eq!((queued.finished, queued.error, queued.cancel_requested), (None, None, false));
    assert_eq!(registry.job(&id).unwrap().idempotency_key.as_deref(), Some("key"));
}

fn asked(key: &str, asked: Value) -> Idempotency {
    Idempotency { key: key.into(), asked }
}

#[test]
fn an_idempotency_key_gives_the_first_job_again() {
    let (_home, registry) = open();
    // as accepted, names are pinned
    let create = |kind, request: Value, key: Option<&str>| {
        registry.create_job(kind, json!({ "accepted": Timestamp::now() }), key.map(|key| asked(key, request)))
    };
    let (first, new) = create(JobKind::Search, json!({ "task": "sst2", "seeds": [0] }), Some("k/1 ü")).unwrap();
    assert!(new);
    let (again, new) = create(JobKind::Search, json!({ "seeds": [0], "task": "sst2" }), Some("k/1 ü")).unwrap();
    assert_eq!((&again, new), (&first, false));
    let reused = |kind, request| code(&create(kind, request, Some("k/1 ü")));
    assert_eq!(reused(JobKind::Search, json!({ "task": "cola" })), "idempotency_key_reused");
    assert_eq!(reused(JobKind::Retrain, json!({ "task": "sst2", "seeds": [0] })), "idempotency_key_reused");
    let long = "k".repeat(256);
    for wrong in ["", &long] {
        assert_eq!(code(&create(JobKind::Search, json!({}), Some(wrong))), "idempotency_key_invalid");
    }
    assert!(create(JobKind::Search, json!({ "task": "sst2", "seeds": [0] }), None).unwrap().1);
    registry.update_job(&first.id, |job| job.state = JobState::Cancelled).unwrap();
    registry.delete_job(&first.id).unwrap();
    assert!(create(JobKind::Search, json!({}), Some("k/1 ü")).unwrap().1, "the key goes with its job");
}

#[test]
fn lists_are_newest_first_and_pages_join() {
    let (_home, registry) = open();
    let kind = |index: usize| if index.is_multiple_of(3) { JobKind::Evaluation } else { JobKind::Search };
    let create = |index: usize| registry.create_job(kind(index), json!({ "index": index }), None).unwrap().0.id;
    let mut ids: Vec<_> = (0..10).map(create).collect();
    assert!(ids.is_sorted());
    ids.reverse();
    let paged = |state, kind, limit| {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let page = registry.jobs(&JobFilter { state, kind, page: PageRequest { cursor, limit } }).unwrap();
            assert!(page.data.len() <= limit);
            found.extend(page.data.into_iter().map(|job| job.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return found;
            }
        }
    };
    for limit in [1, 3, 5, 10, 11] {
        assert_eq!(paged(None, None, limit), ids);
        let evaluations: Vec<_> = ids.iter().rev().step_by(3).rev().cloned().collect();
        assert_eq!(paged(Some(JobState::Queued), Some(JobKind::Evaluation), limit), evaluations);
        assert!(paged(Some(JobState::Running), None, limit).is_empty());
    }
    let odd = PageRequest { cursor: Some("no such cursor".into()), limit: 5 };
    assert!(registry.jobs(&JobFilter { page: odd, ..Default::default() }).is_ok());
}

#[test]
fn checkpoints_replace_each_other_and_go_with_success() {
    let (home, registry) = open();
    let id = registry.create_job(JobKind::Search, json!({}), None).unwrap().0.id;
    registry.update_job(&id, |job| job.state = JobState::Running).unwrap();
    for step in 0..3u8 {
        let digest = registry.set_checkpoint(&id, &[step; 100]).unwrap().checkpoint.unwrap();
        assert_eq!(registry.blob(&digest).unwrap().read().unwrap(), [step; 100]);
        assert_eq!(blob_files(home.path()).len(), 1);
    }
    registry.update_job(&id, |job| job.state = JobState::Failed).unwrap();
    assert!(registry.job(&id).unwrap().checkpoint.is_some(), "a failed job may go on");
    assert_eq!(code(&registry.set_checkpoint(&id, b"late")), "job_state_conflict");
    registry.update_job(&id, |job| job.state = JobState::Queued).unwrap();
    assert_eq!(code(&registry.delete_job(&id)), "job_active");
    registry.update_job(&id, |job| job.state = JobState::Running).unwrap();
    let done = registry.update_job(&id, |job| job.state = JobState::Succeeded).unwrap();
    assert_eq!(done.checkpoint, None);
    assert!(blob_files(home.path()).is_empty());
    registry.delete_job(&id).unwrap();
    assert_eq!(code(&registry.job(&id)), "job_not_found");
}

#[test]
fn what_ran_at_the_end_is_queued_at_the_start() {
    let (home, registry) = open();
    let create = |state: JobState, cancel: bool| {
        let id = registry.create_job(JobKind::Search, json!({}), None).unwrap().0.id;
        let change = |job: &mut s3delta::registry::JobRecord| (job.state, job.cancel_requested) = (state, cancel);
        registry.update_job(&id, change).unwrap();
        id
    };
    let running = create(JobState::Running, false);
    let queued = create(JobState::Queued, false);
    let stopping = create(JobState::Running, true);
    let failed = create(JobState::Failed, false);
    registry.set_checkpoint(&running, b"half way").unwrap();
    drop(registry);
    let registry = Registry::open(home.path()).unwrap();
    let recovered = registry.recover_jobs().unwrap();
    let short: Vec<_> = recovered.iter().map(|job| (job.id.as_str(), job.state, job.attempts)).collect();
    assert_eq!(short, [(running.as_str(), JobState::Queued, 1), (queued.as_str(), JobState::Queued, 0)]);
    let checkpoint = recovered[0].checkpoint.unwrap();
    assert_eq!(registry.blob(&checkpoint).unwrap().read().unwrap(), b"half way");
    assert_eq!(registry.job(&stopping).unwrap().state, JobState::Cancelled);
    assert_eq!(registry.job(&failed).unwrap().state, JobState::Failed);
    assert_eq!(registry.recover_jobs().unwrap(), recovered, "a second call changes nothing");
}
