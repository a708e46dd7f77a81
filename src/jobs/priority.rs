//! Jobs step back behind serving: on the CPU they compute in threads of their own, which the system runs when no request
//! wants the cores.

use super::worker::STACK_BYTES;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// The nice value of jobs' threads. At this one a thread that competes with one of a request gets a thirtieth of a core.
#[cfg(target_os = "linux")]
const NICE: i32 = 15;

/// The threads that a job computes with, as many as serving has. The job itself runs in one of them, so that its
/// operations stay in this pool; nothing else does, so that none of its threads can take up work that waits for it.
pub(super) fn pool() -> Result<ThreadPool, ThreadPoolBuildError> {
    let named =
        ThreadPoolBuilder::new().num_threads(rayon::current_num_threads()).thread_name(|at| format!("job-{at}"));
    named.stack_size(STACK_BYTES).start_handler(|_| step_back()).build()
}

/// Lowers this thread's priority, and that of the threads it will start.
fn step_back() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        let lower = |now| if now < NICE { setpriority_process(None, NICE) } else { Ok(()) };
        if let Err(error) = getpriority_process(None).and_then(lower) {
            tracing::warn!(%error, "jobs compute at the priority of requests: {error}");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn jobs_threads_step_back_and_so_do_those_they_start() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let inner = || (nice(), std::thread::spawn(nice).join().unwrap(), rayon::current_num_threads());
        let wanted = NICE.max(before);
        assert_eq!(pool().unwrap().install(inner), (wanted, wanted, rayon::current_num_threads()));
        assert_eq!(nice(), before, "whoever asks for the pool stays as it is");
    }
}
