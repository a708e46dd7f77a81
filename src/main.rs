//! The s3delta command: arguments, logging, exit codes.

use clap::Parser;
use s3delta::cli::Cli;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

// glibc maps and unmaps every large temporary anew: a forward pass takes half as long again
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("S3DELTA_LOG").unwrap_or_else(|_| EnvFilter::new("warn,s3delta=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
