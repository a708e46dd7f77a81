//! `/v1/completions`, compatible with OpenAI's: text for a prompt, at once or as a stream.

use super::{
    ApiError, AppState, ErrorBody, Result,
    auth::{Infer, May},
    extract::Json,
    generation::{Row, Tokens, Wanted, begun, parts, start},
    model::Served,
    observe::RequestId,
};
use crate::serve::FinishReason;
use axum::{
    Extension,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
};
use futures_util::{TryFutureExt, future::try_join_all};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Stop texts of a request.
const MOST_STOPS: usize = 4;

/// What to continue. T5 reads the prompt with its encoder and writes the text with its decoder.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionRequest {
    /// An adapter (`name`, `name@alias`, `name@digest`), or the backbone's name.
    pub model: String,
    /// One text or several, or their token ids.
    pub prompt: Prompt,
    /// Most tokens to make for each text; if absent what the backbone's generation_config.json says, or 64.
    pub max_tokens: Option<usize>,
    /// Whether to send the text as it is made.
    pub stream: Option<bool>,
    /// How to stream.
    pub stream_options: Option<StreamOptions>,
    /// One text or up to four at which to stop; they are not sent.
    pub stop: Option<Stop>,
    /// Texts for each prompt, 1 if absent: drawn ones, or the best of as many beams.
    pub n: Option<usize>,
    /// Only as many as `n`.
    pub best_of: Option<usize>,
    /// Draws tokens, their scores divided by it. Absent or 0: the likeliest token is taken, unlike OpenAI's default of 1.
    pub temperature: Option<f64>,
    /// Draw among the likeliest tokens that together have this probability; needs `temperature`.
    pub top_p: Option<f64>,
    /// Of the draws; another one each time if absent. The same seed gives the same texts, up to draws that rounding decides.
    pub seed: Option<i64>,
    /// Tell each token's log-probability and so many of the likeliest ones of its step, 0 to 20.
    pub logprobs: Option<usize>,
    /// Only false: the prompt is no part of the text.
    pub echo: Option<bool>,
    /// Not available.
    pub suffix: Option<String>,
    /// Subtracted from the score of every token that was made.
    pub presence_penalty: Option<f64>,
    /// Subtracted from a token's score as often as it was made.
    pub frequency_penalty: Option<f64>,
    /// What to add to the scores of tokens, −100 to 100, by their ids.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Without effect.
    pub user: Option<String>,
    /// Not in OpenAI's interface, as all that follows; names and meanings are those of transformers' `GenerationConfig`.
    /// Draw among so many of the likeliest tokens, 0 (if absent) for all; needs `temperature`.
    pub top_k: Option<usize>,
    /// Draw among tokens with this part of the likeliest one's probability; needs `temperature`.
    pub min_p: Option<f64>,
    /// Draw among the most typical tokens that together have this probability; needs `temperature`.
    pub typical_p: Option<f64>,
    /// Seconds after which the request is given up with 504; without end if absent.
    pub timeout: Option<f64>,
    /// Beams, 1 if absent. Their texts are known, and sent in a stream, at the end of the search; a stop text cuts them then.
    pub num_beams: Option<usize>,
    /// Exponent of the length by which a finished beam's score is divided.
    pub length_penalty: Option<f64>,
    /// Ends the search: `true` with as many finished texts as beams, `false` by a heuristic, `"never"` once no beam can become
    /// better.
    pub early_stopping: Option<EarlyStop>,
    /// Tokens at least.
    pub min_new_tokens: Option<usize>,
    /// More than 1 makes tokens less likely that were made.
    pub repetition_penalty: Option<f64>,
    /// More than 1 makes the prompt's tokens more likely.
    pub encoder_repetition_penalty: Option<f64>,
    /// No run of so many tokens comes twice; 0 for no limit.
    pub no_repeat_ngram_size: Option<usize>,
    /// No run of so many of the prompt's tokens is made; 0 for no limit.
    pub encoder_no_repeat_ngram_size: Option<usize>,
    /// Runs of token ids that are not made.
    pub bad_words_ids: Option<Vec<Vec<u32>>>,
    /// Token ids that are never made.
    pub suppress_tokens: Option<Vec<u32>>,
    /// Token ids that are not the first.
    pub begin_suppress_tokens: Option<Vec<u32>>,
    /// The first token.
    pub forced_bos_token_id: Option<u32>,
    /// The last token where `max_tokens` is reached.
    pub forced_eos_token_id: Option<u32>,
}

