//! `s3delta space`: counts a search space from a backbone's configuration alone.

use super::{On, output};
use crate::structure::{Space, SpaceFile};
use crate::t5::Backbone;
use anyhow::{Context, Result};
use std::path::Path;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta space --backbone ./t5-large --space mix --json
  s3delta space --backbone ./t5-large --space my-space.toml")]
pub(crate) struct Args {
    /// Hugging Face directory (config.json is enough), or builtin:NAME [default: S3DELTA_BACKBONE, or builtin:pocket-t5].
    #[arg(long, value_name = "DIR|builtin:NAME")]
    backbone: Option<String>,
    /// mix, lora, full, or a TOML file.
    #[arg(long, default_value = "mix", value_name = "NAME|FILE")]
    space: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let on = On { backbone: self.backbone.clone(), ..On::default() };
        let shape = Backbone::resolve_config(&on.config(home)?.backbone)?.shape();
        let space = match read_space(&self.space)? {
            Some(file) => Space::from_file(&file, &shape)?,
            None => Space::built_in(&self.space, &shape)?,
        };
        let summary = space.summary();
        if self.json {
            return output::json(&summary);
        }
        let mut rows: Vec<_> = summary
            .by_kind
            .iter()
            .map(|(kind, total)| vec![kind.to_string(), total.modules.to_string(), total.parameters.to_string()])
            .collect();
        rows.push(vec![summary.name.clone(), summary.modules.to_string(), summary.parameters.to_string()]);
        output::table(&["kind", "modules", "parameters"], &rows);
        Ok(())
    }
}

/// A user-made space, if this names a file and no built-in space.
fn read_space(name: &str) -> Result<Option<SpaceFile>> {
    if Space::BUILT_IN.contains(&name) || !(name.ends_with(".toml") || Path::new(name).exists()) {
        return Ok(None);
    }
    let text = std::fs::read_to_string(name).with_context(|| format!("cannot read the space file `{name}`"))?;
    Ok(Some(SpaceFile::parse(&text).with_context(|| format!("`{name}`"))?))
}

/// A space as requests hold it: a built-in one's name, or what the file says.
pub(super) fn field(name: &str) -> Result<serde_json::Value> {
    Ok(match read_space(name)? {
        Some(file) => serde_json::to_value(file)?,
        None => name.into(),
    })
}
