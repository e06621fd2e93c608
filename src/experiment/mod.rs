//! Experiment files: which model, which data, how it is trained.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::{Diagnostic, NamedSource, SourceSpan};
use serde::{Deserialize, Serialize};

use crate::dsl;

/// One experiment, as its YAML file has it. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Model file, relative to the experiment's.
    pub model: PathBuf,
    /// Parameters of the model.
    #[serde(default)]
    pub params: BTreeMap<String, dsl::Value>,
    pub data: Data,
    #[serde(default)]
    pub train: Train,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Name of a data set.
    pub name: String,
    /// The last part of the training images validates, as Keras' `validation_split`.
    #[serde(default = "tenth")]
    pub validation_split: f64,
    /// Use only so many training images, validation included.
    #[serde(default)]
    pub train_limit: Option<usize>,
    #[serde(default)]
    pub test_limit: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    pub epochs: u32,
    pub batch_size: usize,
    /// Seeds initialisation, shuffling and dropout.
    pub seed: u64,
    pub learning_rate: f32,
    pub weight_decay: f32,
}

impl Default for Train {
    fn default() -> Self {
        Self { epochs: 10, batch_size: 256, seed: 42, learning_rate: 1e-3, weight_decay: 1e-4 }
    }
}

fn tenth() -> f64 {
    0.1
}

/// What is wrong with an experiment file.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ExperimentError {
    #[error("cannot read `{path}`: {source}")]
    #[diagnostic(code(vitx::experiment::io))]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{message}")]
    #[diagnostic(code(vitx::experiment::yaml))]
    Yaml {
        message: String,
        #[source_code]
        text: Arc<NamedSource<String>>,
        #[label("here")]
        place: Option<SourceSpan>,
        #[help]
        help: Option<String>,
    },
}

impl Experiment {
    /// Reads a file; `model` becomes relative to the working directory.
    ///
    /// # Errors
    /// Unknown keys, wrong types and bad values, with their place.
    pub fn read(path: &Path) -> Result<Self, ExperimentError> {
        let io = |source| ExperimentError::Io { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(io)?;
        let mut experiment = Self::parse(&path.display().to_string(), &text)?;
        if let Some(folder) = path.parent() {
            experiment.model = folder.join(&experiment.model);
        }
        Ok(experiment)
    }

    /// Reads a text that diagnostics call `name`.
    ///
    /// # Errors
    /// As [`Experiment::read`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ExperimentError> {
        let refuse = |message: String, place: Option<usize>, help: Option<String>| ExperimentError::Yaml {
            message,
            text: Arc::new(NamedSource::new(name, text.to_owned())),
            place: place.map(|offset| word_at(text, offset)),
            help,
        };
        let experiment: Self = serde_yaml::from_str(text).map_err(|error| {
            let place = error.location().map(|location| location.index());
            let message = error.to_string();
            let help = suggestion(&message);
            refuse(message, place, help)
        })?;
        let Self { data, train, .. } = &experiment;
        let checks = [
            ("validation_split", (0.0..1.0).contains(&data.validation_split), "from 0 up to, but not including, 1"),
            ("epochs", train.epochs >= 1, "at least 1"),
            ("batch_size", (1..=1 << 20).contains(&train.batch_size), "from 1 to 1048576"),
            ("learning_rate", train.learning_rate > 0.0 && train.learning_rate.is_finite(), "greater than 0"),
            ("weight_decay", train.weight_decay >= 0.0 && train.weight_decay.is_finite(), "at least 0"),
        ];
        for (key, fine, range) in checks {
            if !fine {
                return Err(refuse(format!("`{key}` must be {range}"), text.find(&format!("{key}:")), None));
            }
        }
        Ok(experiment)
    }
}

/// The word at an offset, for the caret.
fn word_at(text: &str, offset: usize) -> SourceSpan {
    let rest = text.get(offset..).unwrap_or("");
    let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    (offset.min(text.len()), length.max(1).min(text.len().saturating_sub(offset))).into()
}

/// "did you mean" for a message that names an unknown field and the known ones, all in backticks.
fn suggestion(message: &str) -> Option<String> {
    let mut names = message
        .strip_prefix("unknown field")
        .or_else(|| message.split_once("unknown field").map(|(_, rest)| rest))?
        .split('`')
        .skip(1)
        .step_by(2);
    let unknown = names.next()?;
    dsl::nearest(unknown, names).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_get_the_nearest_name_and_the_place() {
        let error =
            Experiment::parse("a.yaml", "model: m.vitx\ndata: {name: digits}\ntrain: {epoch: 3}\n").unwrap_err();
        let help = error.help().unwrap().to_string();
        assert_eq!(help, "did you mean `epochs`?");
        let label = error.labels().unwrap().next().unwrap();
        assert!(label.offset() >= 36, "{label:?}");
    }

    #[test]
    fn bad_values_are_refused() {
        for text in [
            "train: {epochs: 0}",
            "train: {batch_size: -1}",
            "train: {learning_rate: fast}",
            "train: {learning_rate: .nan}",
        ] {
            assert!(
                Experiment::parse("a.yaml", &format!("model: m\ndata: {{name: digits}}\n{text}\n")).is_err(),
                "{text}"
            );
        }
        assert!(Experiment::parse("a.yaml", "").is_err());
    }
}