/// `early_stopping`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "`early_stopping` must be true, false or \"never\"")]
pub enum EarlyStop {
    /// `true` or `false`.
    Flag(bool),
    /// `"never"`.
    Word(Never),
}

/// The word `never`.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
pub enum Never {
    /// It.
    #[serde(rename = "never")]
    Never,
}

/// How to stream.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// Whether a last part tells the usage.
    #[serde(default)]
    pub include_usage: bool,
}

/// One text or several, or their token ids.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "`prompt` must be a text, a list of texts, a list of token ids, or a list of such lists")]
pub enum Prompt {
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// Token ids; the end token is added where it is missing.
    Ids(Vec<u32>),
    /// Several lists of token ids.
    IdLists(Vec<Vec<u32>>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// Where to stop.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "`stop` must be a text or a list of texts")]
pub enum Stop {
    /// One text.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// The text made.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Completion {
    /// Id of the reply.
    pub id: String,
    /// Always `text_completion`.
    pub object: &'static str,
    /// When, in seconds since 1970.
    pub created: i64,
    /// The model as requested.
    pub model: String,
    /// Digest of the generation that answered; null for the bare backbone.
    pub adapter_generation: Option<String>,
    /// `n` for each prompt: those of the first one, then those of the next.
    pub choices: Vec<Choice>,
    /// Tokens read and made; in a stream only at its end, and only if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// A text for one prompt, or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Choice {
    /// Which text: text k of prompt i, both counted from 0, is i · n + k.
    pub index: usize,
    /// The text.
    pub text: String,
    /// The log-probabilities asked for.
    pub logprobs: Option<Logprobs>,
    /// Why it ended; null while it has not.
    pub finish_reason: Option<FinishReason>,
}

/// Log-probabilities of tokens as the model gives them, before any penalty or temperature; an entry a token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Logprobs {
    /// The text that each adds; `token_id:N` where it adds none of its own.
    pub tokens: Vec<String>,
    /// Its log-probability.
    pub token_logprobs: Vec<f32>,
    /// The likeliest tokens of its step; null if none were asked for.
    pub top_logprobs: Option<Vec<BTreeMap<String, f32>>>,
    /// Where it begins in the text, in characters.
    pub text_offset: Vec<usize>,
}

/// Tokens read and made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Usage {
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Tokens made.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
    /// More of the prompts' tokens.
    pub prompt_tokens_details: PromptTokensDetails,
}

/// More of the prompts' tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PromptTokensDetails {
    /// Tokens of prompts whose encoding was there already: made for an earlier request, or for another one at the same time.
    pub cached_tokens: usize,
}

/// Continues prompts.
#[utoipa::path(post, path = "/v1/completions", tag = "models", request_body = CompletionRequest,
    security(("bearer" = ["infer"])),
    responses((status = 200, content((Completion = "application/json"), (String = "text/event-stream"))),
        (status = "default", body = ErrorBody)))]
pub(crate) async fn create_completion(
    _: May<Infer>,
    State(state): State<AppState>,
    Extension(id): Extension<RequestId>,
    Json(request): Json<CompletionRequest>,
) -> Result<Response> {
    // before the prompt is read: many are turned away when there is least time for it
    state.engine.check_room()?;
    let settings = Arc::new(request.settings(&state)?);
    let stops = request.stops()?;
    let deadline = deadline(request.timeout)?;
    let (reference, prompt) = (request.model.clone(), request.prompt.clone());
    let (model, prompts) = state.read(deadline, move |state| prepare(state, &reference, prompt)).await?;
    let head = Completion {
        id: format!("cmpl-{}", id.0),
        object: "text_completion",
        created: jiff::Timestamp::now().as_second(),
        model: request.model,
        adapter_generation: model.generation.clone(),
        choices: Vec::new(),
        usage: None,
    };
    let prompt_tokens = prompts.iter().map(Vec::len).sum();
    let mut rows = start(
        &state,
        &model,
        prompts,
        &settings,
        Wanted { stops, logprobs: request.logprobs, seeded: request.seed.is_some(), deadline },
    )
    .await?;
    if request.stream == Some(true) {
        begun(&mut rows).await?;
        let usage = request.stream_options.is_some_and(|options| options.include_usage);
        let parts = parts(head, model, rows, usage.then_some(prompt_tokens), id);
        return Ok(Sse::new(parts).keep_alive(KeepAlive::default()).into_response());
    }
    let done = try_join_all(rows.into_iter().map(|row| row.and_then(Row::whole))).await?;
    let made = done.iter().map(|(_, made)| *made).fold(Tokens::default(), Tokens::and);
    let choices = done.into_iter().flat_map(|(choices, _)| choices).collect();
    Ok(Json(Completion { choices, usage: Some(usage(prompt_tokens, made)), ..head }).into_response())
}

