//! The API over a real registry, with an engine and a runner that do what the test says. Each refusal is checked to
//! leave the registry, its blobs included, as it was.

mod bench;
mod changing;
mod drawing;
mod failures;
mod reading;
mod refusals;
mod routes;
mod stopping;
mod tokens;
