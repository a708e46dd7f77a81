//! Metrics, with the conventions of scikit-learn and SciPy.

use super::{Definition, Error, Result, Row, Target};
use serde::{Deserialize, Serialize};

/// How a task's answers are scored; higher is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of right answers.
    Accuracy,
    /// F1 of the positive label.
    F1,
    /// Unweighted mean of every label's F1.
    MacroF1,
    /// Matthews correlation (its R_K form with more than two labels).
    Matthews,
    /// Pearson correlation of numbers.
    Pearson,
}

impl Metric {
    /// The name as written in definitions.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::F1 => "f1",
            Metric::MacroF1 => "macro_f1",
            Metric::Matthews => "matthews",
            Metric::Pearson => "pearson",
        }
    }
}

impl Definition {
    /// The score of answers, each the place of a target text in [`Definition::label_words`]; one a row.
    ///
    /// # Errors
    /// If there is no row, or not as many answers as rows.
    pub fn score(&self, answers: &[usize], rows: &[Row]) -> Result<f64> {
        let words = self.label_words();
        let texts: Vec<_> = answers.iter().map(|answer| words.get(*answer).map_or("", String::as_str)).collect();
        self.score_texts(&texts, rows)
    }

    /// The score of answers as texts, one a row. A text that is no label word is wrong whatever the row says; a text
    /// that is no number counts as the least one.
    ///
    /// # Errors
    /// If there is no row, or not as many answers as rows.
    pub fn score_texts(&self, answers: &[impl AsRef<str>], rows: &[Row]) -> Result<f64> {
        if answers.len() != rows.len() || rows.is_empty() {
            let what = format!("{} answers for {} rows: one answer a row is needed", answers.len(), rows.len());
            return Err(Error::Data { task: self.name.clone(), what });
        }
        if let Target::Regression { minimum, .. } = &self.target {
            let number = |text: &str| text.trim().parse().ok().filter(|n: &f64| n.is_finite()).unwrap_or(*minimum);
            let found: Vec<f64> = answers.iter().map(|answer| number(answer.as_ref())).collect();
            let wanted: Vec<f64> = rows.iter().map(|row| number(&row.label)).collect();
            return Ok(pearson(&found, &wanted));
        }
        let words = self.label_words();
        let index = |text: &str| words.iter().position(|word| word == text.trim()).unwrap_or(words.len());
        let found: Vec<_> = answers.iter().map(|answer| index(answer.as_ref())).collect();
        let wanted: Vec<_> = rows.iter().map(|row| index(&row.label)).collect();
        Ok(match self.metric {
            Metric::Accuracy | Metric::Pearson => accuracy(&found, &wanted),
            Metric::F1 => {
                let positive = self.positive.as_deref().and_then(|label| self.word(label).ok());
                f1(&found, &wanted, positive.map_or(words.len(), |word| index(&word)))
            }
            Metric::MacroF1 => macro_f1(&found, &wanted),
            Metric::Matthews => matthews(&found, &wanted),
        })
    }
}

/// Share of places where `found` equals `wanted`; 0 for none.
pub fn accuracy(found: &[usize], wanted: &[usize]) -> f64 {
    let right = found.iter().zip(wanted).filter(|(a, b)| a == b).count();
    ratio(right as f64, wanted.len() as f64)
}

/// 2TP / (2TP + FP + FN) of one label; 0 where nothing is or should be positive (`zero_division=0`).
pub fn f1(found: &[usize], wanted: &[usize], positive: usize) -> f64 {
    let both = found.iter().zip(wanted).filter(|(a, b)| **a == positive && **b == positive).count();
    let either = [found, wanted].iter().map(|list| list.iter().filter(|a| **a == positive).count()).sum::<usize>();
    ratio(2.0 * both as f64, either as f64)
}

/// Mean F1 over the labels that stand in `found` or `wanted`.
pub fn macro_f1(found: &[usize], wanted: &[usize]) -> f64 {
    let mut labels: Vec<_> = found.iter().chain(wanted).copied().collect();
    labels.sort_unstable();
    labels.dedup();
    ratio(labels.iter().map(|label| f1(found, wanted, *label)).sum(), labels.len() as f64)
}

/// Matthews correlation, the R_K statistic for any number of labels (Gorodkin 2004); 0 where `found` or `wanted` has
/// one label only, as `sklearn.metrics.matthews_corrcoef`.
pub fn matthews(found: &[usize], wanted: &[usize]) -> f64 {
    let labels = found.iter().chain(wanted).max().map_or(0, |most| most + 1);
    let (mut predicted, mut true_) = (vec![0.0; labels], vec![0.0; labels]);
    let mut right = 0.0;
    for (a, b) in found.iter().zip(wanted) {
        predicted[*a] += 1.0;
        true_[*b] += 1.0;
        right += f64::from(u8::from(a == b));
    }
    let n = wanted.len() as f64;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let covariance = right * n - dot(&predicted, &true_);
    let spread = (n * n - dot(&predicted, &predicted)) * (n * n - dot(&true_, &true_));
    ratio(covariance, spread.sqrt())
}

