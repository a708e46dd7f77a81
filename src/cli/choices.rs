//! `s3delta structures choose` and `front`: a search's structure under another budget, or by what serving costs.

use super::session::Session;
use super::training::given;
use super::{On, output};
use crate::structure::{Budget, Selection, ServingCost};
use anyhow::Result;
use serde_json::json;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta structures choose 3f2a91 --budget 1.365%
  s3delta structures choose 3f2a91 --cost prefer-decoder --weight 0.2

Modules are chosen anew from the p of the structure's newest search; under another budget the shift of all p is solved anew. With
--cost, a module counts for its p less the weight times its cost: `s3delta structures front` shows the weights that matter.")]
pub(crate) struct Choose {
    /// Its id, or a unique prefix.
    id: String,
    /// Parameters: a count, a ratio of the backbone, or a share of the space [default: the search's].
    #[arg(long)]
    budget: Option<Budget>,
    /// How modules are chosen.
    #[arg(long, value_enum, default_value = "exact")]
    selection: Selection,
    /// What serving costs.
    #[arg(long, value_enum, requires = "weight")]
    cost: Option<ServingCost>,
    /// What a unit of the cost is worth in p.
    #[arg(long, value_name = "W", requires = "cost", value_parser = super::finite)]
    weight: Option<f64>,
    #[command(flatten)]
    pub(super) on: Box<On>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta structures front 3f2a91 --cost prefer-decoder
  s3delta structures front 3f2a91 --cost microseconds --budget 11% --json

Each line is the best choice at its weight. Keep one, by the weight that --json gives in full:
  s3delta structures choose 3f2a91 --cost prefer-decoder --weight W

Microseconds are measured when they are asked for first, and kept with the registry, so that weights go on meaning the same.")]
pub(crate) struct Front {
    /// Its id, or a unique prefix.
    id: String,
    /// What serving costs: bytes in memory, microseconds a request on this machine, or modules computed from the source.
    #[arg(long, value_enum)]
    cost: ServingCost,
    /// Parameters: a count, a ratio of the backbone, or a share of the space [default: the search's].
    #[arg(long)]
    budget: Option<Budget>,
    #[command(flatten)]
    pub(super) on: Box<On>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Choose {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let objective = self.cost.zip(self.weight).map(|(cost, weight)| json!({"cost": cost, "weight": weight}));
        let budget = self.budget.map(|budget| budget.to_string());
        let request = given(json!({"budget": budget, "selection": self.selection, "objective": objective}));
        output::json(&session.post(&format!("/v1/structures/{}/choices", self.id), &request)?)
    }
}

impl Front {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let cost = serde_json::to_value(self.cost)?;
        let cost = cost.as_str().expect("a cost is a word");
        let budget = self.budget.map(|budget| format!("&budget={}", budget.to_string().replace('%', "%25")));
        let budget = budget.unwrap_or_default();
        let path = format!("/v1/structures/{}/front?cost={cost}{budget}", self.id);
        let points = session.get(&path)?["data"].take();
        if self.json {
            return output::json(&points);
        }
        let columns = ["weight", "probability", "cost", "modules", "parameters"];
        let row = |point: &serde_json::Value| {
            let cells = columns.iter().map(|name| match (*name, &point[name]) {
                ("weight", value) => format!("{:.3e}", value.as_f64().unwrap_or_default()),
                (_, value) if value.is_f64() => format!("{:.4}", value.as_f64().unwrap_or_default()),
                (_, value) => value.to_string(),
            });
            cells.collect::<Vec<_>>()
        };
        let rows: Vec<_> = points.as_array().into_iter().flatten().map(row).collect();
        output::table(&columns, &rows);
        Ok(())
    }
}
