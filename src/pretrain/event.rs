//! What a run tells while it goes on.

use super::Progress;

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// Text is being read; after every million characters and at the end of each pass.
    Reading(Reading),
    /// The vocabulary is being trained; several times a second.
    Vocabulary {
        /// Characters that it is trained on.
        characters: usize,
        /// Seconds so far.
        seconds: f64,
    },
    /// Something that the user should know, once.
    Note(&'a str),
    /// A report of the training loop.
    Step(&'a Progress),
    /// A step of which there is no report.
    Taken,
}

/// How far a pass over the text has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What it is read for.
    pub purpose: &'static str,
    /// Characters taken so far.
    pub characters: usize,
    /// The same in bytes of UTF-8.
    pub bytes: usize,
    /// Share of the text read, 0 to 1, after the sizes of the files and `text.characters`.
    pub share: f64,
    /// Seconds so far.
    pub seconds: f64,
    /// Whether the pass is over.
    pub done: bool,
}

/// Receives events and answers whether to go on.
pub type Observer<'a> = dyn FnMut(Event<'_>) -> bool + 'a;