/// Pearson correlation; 0 where either side is constant (SciPy warns and gives NaN, which no dev score may be).
pub fn pearson(found: &[f64], wanted: &[f64]) -> f64 {
    let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
    let (a, b) = (mean(found), mean(wanted));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in found.iter().zip(wanted) {
        ab += (x - a) * (y - b);
        aa += (x - a) * (x - a);
        bb += (y - b) * (y - b);
    }
    ratio(ab, (aa * bb).sqrt()).clamp(-1.0, 1.0)
}

/// `a / b`, and 0 where b is 0 or the quotient is no number.
fn ratio(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    if b > 0.0 && quotient.is_finite() { quotient } else { 0.0 }
}

#[cfg(test)]
mod tests {
    //! The numbers come from scikit-learn 1.9.1 and SciPy 1.17.1:
    //! ```text
    //! pip install scikit-learn scipy; python -c "
    //! from sklearn.metrics import *; from scipy.stats import pearsonr
    //! f, w = [1,0,1,1,0,1,0,0], [1,0,0,1,1,1,0,1]
    //! print(accuracy_score(w, f), f1_score(w, f), f1_score(w, f, pos_label=0), f1_score(w, f, average='macro'))
    //! print(matthews_corrcoef(w, f), matthews_corrcoef(w, [1]*8), f1_score([0]*8, [0]*8))
    //! f, w = [0,1,1,2,1,0,2], [0,1,2,2,1,0,1]
    //! print(matthews_corrcoef(w, f), f1_score(w, f, average='macro'), pearsonr([1,2,3,5], [1,3,2,5]))"
    //! ```

    use super::*;

    const FOUND: [usize; 8] = [1, 0, 1, 1, 0, 1, 0, 0];
    const WANTED: [usize; 8] = [1, 0, 0, 1, 1, 1, 0, 1];

    #[track_caller]
    fn check(found: f64, wanted: f64) {
        // the last digits differ by the order of sums
        assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
    }

    #[test]
    fn two_labels() {
        check(accuracy(&FOUND, &WANTED), 0.625);
        check(f1(&FOUND, &WANTED, 1), 2.0 / 3.0);
        check(f1(&FOUND, &WANTED, 0), 4.0 / 7.0);
        check(macro_f1(&FOUND, &WANTED), 0.619_047_619_047_619);
        check(matthews(&FOUND, &WANTED), 0.258_198_889_747_161_1);
    }

    #[test]
    fn three_labels() {
        let (found, wanted) = ([0, 1, 1, 2, 1, 0, 2], [0, 1, 2, 2, 1, 0, 1]);
        check(matthews(&found, &wanted), 0.5625);
        check(macro_f1(&found, &wanted), 0.722_222_222_222_222_1);
    }

    #[test]
    fn numbers() {
        check(pearson(&[1.0, 2.0, 3.0, 5.0], &[1.0, 3.0, 2.0, 5.0]), 0.885_714_285_714_285_8);
        check(pearson(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), -1.0);
    }

    #[test]
    fn one_answer_for_all_scores_nothing() {
        let ones = [1; 8];
        check(matthews(&ones, &WANTED), 0.0);
        check(f1(&ones, &[0; 8], 0), 0.0);
        check(f1(&[0; 8], &[0; 8], 1), 0.0);
        check(pearson(&[2.0; 4], &[1.0, 2.0, 3.0, 4.0]), 0.0);
        check(pearson(&[], &[]), 0.0);
    }

    #[test]
    fn texts_are_scored_by_their_task() {
        let row = |label: &str| Row { fields: Default::default(), label: label.into() };
        let definition = |metric: &str, target: &str| {
            let text = format!("name = 'x'\ntemplate = '{{a}}'\n{metric}\n[target]\n{target}");
            Definition::from_toml(&text).unwrap()
        };
        let labels = "kind = 'classification'\nlabels = [{value='0',word='no'},{value='1',word='yes'}]";
        let rows = [row("yes"), row("no"), row("yes")];
        let f1 = definition("metric = 'f1'\npositive = '1'", labels);
        check(f1.score_texts(&["yes", "maybe", "no"], &rows).unwrap(), 2.0 / 3.0);
        check(f1.score(&[1, 0, 1], &rows).unwrap(), 1.0);
        let accuracy = definition("metric = 'accuracy'", labels);
        check(accuracy.score_texts(&[" yes", "maybe", "7"], &rows).unwrap(), 1.0 / 3.0);
        let numbers = definition("metric = 'pearson'", "kind = 'regression'\nminimum = 0\nmaximum = 5\nstep = 0.2");
        let rows = [row("0"), row("2.5"), row("5.000")];
        check(numbers.score_texts(&["none", "2.5", "5.0"], &rows).unwrap(), 1.0);
        assert!(accuracy.score(&[1], &rows).unwrap_err().to_string().contains("1 answers for 3 rows"));
        assert!(accuracy.score(&[], &[]).is_err());
    }
}
