//! Where the values of a model's parameters came from: a mistake that one causes in the model is
//! shown at both places.

use std::collections::BTreeMap;

use super::{definition::MODEL_KEY, places::Places};
use crate::dsl::{Problem, Source, Text, Value, syntax::Span};

/// Remarks by parameter. They are no part of what a definition is: all are equal.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<String, Problem>);

impl PartialEq for Origins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Origins {
    /// The parameters that an experiment file sets.
    pub fn of_file(source: &Source, params: &BTreeMap<String, Value>) -> Self {
        let (places, text) = (Places::of(&source.text), Text::shown(source));
        let remark = |name: &String| {
            let place = places.get(&format!("params.{name}"))?;
            let remark = here(&format!("`{name}` is set here"), place.value.start, place.value.end);
            Some((name.clone(), remark.in_shared(&text)))
        };
        Self(params.keys().filter_map(remark).collect())
    }

    /// The parameters of `params` were set by something else: a command's option, a sweep.
    pub fn set_by<'v>(&mut self, params: impl IntoIterator<Item = (&'v String, &'v Value)>, by: &str) {
        for (name, value) in params {
            let message = format!("`{name}` is {value} by {by}");
            self.0.insert(name.clone(), Problem::advice("vitx::origin", message));
        }
    }

    /// The remark on a parameter.
    pub fn of(&self, name: &str) -> Option<Problem> {
        self.0.get(name).cloned()
    }
}

/// A remark at a place of a file.
pub fn at(source: &Source, message: &str, start: usize, end: usize) -> Problem {
    here(message, start, end).in_source(source)
}

fn here(message: &str, start: usize, end: usize) -> Problem {
    Problem::advice("vitx::origin", message).label(Span::new(start, end), "here")
}

/// The remark that a file's `model` key leads to another file, or the last `--set` that does.
pub fn of_model(source: &Source, set: &[String]) -> Option<Problem> {
    let names = |assignment: &&String| assignment.split_once('=').is_some_and(|(key, _)| key.trim() == MODEL_KEY);
    if let Some(assignment) = set.iter().rfind(names) {
        return Some(Problem::advice("vitx::origin", format!("the model is named by `--set {assignment}`")));
    }
    let place = Places::of(&source.text).get(MODEL_KEY)?.value.clone();
    Some(at(source, "the model is named here", place.start, place.end))
}