/// Seconds of the longest `timeout`, some thirty years.
const LONGEST_TIMEOUT: f64 = 1e9;

/// When a request with this `timeout` in seconds is given up.
pub(crate) fn deadline(timeout: Option<f64>) -> Result<Option<Instant>> {
    let Some(seconds) = timeout else { return Ok(None) };
    let fits = seconds > 0.0 && seconds <= LONGEST_TIMEOUT;
    let span = fits.then(|| Duration::try_from_secs_f64(seconds).ok()).flatten();
    let deadline = span.and_then(|span| Instant::now().checked_add(span));
    let message = || {
        format!("`timeout` is {seconds:?}: give seconds, more than 0 and at most {LONGEST_TIMEOUT:?}, or leave it out")
    };
    deadline.map(Some).ok_or_else(|| ApiError::unservable("request_invalid", message()).at("timeout"))
}

impl CompletionRequest {
    fn stops(&self) -> Result<Vec<String>> {
        let stops = match self.stop.clone() {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Several(stops)) => stops,
        };
        if stops.len() > MOST_STOPS || stops.iter().any(String::is_empty) {
            let message = format!("`stop` must be at most {MOST_STOPS} texts, none of them empty");
            return Err(ApiError::unservable("request_invalid", message).at("stop"));
        }
        Ok(stops)
    }
}

/// The model and the prompts' ids.
fn prepare(state: &AppState, reference: &str, prompt: Prompt) -> Result<(Served, Vec<Vec<u32>>)> {
    let model = state.served(reference).map_err(|error| error.at("model"))?;
    let most = state.config.inputs;
    let given = match &prompt {
        Prompt::Text(_) | Prompt::Ids(_) => 1,
        Prompt::Texts(texts) => texts.len(),
        Prompt::IdLists(lists) => lists.len(),
    };
    if given == 0 || given > most {
        let message = format!("`prompt` holds {given} texts: give 1 to {most} (the setting `inputs`)");
        return Err(ApiError::unservable("request_invalid", message).at("prompt"));
    }
    let encode = |texts: Vec<String>| texts.iter().map(|text| state.encode(text)).collect::<Result<Vec<_>>>();
    let prompts = match prompt {
        Prompt::Text(text) => encode(vec![text]),
        Prompt::Texts(texts) => encode(texts),
        Prompt::Ids(ids) => check_ids(state, vec![ids]),
        Prompt::IdLists(lists) => check_ids(state, lists),
    };
    Ok((model, prompts.map_err(|error| error.at("prompt"))?))
}

fn check_ids(state: &AppState, mut lists: Vec<Vec<u32>>) -> Result<Vec<Vec<u32>>> {
    let vocabulary = state.engine.backbone().shape.vocab_size;
    // what an empty text encodes to is the end token alone
    let end = state.engine.tokenizer().encode("")?;
    for ids in &mut lists {
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            let message = format!("token id {id} is outside of the vocabulary of {vocabulary}");
            return Err(ApiError::unservable("request_invalid", message));
        }
        if !ids.ends_with(&end) {
            ids.extend(&end);
        }
        state.check_length(ids.len())?;
    }
    Ok(lists)
}

pub(crate) fn usage(prompt_tokens: usize, tokens: Tokens) -> Usage {
    let Tokens { made, cached } = tokens;
    let prompt_tokens_details = PromptTokensDetails { cached_tokens: cached };
    Usage { prompt_tokens, completion_tokens: made, total_tokens: prompt_tokens + made, prompt_tokens_details }
}
