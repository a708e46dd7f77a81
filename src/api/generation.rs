//! Generations under way: from the engine's events to a whole text or to parts of a stream.

use super::{
    AppState, Result,
    completions::{Choice, Completion, usage},
    model::Served,
    observe::{RequestId, error_body},
};
use crate::serve::{self, Event, FinishReason, GenerateRequest, TextStream};
use axum::response::sse;
use futures_util::{
    StreamExt,
    stream::{self, Stream},
};
use serde::Serialize;
use std::convert::Infallible;
use tokio::sync::mpsc::Receiver;

/// One prompt under way.
pub(crate) struct Row {
    index: usize,
    events: Receiver<Event>,
    engine: serve::Engine,
    text: TextStream,
    ended: bool,
}

pub(crate) fn start(
    state: &AppState,
    model: &Served,
    prompts: Vec<Vec<u32>>,
    max_new_tokens: usize,
    stops: &[String],
) -> Result<Vec<Row>> {
    let row = |(index, ids): (usize, Vec<u32>)| {
        let request = GenerateRequest { adapter: model.adapter.clone(), ids, max_new_tokens };
        let events = state.engine.generate(request)?;
        Ok(Row { index, events, engine: state.engine.clone(), text: TextStream::new(stops.to_vec()), ended: false })
    };
    prompts.into_iter().enumerate().map(row).collect()
}

impl Row {
    /// The next part; none after the last, which names the reason.
    async fn next(&mut self) -> Result<Option<Choice>> {
        while !self.ended {
            let (text, finish_reason) = match self.events.recv().await {
                Some(Event::Token { id, .. }) => {
                    let part = self.engine.tokenizer().push(&mut self.text, id)?;
                    (part.text, part.stopped.then_some(FinishReason::Stop))
                }
                Some(Event::Finished { reason }) => {
                    let part = self.engine.tokenizer().finish(&mut self.text)?;
                    (part.text, Some(if part.stopped { FinishReason::Stop } else { reason }))
                }
                Some(Event::Failed(error)) => return Err(error.into()),
                None => return Err(serve::Error::Stopped.into()),
            };
            self.ended = finish_reason.is_some();
            if self.ended {
                // tells the engine, where a stop text came, that no more tokens are wanted
                self.events.close();
            }
            if self.ended || !text.is_empty() {
                return Ok(Some(Choice { index: self.index, text, logprobs: None, finish_reason }));
            }
        }
        Ok(None)
    }

    /// The whole text, and how many tokens were made for it.
    pub(crate) async fn whole(mut self) -> Result<(Choice, usize)> {
        let mut whole = Choice { index: self.index, text: String::new(), logprobs: None, finish_reason: None };
        while let Some(part) = self.next().await? {
            whole.text += &part.text;
            whole.finish_reason = part.finish_reason;
        }
        Ok((whole, self.text.tokens()))
    }

    /// The parts, and behind them how many tokens were made.
    fn stream(self) -> impl Stream<Item = Result<Part>> {
        stream::unfold(Some(self), |row| async move {
            let mut row = row?;
            match row.next().await {
                Ok(Some(choice)) => Some((Ok(Part::Choice(choice)), Some(row))),
                Ok(None) => Some((Ok(Part::End { tokens: row.text.tokens() }), None)),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

enum Part {
    Choice(Choice),
    End { tokens: usize },
}

/// The parts of all rows as they come, then the usage if asked for, then `[DONE]`.
pub(crate) fn parts(
    head: Completion,
    model: Served,
    rows: Vec<Row>,
    prompt_tokens: Option<usize>,
    id: RequestId,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let rows = stream::select_all(rows.into_iter().map(|row| Box::pin(row.stream())));
    // the model is kept, and with it its weights, until the last part is sent
    let state = Some((rows, head, model, 0usize));
    stream::unfold(state, move |state| {
        let id = id.clone();
        async move {
            let (mut rows, head, model, mut made) = state?;
            loop {
                let (event, state) = match rows.next().await {
                    Some(Ok(Part::End { tokens })) => {
                        made += tokens;
                        continue;
                    }
                    Some(Ok(Part::Choice(choice))) => {
                        let part = Completion { choices: vec![choice], ..head.clone() };
                        (vec![data(&part)], Some((rows, head, model, made)))
                    }
                    Some(Err(error)) => (vec![data(&error_body(&error, &id)), done()], None),
                    None => {
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
