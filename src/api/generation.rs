//! Generations under way: from the engine's events to a whole text or to parts of a stream.

use super::{
    ApiError, AppState, Result,
    completions::{Choice, Completion, usage},
    logprobs::Recorder,
    model::Served,
    observe::{End, RequestId, error_body},
};
use crate::serve::{self, Entry, Event, FinishReason, GenerateRequest, Generation, List, TextPart, TextStream};
use crate::t5::DecodeSettings;
use axum::{http::StatusCode, response::sse};
use futures_util::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::{self, Stream},
};
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

/// What a request wants beside the settings.
pub(crate) struct Wanted {
    pub(crate) stops: Vec<String>,
    /// Alternatives of each token, where log-probabilities are wanted.
    pub(crate) logprobs: Option<usize>,
    /// Whether each prompt draws from the seed of the settings, as it does alone; else each from one of its own.
    pub(crate) seeded: bool,
    /// When it is given up.
    pub(crate) deadline: Option<Instant>,
}

/// One prompt under way.
pub(crate) struct Row {
    /// Number of its first text.
    number: usize,
    /// Tokens of the prompt.
    prompt: usize,
    generation: Generation,
    /// An event that was waited for before its turn.
    first: Option<Event>,
    _entry: Entry,
    engine: serve::Engine,
    lines: Vec<Line>,
}

/// A prompt that waits for its place in the queue.
pub(crate) type Listed = BoxFuture<'static, Result<Row>>;

/// Tokens of prompts under way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tokens {
    /// Those made.
    pub(crate) made: usize,
    /// Those of prompts whose encoding was there already.
    pub(crate) cached: usize,
}

impl Tokens {
    pub(crate) fn and(self, other: Self) -> Self {
        Self { made: self.made + other.made, cached: self.cached + other.cached }
    }
}

/// One text under way.
struct Line {
    text: TextStream,
    /// Characters sent.
    sent: usize,
    logprobs: Option<Recorder>,
    ended: bool,
}

/// The prompts, of which the first has its place: from here on none is refused for want of room.
pub(crate) async fn start(
    state: &AppState,
    model: &Served,
    prompts: Vec<Vec<u32>>,
    settings: &Arc<DecodeSettings>,
    wanted: Wanted,
) -> Result<Vec<Listed>> {
    let (texts, deadline) = (settings.num_return_sequences, wanted.deadline);
    let line = || Line {
        text: TextStream::new(wanted.stops.clone()),
        sent: 0,
        logprobs: wanted.logprobs.map(Recorder::new),
        ended: false,
    };
    let list = Arc::new(List::new(&state.engine));
    let listed = |(index, ids): (usize, Vec<u32>)| {
        let (number, prompt) = (index * texts, ids.len());
        let settings = if wanted.seeded || !settings.do_sample {
            Arc::clone(settings)
        } else {
            Arc::new(DecodeSettings { seed: settings.seed.wrapping_add(index as u64), ..(**settings).clone() })
        };
        let request = GenerateRequest { adapter: model.adapter.clone(), ids, settings };
        let lines = (0..texts).map(|_| line()).collect();
        let (list, engine) = (Arc::clone(&list), state.engine.clone());
        let begin = async move {
            let (place, entry) = list.enter(request.adapter.as_deref(), deadline).await?;
            let generation = engine.generate_at(place, request, deadline)?;
            Ok(Row { number, prompt, generation, first: None, _entry: entry, engine, lines })
        };
        begin.boxed()
    };
    let mut rows: Vec<_> = prompts.into_iter().enumerate().map(listed).collect();
    if let Some(first) = rows.first_mut() {
        *first = future::ok((&mut *first).await?).boxed();
    }
    Ok(rows)
}

/// Waits until the first prompt has made something, so that what the engine refuses has a status of its own, also in a stream.
pub(crate) async fn begun(rows: &mut [Listed]) -> Result<()> {
    let Some(first) = rows.first_mut() else { return Ok(()) };
    let mut row = (&mut *first).await?;
    match row.generation.recv().await {
        Some(Event::Failed(error)) => return Err(ApiError::refused(error, "model", "prompt")),
        event => row.first = event,
    }
    *first = future::ok(row).boxed();
    Ok(())
}

