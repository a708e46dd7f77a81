//! What modules were measured to take on the machine that serves.

use super::store::Table;
use super::{Registry, Result};
use std::collections::BTreeMap;

const COSTS: Table<BTreeMap<String, f64>> = Table::new("module-costs/");
/// The only record, until there is more than one processor to measure on.
const CPU: &str = "cpu";

impl Registry {
    /// Microseconds by what was measured; kept so that a weight which was chosen by them means the same later.
    pub fn module_costs(&self) -> Result<BTreeMap<String, f64>> {
        Ok(self.store().get(&COSTS, CPU)?.unwrap_or_default())
    }

    /// Keeps them in place of all that were kept.
    pub fn put_module_costs(&self, costs: &BTreeMap<String, f64>) -> Result<()> {
        let mut write = self.store().write();
        write.put(&COSTS, CPU, costs)?;
        write.commit()
    }
}
