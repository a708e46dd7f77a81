//! `s3delta generate`: decodes text or ids, with an adapter if one is named.

use super::objects::{STRUCTURE_FILE, WEIGHTS_FILE, fetch};
use super::session::Session;
use super::{On, open_device, output};
use crate::delta::{DeltaWeights, Layout, Single};
use crate::structure::Structure;
use crate::t5::{Backbone, Deltas, Frozen, GreedyOptions, generate_greedy};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta generate --backbone ./t5-small --text 'translate English to German: Hello' --max-new-tokens 20
  s3delta generate --backbone ./t5-small --ids-file rows.json --json
  s3delta generate --adapter sst2 --text 'sst2 sentence: a gripping film'

rows.json is a list of lists of token ids; rows are padded by the program. Scores are summed log-probabilities.")]
pub(crate) struct Args {
    /// Adapter: a registered one, or a folder that `adapters export` wrote.
    #[arg(long, value_name = "NAME|DIR")]
    adapter: Option<String>,
    /// A source text; may be given several times.
    #[arg(long, value_name = "T", conflicts_with = "ids_file", required_unless_present = "ids_file")]
    text: Vec<String>,
    /// A JSON list of lists of token ids.
    #[arg(long, value_name = "FILE")]
    ids_file: Option<PathBuf>,
    /// Tokens to make at most.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    max_new_tokens: u16,
    /// Tokens to make at least.
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_new_tokens: usize,
    /// Beams; only greedy decoding (1) is there so far.
    #[arg(long, value_name = "N", default_value_t = 1)]
    num_beams: usize,
    #[command(flatten)]
    on: On,
    /// Print JSON: ids, text, scores.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        if self.num_beams != 1 {
            bail!("--num-beams {}: beam search is not there yet, decode greedily with --num-beams 1", self.num_beams);
        }
        let config = self.on.config(home)?;
        let (device, _) = open_device(&config)?;
        let backbone = Backbone::resolve(&config.backbone, &device)?;
        let rows = self.rows(&backbone)?;
        let deltas: Box<dyn Deltas> = match &self.adapter {
            Some(adapter) => Box::new(load(&backbone, &self.files(home, adapter)?)?),
            None => Box::new(Frozen),
        };
        let options = GreedyOptions { max_new_tokens: self.max_new_tokens.into(), min_new_tokens: self.min_new_tokens };
        let encoded = backbone.model.encode(&backbone.model.batch(&rows)?, &*deltas);
        let made = generate_greedy(&backbone.model, &backbone.config, &encoded, options, &*deltas)?;
        let text = match backbone.tokenizer() {
            Ok(tokenizer) => made.iter().map(|row| tokenizer.decode(&row.ids, true)).collect::<Result<Vec<_>, _>>()?,
            Err(error) if self.ids_file.is_none() => return Err(error.into()),
            Err(_) => Vec::new(),
        };
        if !self.json {
            text.iter().for_each(output::line);
            return Ok(());
        }
        let ids: Vec<_> = made.iter().map(|row| &row.ids).collect();
        let scores: Vec<_> = made.iter().map(|row| row.score).collect();
        output::line(serde_json::json!({"ids": ids, "text": text, "scores": scores}));
        Ok(())
    }

    fn rows(&self, backbone: &Backbone) -> Result<Vec<Vec<u32>>> {
        let Some(file) = &self.ids_file else {
            let tokenizer = backbone.tokenizer()?;
            return Ok(self.text.iter().map(|text| tokenizer.encode(text)).collect::<Result<_, _>>()?);
        };
        let name = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{name}`"))?;
        serde_json::from_str(&text).with_context(|| format!("`{name}` is not a JSON list of lists of token ids"))
    }

    /// The structure document and weights of a folder or a registered adapter.
    fn files(&self, home: &Path, adapter: &str) -> Result<(Vec<u8>, Vec<u8>)> {
        let folder = Path::new(adapter);
        if !folder.is_dir() {
            return fetch(&Session::open(home, &On::default())?, adapter);
        }
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
        };
        Ok((read(STRUCTURE_FILE)?, read(WEIGHTS_FILE)?))
    }
}

fn load(backbone: &Backbone, (structure, weights): &(Vec<u8>, Vec<u8>)) -> Result<Single> {
    let structure: Structure = serde_json::from_slice(structure).context("the adapter's structure.json")?;
    let structure = structure.validate()?;
    structure.check_fits(backbone.shape())?;
    let weights = DeltaWeights::from_bytes(weights, &backbone.positions, &structure)?;
    if !weights.metadata.backbone.is_empty() && weights.metadata.backbone != backbone.digest {
        bail!(
            "the adapter was trained over a backbone with the weights {}, `{}` has {}: give that backbone",
            weights.metadata.backbone,
            backbone.name,
            backbone.digest
        );
    }
    let layout = Layout::new(&backbone.positions, &structure.modules)?;
    Ok(Single::new(&layout, &weights.values, backbone.positions.len(), backbone.model.device()))
}
