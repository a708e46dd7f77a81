//! Transfers: what a source task's structure scored on a target task.

use super::store::{Order, Table};
use super::{Registry, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const TRANSFERS: Table<TransferRecord> = Table::new("transfer/");

/// A source task's structure re-trained on a target task, with the score that resulted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Transfer)]
pub struct TransferRecord {
    /// Task that the structure was searched on; none for a hand-made one.
    pub source_task: Option<String>,
    /// Id of the structure.
    pub source_structure: String,
    /// Task that it was trained on.
    pub target_task: String,
    /// Seeds of the training runs.
    pub seeds: Vec<u64>,
    /// Mean score over the seeds.
    pub score_mean: f64,
    /// Sample standard deviation over the seeds; 0 for one seed.
    pub score_std: f64,
    /// The metric.
    pub metric: String,
    /// Trained parameters.
    pub parameters: usize,
    /// Adapter that came of it.
    pub adapter: Option<String>,
    /// Job that made it.
    pub job: Option<String>,
    /// When, in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
}

impl Registry {
    /// Stores a transfer; the same job's transfer of a structure to a task again replaces the first.
    pub fn put_transfer(&self, record: &TransferRecord) -> Result<()> {
        let source = record.source_task.as_deref().unwrap_or_default();
        let run = record.job.clone().unwrap_or_else(|| format!("{:016x}", record.created.as_microsecond()));
        let key = format!("{source}/{}/{}/{run}", record.target_task, record.source_structure);
        let mut write = self.store().write();
        write.put(&TRANSFERS, &key, record)?;
        write.commit()
    }

    /// All transfers, by source task, target task and structure.
    pub fn transfers(&self) -> Result<Vec<TransferRecord>> {
        self.store().scan(&TRANSFERS, "", None, Order::Rising).map(|entry| entry.map(|(_, record)| record)).collect()
    }
}
