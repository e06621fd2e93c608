use std::{fs, path::Path, sync::Arc};

use miette::{NamedSource, SourceSpan};

use super::{Experiment, ExperimentError, builtin};
use crate::dsl;

impl Experiment {
    /// Reads a file; `model` becomes relative to the working directory. A file that is not there is
    /// taken from the binary, if it carries one of that name (see `builtin.rs`).
    ///
    /// # Errors
    /// Unknown keys, wrong types and bad values, with their place.
    pub fn read(path: &Path) -> Result<Self, ExperimentError> {
        let text = match (fs::read_to_string(path), builtin::text(path)) {
            (Ok(text), _) => text,
            (Err(error), Some(text)) if error.kind() == std::io::ErrorKind::NotFound => text.to_owned(),
            (Err(error), _) => return Err(ExperimentError::io("read", path)(error)),
        };
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
            let message = error.to_string();
            let place = error.location().map(|location| location.index());
            let help = suggestion(&message);
            refuse(without_place(&message), place, help)
        })?;
        match experiment.out_of_range() {
            Some((key, range)) => Err(refuse(format!("`{key}` must be {range}"), place_of(text, key), None)),
            None => Ok(experiment),
        }
    }
}

/// Where a dotted key stands: each part is searched after the one before it, which is exact for
/// keys that no value of the file repeats.
fn place_of(text: &str, key: &str) -> Option<usize> {
    key.split('.').try_fold(0, |from, part| {
        let offset = text[from..].find(&format!("{part}:"))?;
        Some(from + offset)
    })
}

/// The message without the line and column at its end: the snippet shows them.
fn without_place(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

/// The word at an offset, for the caret.
fn word_at(text: &str, offset: usize) -> SourceSpan {
    let rest = text.get(offset..).unwrap_or("");
    let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    (offset.min(text.len()), length.max(1).min(text.len().saturating_sub(offset))).into()
}

/// "did you mean" for a message that names an unknown field and the known ones, all in backticks.
pub(super) fn suggestion(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown field").or_else(|| message.split_once("unknown variant"))?;
    let mut names = rest.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    dsl::nearest(unknown, names).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use miette::Diagnostic;

    use super::*;

    fn refused(rest: &str) -> (String, String, usize) {
        let text = format!("model: m.vitx\ndata: {{name: digits}}\n{rest}\n");
        let error = Experiment::parse("a.yaml", &text).unwrap_err();
        let help = error.help().map(|help| help.to_string()).unwrap_or_default();
        let label = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
        (error.to_string(), help, label)
    }

    #[test]
    fn unknown_keys_get_the_nearest_name_and_the_place() {
        let (message, help, offset) = refused("train: {epoch: 3}");
        assert!(message.contains("unknown field `epoch`"), "{message}");
        assert_eq!(help, "did you mean `epochs`?");
        assert!(offset >= 36, "{offset}");
    }

    #[test]
    fn bad_values_are_refused_at_their_key() {
        let (message, _, offset) = refused("train: {batch_size: 8, optimizer: {learning_rate: .nan}}");
        assert_eq!(message, "`train.optimizer.learning_rate` must be greater than 0");
        assert_eq!(offset, 70);
        for rest in ["train: {epochs: 0}", "train: {batch_size: -1}", "train: {schedule: {kind: cosin}}", "- 1"] {
            refused(rest);
        }
        assert!(Experiment::parse("a.yaml", "").is_err());
    }
}
