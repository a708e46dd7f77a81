//! Which settings of a run are refused.

use super::config::SPECIAL;
use super::{Corruption, Error, PretrainConfig, Result};

impl PretrainConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// If there is one; the text names it and what it may be.
    pub fn check(&self) -> Result<()> {
        let found = self.ranges().or_else(|| self.shares()).or_else(|| self.vocabulary()).or_else(|| self.mixture());
        found.map_or(Ok(()), |what| Err(Error::Config(what)))
    }

    fn ranges(&self) -> Option<String> {
        let (m, t) = (&self.model, &self.training);
        let counts = [
            ("model.d_model", m.d_model, 1, 1 << 16),
            ("model.d_kv", m.d_kv, 1, 1 << 12),
            ("model.num_heads", m.num_heads, 1, 1 << 12),
            ("model.encoder_layers", m.encoder_layers, 1, 1 << 10),
            ("model.decoder_layers", m.decoder_layers, 1, 1 << 10),
            ("model.d_ff", m.d_ff, 1, 1 << 20),
            ("corruption.source_tokens", self.corruption.source_tokens, 8, 1 << 16),
            ("training.steps", t.steps, 1, 100_000_000),
            ("training.batch_size", t.batch_size, 1, 1 << 20),
            ("training.micro_batch_size", t.micro_batch_size, 1, 1 << 20),
            ("training.report_every", t.report_every, 1, usize::MAX),
            ("training.evaluate_every", t.evaluate_every, 1, usize::MAX),
            ("training.checkpoint_every", t.checkpoint_every, 1, usize::MAX),
            ("training.held_out_batches", t.held_out_batches, 1, 1 << 20),
        ];
        if let Some((name, count, least, most)) =
            counts.into_iter().find(|(_, count, least, most)| !(least..=most).contains(&count))
        {
            let wanted = if most == usize::MAX { "at least 1".into() } else { format!("from {least} to {most}") };
            return Some(format!("{name} {count} must be {wanted}"));
        }
        let positive =
            [("model.embedding_start", m.embedding_start), ("training.rate", t.rate), ("training.clip", t.clip)];
        if let Some((name, value)) = positive.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            return Some(format!("{name} {value} must be a number above 0"));
        }
        let decay = t.weight_decay;
        (!(0.0..=1.0).contains(&decay)).then(|| format!("training.weight_decay {decay} must lie between 0 and 1"))
    }

    fn shares(&self) -> Option<String> {
        let shares = [
            ("vocabulary.coverage", self.vocabulary.coverage),
            ("training.cool_down", self.training.cool_down),
            ("text.builtin_share", self.text.builtin_share),
            ("supervised.share", self.supervised_share()),
        ];
        let (name, share) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share))?;
        Some(format!("{name} {share} must lie between 0 and 1"))
    }

    fn vocabulary(&self) -> Option<String> {
        let (v, c) = (&self.vocabulary, &self.corruption);
        let bytes = if v.byte_fallback { 256 } else { 0 };
        let least = SPECIAL + bytes + v.sentinels.min(1 << 16) + 64;
        if v.size < least {
            return Some(format!("vocabulary.size {} is less than {least}: raise it", v.size));
        }
        if v.size > 1 << 16 {
            return Some(format!("vocabulary.size {} is more than 65536: lower it", v.size));
        }
        if !(c.density > 0.0 && c.density < 1.0 && (1.0..=64.0).contains(&c.mean_span)) {
            return Some(format!(
                "corruption.density {} must lie between 0 and 1, and corruption.mean_span {} between 1 and 64",
                c.density, c.mean_span
            ));
        }
        let spans = Corruption::new(c, v).spans();
        (spans > v.sentinels).then(|| {
            format!(
                "a source of {} tokens has {spans} spans, more than the {} sentinels: raise vocabulary.sentinels",
                c.source_tokens, v.sentinels
            )
        })
    }

    fn mixture(&self) -> Option<String> {
        let supervised = self.supervised.as_ref()?;
        let (source, target) = (self.supervised_source_tokens(supervised), supervised.target_tokens);
        if source < 2 || target < 2 {
            return Some(format!(
                "supervised.source_tokens {source} and supervised.target_tokens {target} must be at least 2: the end token is one"
            ));
        }
        let none = supervised.paths.is_empty();
        none.then(|| "supervised.paths is empty: name files of JSONL, or leave [supervised] out".into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::document;
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let cases = [
            ("[model]\nd_model = 0", "model.d_model 0 must be from 1 to 65536"),
            ("[model]\nencoder_layers = 1099511627776", "model.encoder_layers"),
            ("[model]\nembedding_start = 0.0", "model.embedding_start 0"),
            ("[training]\nbatch_size = 10000000000000", "training.batch_size"),
            ("[training]\nreport_every = 0", "training.report_every 0 must be at least 1"),
            ("[training]\nrate = nan", "training.rate NaN"),
            ("[training]\nclip = -1.0", "training.clip -1"),
            ("[training]\nweight_decay = inf", "training.weight_decay inf"),
            ("[training]\ncool_down = 1.5", "training.cool_down 1.5"),
            ("[corruption]\ndensity = 1.0", "corruption.density 1"),
            ("[corruption]\nsource_tokens = 4", "corruption.source_tokens 4"),
            ("[corruption]\nsource_tokens = 4000", "raise vocabulary.sentinels"),
            ("[vocabulary]\nsize = 300", "vocabulary.size 300 is less"),
            ("[vocabulary]\nsize = 70000", "vocabulary.size 70000 is more"),
            ("[supervised]\nshare = 1.5\npaths = ['a']", "supervised.share 1.5"),
            ("[supervised]\nshare = 0.5\npaths = []", "supervised.paths is empty"),
            ("[supervised]\nshare = 0.5\npaths = ['a']\ntarget_tokens = 1", "supervised.target_tokens 1"),
            ("[supervised]\nshare = 0.5", "missing field `paths`"),
        ];
        for (add, wanted) in cases {
            let config = document(add).try_into::<PretrainConfig>();
            let error = config.map_or_else(|error| error.to_string(), |config| config.check().unwrap_err().to_string());
            assert!(error.contains(wanted), "{add}: {error}");
        }
    }
}
