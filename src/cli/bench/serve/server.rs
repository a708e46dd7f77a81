//! The server under load: a child process of this binary, or one that runs already, and what the system tells of it.

use crate::cli::{On, memory};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A large backbone on a cold disk takes a minute.
const START: Duration = Duration::from_secs(600);

/// A server to ask.
pub(super) struct Server {
    /// Such as `http://127.0.0.1:8080`.
    pub(super) base: String,
    /// The process that this one started; it ends with it.
    child: Option<Child>,
}

impl Server {
    /// One that runs already.
    pub(super) fn at(url: &str) -> Self {
        Self { base: url.trim_end_matches('/').into(), child: None }
    }

    /// Starts `s3delta serve` on a free port over the registry of `home`; it logs warnings alone unless S3DELTA_LOG says
    /// otherwise, since a line a request is work too.
    pub(super) fn start(home: &Path, on: &On) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--home").arg(home).args(["serve", "--host", "127.0.0.1", "--port", "0"]);
        if let Some(backbone) = &on.backbone {
            command.args(["--backbone", backbone]);
        }
        if let Some(device) = on.compute.device {
            command.args(["--device", &device.to_string()]);
        }
        if let Some(threads) = on.compute.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if std::env::var_os("S3DELTA_LOG").is_none() {
            command.env("S3DELTA_LOG", "warn");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the server")?;
        let lines = BufReader::new(child.stderr.take().context("the server has no standard error")?).lines();
        let (tell, told) = mpsc::channel();
        // it reads to the end, so that the server never waits for its log to be read
        std::thread::spawn(move || {
            let mut before = String::new();
            for line in lines.map_while(Result::ok) {
                match line.split_once(" on http://") {
                    Some((_, address)) if line.starts_with("serving ") => {
                        let _ = tell.send(Ok(format!("http://{}", address.trim_end_matches('/'))));
                    }
                    _ => eprintln!("server: {line}"),
                }
                before = line;
            }
            let _ = tell.send(Err(before));
        });
        let mut server = Self { base: String::new(), child: Some(child) };
        match told.recv_timeout(START) {
            Ok(Ok(base)) => {
                server.base = base;
                Ok(server)
            }
            Ok(Err(line)) => bail!("the server did not start: {line}"),
            Err(_) => bail!("the server did not start within {} s", START.as_secs()),
        }
    }

    /// What it has used until now; none of a server that runs elsewhere.
    pub(super) fn usage(&self) -> Option<Usage> {
        Usage::of(&self.process()?)
    }

    /// Lets the peak of its memory begin anew; false where that cannot be.
    pub(super) fn reset_peak(&self) -> bool {
        self.process().is_some_and(|process| memory::reset_peak_of(&process))
    }

    fn process(&self) -> Option<String> {
        Some(self.child.as_ref()?.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // its registry is made for this run, and survives a kill anyway
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// User and system time.
    pub(super) cpu: Duration,
    pub(super) rss_mb: f64,
    /// Until now, or since it began anew.
    pub(super) peak_rss_mb: f64,
}

impl Usage {
    /// Of a process number, or `self`, where `/proc` tells.
    pub(super) fn of(process: &str) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let mib = |field| memory::of(process, field).map(|bytes| bytes as f64 / f64::from(1 << 20));
        Some(Self {
            cpu: Duration::from_secs_f64(ticks(&stat)? as f64 / ticks_per_second()),
            rss_mb: mib("VmRSS")?,
            peak_rss_mb: mib("VmHWM")?,
        })
    }
}

/// User and system ticks of `/proc/N/stat`, fields 14 and 15; the name before them may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(target_os = "linux")]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(not(target_os = "linux"))]
fn ticks_per_second() -> f64 {
    100.0
}

/// Keeps this thread, and those it starts from now on, on one core.
///
/// # Errors
/// If there is no such core, or the system cannot.
pub(super) fn pin(core: usize) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        let mut set = rustix::thread::CpuSet::new();
        if core < rustix::thread::CpuSet::MAX_CPU {
            set.set(core);
        }
        rustix::thread::sched_setaffinity(None, &set).with_context(|| format!("cannot keep to core {core}"))
    }
    #[cfg(not(target_os = "linux"))]
    bail!("--pin {core}: this system has no such call; leave it out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 100 1000 10 184467";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7"), None);
        if cfg!(target_os = "linux") {
            let usage = Usage::of("self").unwrap();
            assert!(usage.peak_rss_mb >= usage.rss_mb && usage.rss_mb > 1.0, "{usage:?}");
        }
    }
}
