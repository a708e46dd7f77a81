//! Task definitions: a small TOML (or JSON) of template, labels, metric and where the data stands.
//!
//! ```toml
//! name = "sst2"
//! template = "sst2 sentence: {sentence}"
//! metric = "accuracy"
//!
//! [target]
//! kind = "classification"
//! labels = [{ value = "0", word = "negative" }, { value = "1", word = "positive" }]
//!
//! [[data]]                              # the first layout whose files and columns are all there is read
//! format = "tsv"
//! label = "label"                       # columns = { sentence = "sentence" } goes without saying
//! files = { train = ["train.tsv"], test = ["dev.tsv"] }
//! splits = { dev = 2000 }
//! ```

use super::template::Template;
use super::{Error, Layout, Metric, Result, Row};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Labels of a task, or steps between its numbers: all of them are scored to predict one.
const MOST_LABELS: usize = 1000;

/// What a task asks: how a row becomes a source text and a target text, and how answers are scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Name: lower-case letters, digits, `-`, `_` and `.`, at most 64.
    pub name: String,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The source text, with a `{field}` where each field goes.
    pub template: String,
    /// How answers are scored.
    pub metric: Metric,
    /// The label (value or word) that F1 counts as positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// What the target text is.
    pub target: Target,
    /// Where the rows stand, in alternative layouts; left out once they are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Layout>,
}

/// What the target text is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// One of a few label words.
    Classification {
        /// Labels as they stand in the data, and the word for each.
        labels: Vec<Label>,
    },
    /// A number, rounded to a step and printed with the step's decimals.
    Regression {
        /// Least value.
        minimum: f64,
        /// Greatest value.
        maximum: f64,
        /// Distance between two candidates.
        step: f64,
    },
}

/// A label as it stands in the data, and the word that is its target text. Several values may share a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// As in the data.
    pub value: String,
    /// The target text.
    pub word: String,
}

impl Definition {
    /// Reads and checks a definition from TOML text.
    pub fn from_toml(text: &str) -> Result<Self> {
        let definition: Self = toml::from_str(text).map_err(|error| invalid("?", error.to_string().trim()))?;
        definition.validate()?;
        Ok(definition)
    }

    /// Refuses what contradicts itself.
    pub fn validate(&self) -> Result<()> {
        let wrong = |what: String| Err(invalid(&self.name, &what));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) || self.name.starts_with('.') {
            return wrong("a name is 1 to 64 lower-case letters, digits, `-`, `_` or `.`".into());
        }
        let template = Template::parse(&self.template).map_err(|what| invalid(&self.name, &what))?;
        match &self.target {
            Target::Classification { labels } => {
                for (i, label) in labels.iter().enumerate() {
                    if label.value.trim() != label.value || label.word.trim() != label.word || label.word.is_empty() {
                        return wrong(format!("the label {label:?} is empty or begins or ends with a blank"));
                    }
                    let other = |other: &&Label| {
                        other.value == label.value || (other.value == label.word && other.word != label.word)
                    };
                    if let Some(other) = labels.iter().enumerate().find(|(j, o)| *j != i && other(o)).map(|(_, o)| o) {
                        let (value, word) = (&label.value, &label.word);
                        return wrong(format!(
                            "`{value}` = `{word}` clashes with `{}` = `{}`",
                            other.value, other.word
                        ));
                    }
                }
                if labels.len() > MOST_LABELS {
                    return wrong(format!("{} labels: give at most {MOST_LABELS}", labels.len()));
                }
                if self.label_words().len() < 2 {
                    return wrong("a classification needs two label words or more".into());
                }
                if self.metric == Metric::Pearson {
                    return wrong("pearson scores numbers: use accuracy, f1, macro_f1 or matthews".into());
                }
            }
            Target::Regression { minimum, maximum, step } => {
                let sound = minimum.is_finite() && maximum.is_finite() && *step > 0.0 && minimum < maximum;
                if !sound || (maximum - minimum) / step > MOST_LABELS as f64 {
                    return wrong(format!(
                        "regression needs minimum < maximum and a step above 0, at most {MOST_LABELS} steps"
                    ));
                }
                if self.metric != Metric::Pearson {
                    return wrong("a regression is scored by pearson".into());
                }
            }
        }
        match (&self.positive, self.metric) {
            (None, Metric::F1) => return wrong("f1 needs `positive`: the label that counts as positive".into()),
            (Some(label), Metric::F1) => {
                self.word(label).map_err(|what| invalid(&self.name, &format!("positive: {what}")))?;
            }
            (Some(_), _) => return wrong("`positive` goes with f1 only".into()),
            (None, _) => {}
        }
        self.data
            .iter()
            .try_for_each(|layout| layout.validate(&template.fields()).map_err(|what| invalid(&self.name, &what)))
    }

    /// The template's fields, in order of their first places.
    ///
    /// # Errors
    /// If the template cannot be parsed.
    pub fn fields(&self) -> Result<Vec<&str>> {
        Ok(self.parsed()?.fields())
    }

    /// The source text of these fields.
    ///
    /// # Errors
    /// Names the field that is missing, empty or unknown.
    pub fn render(&self, fields: &BTreeMap<String, String>) -> Result<String> {
        self.parsed()?.render(fields).map_err(|what| Error::Data { task: self.name.clone(), what })
    }

    /// Every possible target text: the label words in the definition's order, or the numbers from least to greatest.
    pub fn label_words(&self) -> Vec<String> {
        match &self.target {
            Target::Classification { labels } => {
                let mut words: Vec<String> = Vec::new();
                for label in labels {
                    if !words.contains(&label.word) {
                        words.push(label.word.clone());
                    }
                }
                words
            }
            Target::Regression { minimum, maximum, step } => {
                let steps = ((maximum - minimum) / step).round() as usize;
                (0..=steps).map(|i| print(minimum + i as f64 * step, *step)).collect()
            }
        }
    }

    /// The target text of a row: its label word, or its number rounded to the step (half to even, as T5 does).
    pub fn target_text(&self, row: &Row) -> String {
        match &self.target {
            Target::Classification { .. } => row.label.clone(),
            Target::Regression { minimum, maximum, step } => {
                let value = row.label.parse::<f64>().unwrap_or(*minimum).clamp(*minimum, *maximum);
                print(minimum + ((value - minimum) / step).round_ties_even() * step, *step)
            }
        }
    }

    /// The place of a row's target text in [`Self::label_words`].
    pub fn target_index(&self, row: &Row) -> usize {
        let target = self.target_text(row);
        self.label_words().iter().position(|word| *word == target).unwrap_or(0)
    }

    /// A label of the data as rows keep it: the word of a value (or the word itself); a number as it stands.
    pub(super) fn word(&self, label: &str) -> Result<String, String> {
        match &self.target {
            Target::Classification { labels } => {
                let known = labels.iter().find(|known| known.value == label);
                let known = known.or_else(|| labels.iter().find(|known| known.word == label));
                known.map(|known| known.word.clone()).ok_or_else(|| {
                    let values: Vec<_> = labels.iter().map(|label| format!("`{}`", label.value)).collect();
                    format!("label `{label}` is not one of {}: add it to `labels` or mend the row", values.join(", "))
                })
            }
            Target::Regression { minimum, maximum, .. } => match label.parse::<f64>() {
                Ok(value) if (*minimum..=*maximum).contains(&value) => Ok(label.to_owned()),
                _ => Err(format!("`{label}` is not a number from {minimum} to {maximum}")),
            },
        }
    }

    pub(super) fn parsed(&self) -> Result<Template<'_>> {
        Template::parse(&self.template).map_err(|what| invalid(&self.name, &what))
    }
}

