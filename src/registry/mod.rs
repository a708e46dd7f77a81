//! Structures, delta weights, adapters, tasks, jobs and transfers, durable.
