//! The s3delta command: arguments, logging, exit codes.

use clap::Parser;
use s3delta::cli::Cli;
use std::ffi::{c_int, c_long};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

// glibc maps and unmaps every large temporary anew: a forward pass takes half as long again
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, which its crate does not name; its default, and ours, in milliseconds.
const PURGE_DELAY: (c_int, c_long, c_long) = (15, 1_000, 10_000);

/// Lets pages that are free stay with the process for some seconds: mimalloc gives those of one pass back before the next one
/// needs them, and the system has to clear them anew. `MIMALLOC_PURGE_DELAY` goes first.
#[expect(unsafe_code, reason = "the allocator's crates have no safe way to its options")]
fn keep_pages() -> c_long {
    let (option, default, ours) = PURGE_DELAY;
    // SAFETY: both take plain numbers; an option of another number has another default and stays as it is
    unsafe {
        if libmimalloc_sys::mi_option_get(option) == default {
            libmimalloc_sys::mi_option_set_default(option, ours);
        }
        libmimalloc_sys::mi_option_get(option)
    }
}

fn main() -> ExitCode {
    keep_pages();
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("S3DELTA_LOG").unwrap_or_else(|_| EnvFilter::new(cli.log_level()));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_target(false).with_ansi(colours).init();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, but those whose text a message before them holds already.
fn told(error: &anyhow::Error) -> String {
    let join = |said: String, cause: String| if said.contains(&cause) { said } else { said + ": " + &cause };
    error.chain().map(ToString::to_string).reduce(join).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    /// It had no effect once mimalloc's own default was another.
    #[test]
    fn free_pages_stay() {
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
            assert_eq!(super::keep_pages(), super::PURGE_DELAY.2);
        }
    }
}