fn invalid(task: &str, what: &str) -> Error {
    Error::Definition { task: task.into(), what: what.into() }
}

/// A number with the decimals of its step: 3.8 for step 0.2, 4 for step 1.
fn print(value: f64, step: f64) -> String {
    let decimals = (0..6).find(|n| ((step * 10f64.powi(*n)).round() - step * 10f64.powi(*n)).abs() < 1e-6).unwrap_or(6);
    // -0.0 would print as "-0.0"
    format!("{:.*}", decimals as usize, value + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(target: &str) -> Result<Definition> {
        Definition::from_toml(&format!("name = 'x'\ntemplate = 'x {{a}}'\n{target}"))
    }

    const LABELS: &str = "[target]\nkind = 'classification'\nlabels = [{value='0',word='no'},{value='1',word='yes'}]";

    #[track_caller]
    fn check(target: &str, wanted: &str) {
        let found = definition(target).map_or_else(|e| e.to_string(), |d| format!("ok {:?}", d.label_words()));
        assert!(found.contains(wanted), "{target}\n gave {found}");
    }

    #[test]
    fn definitions_are_checked() {
        check(&format!("metric = 'accuracy'\n{LABELS}"), r#"ok ["no", "yes"]"#);
        check(&format!("metric = 'f1'\npositive = 'yes'\n{LABELS}"), "ok");
        check(&format!("metric = 'f1'\n{LABELS}"), "f1 needs `positive`");
        check(&format!("metric = 'f1'\npositive = '7'\n{LABELS}"), "label `7` is not one of `0`, `1`");
        check(&format!("metric = 'accuracy'\npositive = 'yes'\n{LABELS}"), "goes with f1 only");
        check(&format!("metric = 'pearson'\n{LABELS}"), "pearson scores numbers");
        check(&format!("metric = 'speed'\n{LABELS}"), "unknown variant `speed`");
        check(&format!("metric = 'accuracy'\ncolour = 'red'\n{LABELS}"), "unknown field `colour`");
        check("metric='accuracy'\n[target]\nkind='classification'\nlabels=[]", "two label words or more");
        let clash =
            "metric='accuracy'\n[target]\nkind='classification'\nlabels=[{value='a',word='b'},{value='b',word='a'}]";
        check(clash, "clashes with");
        check(
            "metric='pearson'\n[target]\nkind='regression'\nminimum=0\nmaximum=1\nstep=0.5",
            r#"["0.0", "0.5", "1.0"]"#,
        );
        check("metric='pearson'\n[target]\nkind='regression'\nminimum=0\nmaximum=1\nstep=0", "a step above 0");
        check("metric='accuracy'\n[target]\nkind='regression'\nminimum=0\nmaximum=1\nstep=1", "scored by pearson");
    }

    #[test]
    fn names_are_plain() {
        for name in ["", ".x", "A", "a b", "../x"] {
            let text = format!("name = '{name}'\ntemplate = '{{a}}'\nmetric = 'accuracy'\n{LABELS}");
            let error = Definition::from_toml(&text).unwrap_err().to_string();
            assert!(error.contains("a name is 1 to 64"), "{error}");
        }
    }

    #[test]
    fn numbers_are_rounded_as_t5_does() {
        let d = definition("metric='pearson'\n[target]\nkind='regression'\nminimum=0\nmaximum=5\nstep=0.2").unwrap();
        assert_eq!(d.label_words().len(), 26);
        for (label, wanted) in [("3.75", "3.8"), ("2.5", "2.4"), ("0", "0.0"), ("5.000", "5.0"), ("0.05", "0.0")] {
            let row = Row { fields: BTreeMap::new(), label: label.into() };
            assert_eq!(d.target_text(&row), wanted, "{label}");
            assert_eq!(d.label_words()[d.target_index(&row)], wanted);
        }
    }
}
