//! Scoring of label words, and a task's metric over a split.

use super::below::{Below, Seen};
use super::{EncodedTask, Error, Example, Flow, Observer, Result, side_by_side};
use crate::t5::{Backbone, Deltas, Question, score_targets};
use crate::task::Split;

/// A task's score on some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The task's metric; higher is better.
    pub score: f64,
    /// Mean negative log-probability of the right answers among the candidates, in nats.
    pub loss: f64,
    /// The chosen candidate per row.
    pub answers: Vec<usize>,
}

/// Rows times candidates that one decoder pass takes.
const PASS_ROWS: usize = 256;

/// Summed log-probability of every candidate for every source: `[sources][candidates]`.
fn label_scores(
    backbone: &Backbone,
    deltas: &dyn Deltas,
    seen: &Seen,
    candidates: &[Vec<u32>],
) -> Result<Vec<Vec<f32>>> {
    let questions: Vec<_> = (0..seen.rows()).map(|source| Question { source, targets: candidates }).collect();
    Ok(score_targets(backbone, seen.sources(deltas), &questions, deltas)?)
}

/// The task's score on the first `rows` rows of a split, or on all; the observer is asked before each pass.
pub fn evaluate(
    backbone: &Backbone,
    deltas: &dyn Deltas,
    data: &EncodedTask,
    split: Split,
    rows: Option<usize>,
    observer: &dyn Observer,
) -> Result<Evaluation> {
    evaluate_from(backbone, deltas, data, split, rows, None, observer)
}

/// The same, from what is kept of the split's rows below the lowest module.
pub(super) fn evaluate_from(
    backbone: &Backbone,
    deltas: &dyn Deltas,
    data: &EncodedTask,
    split: Split,
    rows: Option<usize>,
    below: Option<&Below>,
    observer: &dyn Observer,
) -> Result<Evaluation> {
    let examples = data.split(split);
    let examples = &examples[..rows.unwrap_or(examples.len()).min(examples.len())];
    // alike lengths together, so that little is padded
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|row| examples[*row].source.len());
    let mut answers = vec![0; examples.len()];
    let mut loss = 0.0;
    let passes: Vec<&[usize]> = order.chunks((PASS_ROWS / data.candidates.len()).max(1)).collect();
    let found = side_by_side(backbone.model.device(), &passes, |rows| {
        if observer.flow() == Flow::Stop {
            return Err(Error::Stopped(0));
        }
        let sources: Vec<_> = rows.iter().map(|row| examples[*row].source.as_slice()).collect();
        let batch = backbone.model.batch(&sources)?;
        let seen = match below {
            Some(below) => below.see(&backbone.model, &batch, rows, deltas),
            None => Seen::Encoded(backbone.model.encode(&batch, deltas)),
        };
        label_scores(backbone, deltas, &seen, &data.candidates)
    });
    for (rows, scores) in passes.into_iter().zip(found) {
        for (row, scores) in rows.iter().zip(scores?) {
            answers[*row] = best(&scores);
            loss -= f64::from(log_share(&scores, &examples[*row]));
        }
    }
    let score = data.task.definition.score(&answers, &data.task.split(split)[..examples.len()])?;
    Ok(Evaluation { score, loss: loss / examples.len() as f64, answers })
}

/// The place of the greatest score, the first on a tie.
fn best(scores: &[f32]) -> usize {
    (0..scores.len()).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0)
}

/// Log of the right answer's share among the candidates.
fn log_share(scores: &[f32], example: &Example) -> f32 {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = scores.iter().map(|score| (score - highest).exp()).sum();
    scores[example.answer] - highest - sum.ln()
}
