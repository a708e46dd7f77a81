//! From a completion's fields to how to decode.

use super::{
    ApiError, AppState, Result,
    completions::{CompletionRequest, EarlyStop},
};
use crate::t5::{DecodeSettings, EarlyStopping};
use rand::{TryRng, rngs::SysRng};

/// Alternatives that each token may tell.
const MOST_LOGPROBS: usize = 20;
/// Bounds of `logit_bias`, as OpenAI has them.
const MOST_BIAS: f32 = 100.0;

impl CompletionRequest {
    /// How to decode: the backbone's defaults, and over them what the request says. Refuses what would have no effect.
    pub(super) fn settings(&self, state: &AppState) -> Result<DecodeSettings> {
        self.check_available()?;
        let backbone = state.engine.backbone();
        let wrong = |message: String, name: &'static str| ApiError::unservable("request_invalid", message).at(name);
        let defaults = backbone.decoding.as_ref();
        let mut settings = defaults.map_err(|why| ApiError::unservable("request_not_servable", why.clone()))?.clone();
        let most = state.config.output_tokens;
        settings.max_new_tokens = match self.max_tokens {
            None => settings.max_new_tokens.min(most),
            Some(tokens) if (1..=most).contains(&tokens) => tokens,
            Some(tokens) => {
                let message = format!("`max_tokens` is {tokens}: give 1 to {most} (the setting `output_tokens`)");
                return Err(wrong(message, "max_tokens"));
            }
        };
        settings.num_return_sequences = self.n.unwrap_or(settings.num_return_sequences);
        settings.num_beams = self.num_beams.unwrap_or(settings.num_beams);
        let most = state.engine.most_rows();
        for (name, count) in [("n", settings.num_return_sequences), ("num_beams", settings.num_beams)] {
            if count > most {
                return Err(wrong(format!("`{name}` is {count}: give at most {most}"), name));
            }
        }
        match self.temperature {
            Some(0.0) => settings.do_sample = false,
            Some(temperature) => (settings.do_sample, settings.temperature) = (true, temperature),
            None => {}
        }
        // 50 is transformers' default, all is OpenAI's
        settings.top_k = Some(self.top_k.or(settings.top_k).unwrap_or(0));
        settings.seed = match self.seed {
            Some(seed) => seed as u64,
            None if settings.do_sample => SysRng.try_next_u64().map_err(ApiError::internal)?,
            None => 0,
        };
        settings.top_logprobs = self.logprobs.unwrap_or(0);
        set(&mut settings.top_p, self.top_p);
        set(&mut settings.min_p, self.min_p);
        set(&mut settings.typical_p, self.typical_p);
        set(&mut settings.length_penalty, self.length_penalty);
        set(&mut settings.min_new_tokens, self.min_new_tokens);
        set(&mut settings.repetition_penalty, self.repetition_penalty);
        set(&mut settings.encoder_repetition_penalty, self.encoder_repetition_penalty);
        set(&mut settings.no_repeat_ngram_size, self.no_repeat_ngram_size);
        set(&mut settings.encoder_no_repeat_ngram_size, self.encoder_no_repeat_ngram_size);
        set(&mut settings.presence_penalty, self.presence_penalty);
        set(&mut settings.frequency_penalty, self.frequency_penalty);
        set(&mut settings.bad_words_ids, self.bad_words_ids.clone());
        set(&mut settings.suppress_tokens, self.suppress_tokens.clone());
        set(&mut settings.begin_suppress_tokens, self.begin_suppress_tokens.clone());
        settings.forced_bos_token_id = self.forced_bos_token_id.or(settings.forced_bos_token_id);
        set(&mut settings.forced_eos_token_id, self.forced_eos_token_id.map(|id| vec![id]));
        set(&mut settings.early_stopping, self.early_stopping.as_ref().map(early_stopping));
        for (id, bias) in self.logit_bias.iter().flatten() {
            let token: Option<u32> = id.parse().ok().filter(|token: &u32| token.to_string() == *id); // one way to write it
            let token = token.ok_or_else(|| wrong(format!("`logit_bias`: `{id}` is no token id"), "logit_bias"))?;
            if !(-MOST_BIAS..=MOST_BIAS).contains(bias) {
                return Err(wrong(format!("`logit_bias` of {id} is {bias}: give -100 to 100"), "logit_bias"));
            }
            settings.sequence_bias.push((vec![token], *bias));
        }
        self.check_effect(&settings)?;
        settings.check(backbone.shape.vocab_size).map_err(|error| {
            let name = request_name(error.field);
            let what = error.what.replace("`max_new_tokens`", "`max_tokens`").replace("`do_sample`", "`temperature`");
            wrong(format!("`{name}` {what}"), name)
        })?;
        Ok(settings)
    }

    /// Refuses what is not done at all.
    fn check_available(&self) -> Result<()> {
        let of_n = self.best_of.is_none_or(|best| best == self.n.unwrap_or(1));
        let rules = [
            ("best_of", of_n, "leave it out, or give as many as `n`: every text is sent"),
            ("echo", self.echo != Some(true), "leave it out: an encoder reads the prompt, it is no part of the text"),
            ("suffix", self.suffix.is_none(), "leave it out"),
        ];
        if let Some((name, _, fix)) = rules.into_iter().find(|(_, fine, _)| !fine) {
            let message = format!("`{name}` is not available: {fix}");
            return Err(ApiError::unservable("parameter_unsupported", message).at(name));
        }
        if self.logprobs.is_some_and(|count| count > MOST_LOGPROBS) {
            let message = format!("`logprobs` is {}: give 0 to {MOST_LOGPROBS}", self.logprobs.unwrap_or(0));
            return Err(ApiError::unservable("request_invalid", message).at("logprobs"));
        }
        Ok(())
    }

    /// Refuses what says how to draw where nothing is drawn, and how to search where there are no beams.
    fn check_effect(&self, settings: &DecodeSettings) -> Result<()> {
        let drawn = settings.do_sample;
        let draw = "nothing is drawn: give `temperature`, such as 1, or leave it out";
        let beams = settings.num_beams > 1;
        let search = "there are no beams: give `num_beams`, or leave it out";
        let rules = [
            ("top_p", drawn || self.top_p.is_none_or(|p| p == 1.0), draw),
            ("top_k", drawn || self.top_k.is_none_or(|k| k <= 1), draw),
            ("min_p", drawn || self.min_p.is_none_or(|p| p == 0.0), draw),
            ("typical_p", drawn || self.typical_p.is_none_or(|p| p == 1.0), draw),
            ("length_penalty", beams || self.length_penalty.is_none_or(|p| p == 1.0), search),
            (
                "early_stopping",
                beams || !matches!(self.early_stopping, Some(EarlyStop::Flag(true) | EarlyStop::Word(_))),
                search,
            ),
        ];
        match rules.into_iter().find(|(_, fine, _)| !fine) {
            Some((name, _, why)) => {
                let message = format!("`{name}` would have no effect, as {why}");
                Err(ApiError::unservable("parameter_unsupported", message).at(name))
            }
            None => Ok(()),
        }
    }
}

/// What a request calls a setting.
fn request_name(field: &'static str) -> &'static str {
    match field {
        "max_new_tokens" => "max_tokens",
        "num_return_sequences" => "n",
        "sequence_bias" => "logit_bias",
        other => other,
    }
}

fn early_stopping(value: &EarlyStop) -> EarlyStopping {
    match value {
        EarlyStop::Flag(false) => EarlyStopping::Heuristic,
        EarlyStop::Flag(true) => EarlyStopping::Full,
        EarlyStop::Word(_) => EarlyStopping::Never,
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
