//! Durable jobs: queue, worker, progress, cancel, resume.
