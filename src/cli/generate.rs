//! `s3delta generate`: decodes text or ids, with an adapter if one is named.

use super::decoding::Decoding;
use super::objects::{STRUCTURE_FILE, WEIGHTS_FILE, fetch};
use super::session::Session;
use super::{On, open_device, output};
use crate::delta::{DeltaWeights, Layout, Single};
use crate::structure::Structure;
use crate::t5::{Backbone, Deltas, Frozen, Generated, WeightFormat, device, generate};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  s3delta generate --backbone ./t5-small --text 'translate English to German: Hello' --max-new-tokens 20
  s3delta generate --backbone ./t5-small --text 'summarize: ...' --num-beams 4 --length-penalty 2 --early-stopping true
  s3delta generate --backbone ./t5-small --text 'a story:' --do-sample --top-p 0.9 --num-return-sequences 3 --seed 7
  s3delta generate --backbone ./t5-small --ids-file rows.json --json --logprobs 5
  s3delta generate --adapter sst2 --text 'sst2 sentence: a gripping film'
  s3delta generate --backbone ./t5-large --weights int8 --text 'summarize: ...'

rows.json is a list of lists of token ids; rows are padded by the program. Names and meanings are those of transformers'
GenerationConfig; the backbone's generation_config.json gives the values of flags that are left out. The score of a beam is
its summed log-probability divided by its length to the length penalty, that of other sequences is summed alone.")]
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
    #[command(flatten)]
    decoding: Decoding,
    /// Tell the log-probability of each token, and the N likeliest ones of each step; needs --json.
    #[arg(long, value_name = "N", requires = "json", num_args = 0..=1, default_missing_value = "0")]
    logprobs: Option<u16>,
    /// f32, or int8: weights rounded to 8 bits, on the CPU.
    #[arg(long, value_name = "FORMAT", default_value_t)]
    weights: WeightFormat,
    #[command(flatten)]
    on: On,
    /// Print JSON: ids, text and scores, a list for each source where it has several sequences.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(&self, home: &Path) -> Result<()> {
        let config = self.on.config(home)?;
        let (device, _) = open_device(&config)?;
        let backbone = Backbone::resolve_as(&config.backbone, self.weights, &device)?;
        let mut settings = self.decoding.settings(&backbone)?;
        settings.top_logprobs = self.logprobs.unwrap_or(0).into();
        let rows = self.rows(&backbone)?;
        let deltas: Box<dyn Deltas> = match &self.adapter {
            Some(adapter) => Box::new(load(&backbone, &self.files(home, adapter)?)?),
            None => Box::new(Frozen),
        };
        let made = device::compute(&device, || {
            let encoded = backbone.model.encode(&backbone.model.batch(&rows)?, &*deltas);
            generate(&backbone.model, &encoded, &rows, &settings, &*deltas)
        })?;
        let text = |row: &Generated| match backbone.tokenizer() {
            Ok(tokenizer) => tokenizer.decode(&row.ids, true).map(Some),
            Err(_) if self.ids_file.is_some() => Ok(None),
            Err(error) => Err(error),
        };
        let texts: Vec<Vec<Option<String>>> =
            made.iter().map(|rows| rows.iter().map(text).collect::<Result<_, _>>()).collect::<Result<_, _>>()?;
        if self.json {
            self.print_json(&made, &texts, settings.num_return_sequences > 1);
        } else {
            texts.iter().flatten().flatten().for_each(output::line);
        }
        Ok(())
    }

    /// One entry a source; where a source has several sequences, the entry is a list of them.
    fn print_json(&self, made: &[Vec<Generated>], texts: &[Vec<Option<String>>], several: bool) {
        let entry = |mut values: Vec<Value>| if several { Value::Array(values) } else { values.remove(0) };
        let each = |of: &dyn Fn(&Generated) -> Value| -> Vec<Value> {
            made.iter().map(|rows| entry(rows.iter().map(of).collect())).collect()
        };
        let with_text = texts.iter().flatten().all(Option::is_some);
        let text: Vec<_> = texts.iter().map(|rows| entry(rows.iter().map(|text| json!(text)).collect())).collect();
        let text = if with_text { text } else { Vec::new() };
        let mut document =
            json!({"ids": each(&|row| json!(row.ids)), "text": text, "scores": each(&|row| json!(row.score))});
        if let Some(count) = self.logprobs {
            document["logprobs"] = each(&|row| json!(row.logprobs)).into();
            if count > 0 {
                document["top_logprobs"] = each(&|row| json!(row.top)).into();
            }
        }
        output::line(document);
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
    Ok(Single::new(&layout, weights.values, backbone.positions.len(), backbone.model.device()))
}
