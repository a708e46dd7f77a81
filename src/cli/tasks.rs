//! `s3delta tasks`, and how other commands name a task.

use super::On;
use super::output;
use super::session::Session;
use crate::task::{self, Split, Task};
use anyhow::{Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Tasks {
    /// Registered tasks, and those that are ready to import.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Definition and row counts of a task; of a ready-made one that is not registered, its definition as TOML.
    Show {
        /// Its name.
        name: String,
    },
    /// Read a task's rows and register it.
    #[command(after_help = "\
Examples:
  s3delta tasks import sst2 --data ./glue-sst2
  s3delta tasks import my-task.toml")]
    Import(Source),
    /// Remove a task; adapters trained on it stay.
    Rm {
        /// Its name.
        name: String,
    },
}

/// A task by name or file, with its data.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Source {
    /// A registered, built-in or ready-made task, or a TOML file.
    #[arg(value_name = "NAME|FILE.toml")]
    task: String,
    #[command(flatten)]
    data: Data,
}

/// Where a task's rows are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Data {
    /// Folder of the rows; needed once for a ready-made task.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Leave out rows whose text stands in this task too (SST-2 and MR share sentences).
    #[arg(long, value_name = "TASK")]
    exclude_overlap_with: Option<String>,
}

impl Data {
    /// The same folder without an exclusion, for a second task.
    pub(super) fn plain(data: Option<PathBuf>) -> Self {
        Self { data, exclude_overlap_with: None }
    }
}

impl Tasks {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let session = Session::open(home, &On::default())?;
        match self {
            Self::List { json } => {
                let tasks = session.list("/v1/tasks")?;
                if *json {
                    return output::json(&tasks);
                }
                let cell = |value: &Value| value.to_string().trim_matches('"').to_string();
                let mut rows: Vec<_> = tasks
                    .iter()
                    .map(|task| {
                        let counts = ["train", "dev", "test"].map(|split| cell(&task["rows"][split]));
                        let [train, dev, test] = counts;
                        vec![cell(&task["name"]), train, dev, test, cell(&task["definition"]["metric"])]
                    })
                    .collect();
                let registered = |name: &str| tasks.iter().any(|task| task["name"] == name);
                for name in
                    task::builtin_names().iter().copied().chain(task::ready_made().iter().map(|d| d.name.as_str()))
                {
                    if !registered(name) {
                        let dash = || "-".to_string();
                        let how = if task::builtin_names().contains(&name) { "built in" } else { "ready: give --data" };
                        rows.push(vec![name.into(), dash(), dash(), dash(), how.into()]);
                    }
                }
                output::table(&["task", "train", "dev", "test", "metric"], &rows);
                Ok(())
            }
            Self::Show { name } => match (session.get(&format!("/v1/tasks/{name}")), task::ready(name)) {
                (Ok(task), _) => output::json(&task),
                // not registered yet: its definition, from which to write one's own
                (Err(_), Ok(definition)) => {
                    output::line(toml::to_string_pretty(&definition)?.trim_end());
                    Ok(())
                }
                (Err(error), Err(_)) => Err(error),
            },
            Self::Import(source) => {
                let name = register(&session, &source.task, &source.data)?;
                output::json(&session.get(&format!("/v1/tasks/{name}"))?)
            }
            Self::Rm { name } => session.delete(&format!("/v1/tasks/{name}")),
        }
    }
}

/// Makes sure that the API knows a task, and gives its name.
///
/// A registered task stays as it is unless a file or a folder says otherwise; built-in ones are registered on first use.
pub(super) fn register(session: &Session, name: &str, data: &Data) -> Result<String> {
    let from_file = name.ends_with(".toml");
    if !from_file && data.data.is_none() && data.exclude_overlap_with.is_none() {
        let known = session.list("/v1/tasks")?;
        if known.iter().any(|task| task["name"] == name) {
            return Ok(name.into());
        }
    }
    let mut task = task::open(name, data.data.as_deref())?;
    if let Some(other) = &data.exclude_overlap_with {
        exclude(&mut task, &task::open(other, data.data.as_deref())?)?;
    }
    let path = format!("/v1/tasks/{}", task.name());
    session.put(&path, &task.to_bytes())?;
    Ok(task.name().to_string())
}

fn exclude(task: &mut Task, other: &Task) -> Result<()> {
    let excluded = task::exclude_overlap(task, other);
    eprintln!(
        "left out of {} what stands in {} too: {} train, {} dev, {} test rows",
        task.name(),
        other.name(),
        excluded.train,
        excluded.dev,
        excluded.test
    );
    if let Some(split) = Split::ALL.into_iter().find(|split| task.split(*split).is_empty()) {
        bail!("no row is left in the {split} split of `{}`", task.name());
    }
    Ok(())
}