impl Row {
    /// The next part; none after the last. The last part of each text names the reason.
    async fn next(&mut self) -> Result<Option<Choice>> {
        while self.lines.iter().any(|line| !line.ended) {
            let tokenizer = self.engine.tokenizer();
            let event = match self.first.take() {
                Some(event) => Some(event),
                None => self.generation.recv().await,
            };
            let (sequence, part, reason) = match event {
                Some(Event::Token { sequence, token }) => {
                    let line = &mut self.lines[sequence];
                    if line.ended {
                        continue; // behind a stop text
                    }
                    line.logprobs.as_mut().map(|logprobs| logprobs.push(tokenizer, &token)).transpose()?;
                    (sequence, tokenizer.push(&mut line.text, token.id)?, None)
                }
                Some(Event::Finished { sequence, .. }) if self.lines[sequence].ended => continue,
                Some(Event::Finished { sequence, reason }) => {
                    (sequence, tokenizer.finish(&mut self.lines[sequence].text)?, Some(reason))
                }
                Some(Event::Failed(error)) => return Err(ApiError::refused(error, "model", "prompt")),
                None => return Err(serve::Error::Stopped.into()),
            };
            let TextPart { text, stopped } = part;
            let finish_reason = if stopped { Some(FinishReason::Stop) } else { reason };
            if stopped {
                self.generation.stop(sequence);
            }
            let line = &mut self.lines[sequence];
            line.ended = finish_reason.is_some();
            line.sent += text.chars().count();
            if !line.ended && text.is_empty() {
                continue;
            }
            let whole = line.ended && !stopped;
            let logprobs = line.logprobs.as_mut().map(|logprobs| logprobs.take((!whole).then_some(line.sent)));
            if self.lines.iter().all(|line| line.ended) {
                // tells the engine that nothing more is wanted
                self.generation.close();
            }
            return Ok(Some(Choice { index: self.number + sequence, text, logprobs, finish_reason }));
        }
        Ok(None)
    }

    /// Tokens made, and those of the prompt that needed no pass of the encoder.
    fn tokens(&self) -> Tokens {
        let cached = if self.generation.shared().encoder { self.prompt } else { 0 };
        Tokens { made: self.lines.iter().map(|line| line.text.tokens()).sum(), cached }
    }

    /// The whole texts, and their tokens.
    pub(crate) async fn whole(mut self) -> Result<(Vec<Choice>, Tokens)> {
        let empty = |index| Choice { index, text: String::new(), logprobs: None, finish_reason: None };
        let mut all: Vec<_> = (0..self.lines.len()).map(|sequence| empty(self.number + sequence)).collect();
        while let Some(part) = self.next().await? {
            let whole = &mut all[part.index - self.number];
            whole.text += &part.text;
            whole.finish_reason = part.finish_reason;
            if let Some(logprobs) = part.logprobs {
                whole.logprobs.get_or_insert_default().extend(logprobs);
            }
        }
        Ok((all, self.tokens()))
    }

    /// The parts of a prompt, and behind them their tokens.
    fn listed(row: Listed) -> impl Stream<Item = Result<Part>> {
        stream::once(row).flat_map(|row| match row {
            Ok(row) => row.stream().left_stream(),
            Err(error) => stream::once(future::err(error)).right_stream(),
        })
    }

    /// The parts, and behind them their tokens.
    fn stream(self) -> impl Stream<Item = Result<Part>> {
        stream::unfold(Some(self), |row| async move {
            let mut row = row?;
            match row.next().await {
                Ok(Some(choice)) => Some((Ok(Part::Choice(choice)), Some(row))),
                Ok(None) => Some((Ok(Part::End { tokens: row.tokens() }), None)),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

enum Part {
    Choice(Choice),
    End { tokens: Tokens },
}

/// The parts of all rows as they come, then the usage if asked for, then `[DONE]`.
pub(crate) fn parts(
    head: Completion,
    model: Served,
    rows: Vec<Listed>,
    prompt_tokens: Option<usize>,
    id: RequestId,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let rows = stream::select_all(rows.into_iter().map(|row| Box::pin(Row::listed(row))));
    // the model is kept, and with it its weights, until the last part is sent
    let end = End::of("s3delta_streams_total", "/v1/completions".into());
    let state = Some((rows, head, (model, end), Tokens::default()));
    stream::unfold(state, move |state| {
        let id = id.clone();
        async move {
            let (mut rows, head, (model, mut end), mut made) = state?;
            loop {
                let (event, state) = match rows.next().await {
                    Some(Ok(Part::End { tokens })) => {
                        made = made.and(tokens);
                        continue;
                    }
                    Some(Ok(Part::Choice(choice))) => {
                        let part = Completion { choices: vec![choice], ..head.clone() };
                        (vec![data(&part)], Some((rows, head, (model, end), made)))
                    }
                    Some(Err(error)) => {
                        end.is(error.status(), error.code());
                        (vec![data(&error_body(&error, &id)), done()], None)
                    }
                    None => {
                        end.is(StatusCode::OK, "");
                        let usage = prompt_tokens.map(|prompt| usage(prompt, made));
                        let last = usage.map(|usage| data(&Completion { usage: Some(usage), ..head }));
                        (last.into_iter().chain([done()]).collect(), None)
                    }
                };
                return Some((stream::iter(event.into_iter().map(Ok)), state));
            }
        }
    })
    .flatten()
}

fn data(part: &impl Serialize) -> sse::Event {
    sse::Event::default().data(serde_json::to_string(part).unwrap_or_default())
}

fn done() -> sse::Event {
    sse::Event::default().data("[DONE]")
}
