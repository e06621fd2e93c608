use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Elaborator, conditional::names_in};
use crate::{
    dsl::{
        Diagnostics, Problem, Source, Value, parse_condition, parse_tolerant,
        syntax::{DefinitionKind, Expr, Name, Span},
    },
    model::evaluate::{self, Bound, Scope},
};

/// The parameters of a model with their values: those that are given, and the defaults of the others as far as they have one.
pub fn parameters(source: &Source, given: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let Ok((file, _)) = parse_tolerant(source) else { return given.clone() };
    let Some(model) = file.definitions.iter().find(|definition| definition.kind == DefinitionKind::Model) else {
        return given.clone();
    };
    let mut elaborator = Elaborator::new(&file, HashMap::new(), Vec::new());
    let (scope, _) = elaborator.parameters(model, given);
    let value = |name: &Name| match scope.get(&name.text) {
        Some(Bound::Value(value, _)) => Some((name.text.clone(), value.clone())),
        _ => None,
    };
    model.parameters.iter().filter_map(|parameter| value(&parameter.name)).collect()
}

/// A condition on values from outside a model's text, as `dim % heads == 0`. A name may have dots, as that of a key of an experiment.
#[derive(Debug, Clone)]
pub struct Constraint {
    source: Source,
    condition: Expr,
    /// As they are written, with the dots.
    names: Vec<String>,
}

impl Constraint {
    /// Reads a condition; diagnostics call the text by a name.
    ///
    /// # Errors
    /// What is no condition of the language, with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, Diagnostics> {
        let source = Source::new(name, text);
        if let Some(problem) = slip(text) {
            return Err(problem.in_source(&source).into());
        }
        let condition = parse_condition(&source, &without_dots(text))?;
        let mut names = Vec::new();
        names_in(&condition, &mut names);
        let written = |name: &Name| text.get(name.span.start..name.span.end).unwrap_or(&name.text).to_owned();
        let names = names.into_iter().map(written).collect();
        Ok(Self { source, condition, names })
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// The names that it has values of, as they are written. A word, as `gelu`, is among them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it holds with these values.
    ///
    /// # Errors
    /// A name without a value, or values that the condition cannot have, with their place.
    pub fn holds(&self, values: &BTreeMap<String, Value>) -> Result<bool, Diagnostics> {
        // A name with dots is a word of ours, and would be one of the language without them.
        if let Some(name) = self.names.iter().find(|name| name.contains('.') && !values.contains_key(*name)) {
            let start = self.source.text.find(name.as_str()).unwrap_or_default();
            let problem = Problem::new("vitx::name", format!("there is no key `{name}`"));
            let problem = problem.label(Span::new(start, start + name.len()), "not defined here");
            return Err(problem.suggest(name, values.keys().map(String::as_str)).in_source(&self.source).into());
        }
        let mut scope = Scope::new(HashSet::new());
        for (name, value) in values {
            scope.insert(without_dots(name), Bound::Value(value.clone(), 0));
        }
        match evaluate::condition(&self.condition, &scope) {
            Ok((holds, _)) => Ok(holds),
            Err(Some(problem)) => Err(problem.in_source(&self.source).into()),
            // Nothing was reported before this.
            Err(None) => Ok(false),
        }
    }
}

/// What is likely to be written by mistake instead of a condition.
fn slip(text: &str) -> Option<Problem> {
    if text.trim().is_empty() {
        let problem = Problem::new("vitx::condition", "a condition is missing");
        return Some(problem.help("e.g. `dim % heads == 0`"));
    }
    let bytes = text.as_bytes();
    let compares = |at: usize| bytes.get(at).is_some_and(|c| b"=<>!".contains(c));
    let alone = |at: &usize| bytes[*at] == b'=' && !compares(at + 1) && !(*at > 0 && compares(at - 1));
    let at = (0..text.len()).find(alone).filter(|_| !text.contains('"'))?;
    let problem = Problem::new("vitx::condition", "`=` gives a value, and compares nothing");
    Some(problem.label(Span::new(at, at + 1), "expected `==`").help("a condition compares: `dim == 64`"))
}

/// A text with a letter of a name in place of each dot that joins two names, and so as long as before.
fn without_dots(text: &str) -> String {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let mut plain = String::with_capacity(text.len());
    let (mut quoted, mut in_name) = (false, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let joins = c == '.' && !quoted && in_name && rest.peek().copied().is_some_and(letter);
        quoted ^= c == '"';
        in_name = joins || letter(c) || in_name && c.is_ascii_digit();
        plain.push(if joins { '_' } else { c });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn conditions_are_of_the_language_of_models() {
        let known = values(&[
            ("dim", Value::Int(64)),
            ("heads", Value::Int(4)),
            ("act", Value::Str("relu".into())),
            ("train.optimizer.learning_rate", Value::Float(0.003)),
        ]);
        for (text, expected) in [
            ("dim % heads == 0", true),
            ("dim % (heads + 1) == 0", false),
            ("act == relu and dim > 0.5", true),
            ("act != \"relu\" or heads >= 8", false),
            ("train.optimizer.learning_rate * dim < 0.2", true),
            ("not train.optimizer.learning_rate < 1e-3", true),
            ("max(dim, heads) <= 64", true),
        ] {
            assert_eq!(Constraint::parse("--where", text).unwrap().holds(&known).unwrap(), expected, "{text}");
        }
        let names = Constraint::parse("--where", "train.optimizer.learning_rate * dim < 0.2").unwrap();
        assert_eq!(names.names(), ["train.optimizer.learning_rate", "dim"]);
    }

    #[test]
    fn what_is_no_condition_is_explained_with_its_place() {
        let known = values(&[("dim", Value::Int(64)), ("train.epochs", Value::Int(4))]);
        let mut shown = Vec::new();
        for text in
            ["dim % == 0", "dim = 64", "", "dim + 1", "dmi > 2", "train.epoch > 2", "dim % 0 == 0", "dense(4) > 2"]
        {
            let error = Constraint::parse("--where", text).and_then(|read| read.holds(&known)).unwrap_err();
            shown.push(format!("{text}\n{:?}", miette::Report::new(error)));
        }
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn defaults_of_parameters_may_depend_on_one_another() {
        let source = Source::new("m.vitx", "model m(dim = 32, units = dim * 2, act) { flatten dense(units) act }");
        let found = parameters(&source, &values(&[("dim", Value::Int(8))]));
        assert_eq!(found.get("units"), Some(&Value::Int(16)), "{found:?}");
        assert_eq!(found.get("act"), None);
    }
}
