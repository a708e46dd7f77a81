//! Tasks: a definition and its rows, the rows as one blob.

use super::blobs::{BLOB_USERS, user_key};
use super::digest::check_name;
use super::store::{Order, Table};
use super::{Blob, Digest, Error, Noun, Page, PageRequest, Registry, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const TASKS: Table<TaskRecord> = Table::new("task/");

/// A stored task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskRecord {
    /// Its name.
    pub name: String,
    /// Digest of definition and rows.
    pub digest: Digest,
    /// The definition, as the `task` module reads it.
    #[schema(value_type = Object)]
    pub definition: serde_json::Value,
    /// How many rows each split has.
    pub rows: TaskRows,
    /// The rows of all splits.
    pub blob: Digest,
    /// When this version was stored, in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Whether it ships with the program.
    pub builtin: bool,
}

/// Rows by split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskRows {
    /// Training rows.
    pub train: usize,
    /// Development rows.
    pub dev: usize,
    /// Test rows.
    pub test: usize,
}

/// A task to store.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Its name.
    pub name: String,
    /// The definition.
    pub definition: serde_json::Value,
    /// Rows by split.
    pub rows: TaskRows,
    /// Whether it ships with the program.
    pub builtin: bool,
}

impl Registry {
    /// Stores a task, replacing the one of that name; the same definition and rows again change nothing.
    ///
    /// # Errors
    /// [`Error::TaskBuiltin`] if the name is that of a built-in task and this one is not.
    pub fn put_task(&self, task: NewTask, rows: &Blob) -> Result<TaskRecord> {
        check_name("a task", &task.name)?;
        let definition = sorted(&task.definition).to_string();
        let digest = Digest::of(format!("{definition}\n{}", rows.digest()).as_bytes());
        let mut write = self.store().write();
        let known = self.store().get(&TASKS, &task.name)?;
        match &known {
            Some(known) if known.builtin && !task.builtin => return Err(Error::TaskBuiltin(task.name)),
            Some(known) if known.digest == digest && known.builtin == task.builtin => return Ok(known.clone()),
            _ => {}
        }
        let NewTask { name, definition, rows: counts, builtin } = task;
        let created = Timestamp::now();
        let record = TaskRecord { name, digest, definition, rows: counts, blob: rows.digest(), created, builtin };
        if let Some(known) = &known {
            write.remove(&BLOB_USERS, &user_key(&known.blob, &owner(&record.name)))?;
        }
        write.put(&BLOB_USERS, &user_key(&record.blob, &owner(&record.name)), &())?;
        write.put(&TASKS, &record.name, &record)?;
        write.commit()?;
        if let Some(known) = &known {
            self.collect(&known.blob);
        }
        Ok(record)
    }

    /// The task of this name.
    pub fn task(&self, name: &str) -> Result<TaskRecord> {
        self.store().get(&TASKS, name)?.ok_or_else(|| Error::not_found(Noun::Task, name))
    }

    /// Tasks by name.
    pub fn tasks(&self, page: &PageRequest) -> Result<Page<TaskRecord>> {
        self.store().page(&TASKS, page, Order::Rising, |_| true)
    }

    /// Deletes a task that is not built in.
    pub fn delete_task(&self, name: &str) -> Result<()> {
        let mut write = self.store().write();
        let known = self.task(name)?;
        if known.builtin {
            return Err(Error::TaskBuiltin(known.name));
        }
        write.remove(&BLOB_USERS, &user_key(&known.blob, &owner(name)))?;
        write.remove(&TASKS, name)?;
        write.commit()?;
        self.collect(&known.blob);
        Ok(())
    }
}

fn owner(name: &str) -> String {
    format!("task/{name}")
}

/// The same value with the keys of every object in order, so that its text is canonical.
pub(super) fn sorted(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
