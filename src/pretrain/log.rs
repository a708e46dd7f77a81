//! `log.jsonl`: every report of a run as one line of JSON.

use super::checkpoint::write_atomically;
use super::{Error, Progress, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The log of a run.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    reports: Vec<Progress>,
}

impl Log {
    /// Opens the log of a run that goes on after `step`: what it says of later steps, and what a crash left half written, is
    /// cut off, so that no step is there twice.
    pub(super) fn open(path: &Path, step: usize) -> Result<Self> {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::read(path)(error)),
        };
        let mut reports: Vec<Progress> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        reports.retain(|report| report.step <= step);
        write_atomically(path, reports.iter().map(line).collect::<String>().as_bytes())?;
        let file = File::options().append(true).open(path).map_err(Error::write(path))?;
        Ok(Self { path: path.to_path_buf(), file, reports })
    }

    /// Appends a report.
    pub(super) fn push(&mut self, report: &Progress) -> Result<()> {
        self.file.write_all(line(report).as_bytes()).map_err(Error::write(&self.path))?;
        self.reports.push(report.clone());
        Ok(())
    }

    /// All reports since the run began.
    pub(super) fn reports(&self) -> &[Progress] {
        &self.reports
    }
}

fn line(report: &Progress) -> String {
    serde_json::to_string(report).expect("a report is plain data") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: usize) -> Progress {
        let held_out = step.is_multiple_of(2).then(|| [("text".to_string(), 4.5)].into());
        Progress { step, loss: 5.0 / step as f64, held_out, tokens: 100 * step, ..Progress::default() }
    }

    #[test]
    fn a_resumed_log_has_no_step_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let steps = |step: usize| {
            let log = Log::open(&path, step).unwrap();
            log.reports().iter().map(|report| report.step).collect::<Vec<_>>()
        };
        let mut log = Log::open(&path, 0).unwrap();
        (1..=5).for_each(|step| log.push(&report(step)).unwrap());
        log.file.write_all(b"{\"step\":6,\"lo").unwrap(); // killed as it wrote
        let mut log = Log::open(&path, 4).unwrap();
        assert_eq!(log.reports(), (1..=4).map(report).collect::<Vec<_>>());
        log.push(&report(5)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 5);
        assert!(text.lines().nth(1).unwrap().contains(r#""held_out":{"text":4.5}"#), "{text}");
        assert_eq!((steps(9), steps(2), steps(9)), (vec![1, 2, 3, 4, 5], vec![1, 2], vec![1, 2]));
        assert!(steps(0).is_empty());
    }
}
