//! Setting any key of an experiment from outside: `--set train.optimizer.learning_rate=3e-4`.

use serde_yaml::{Mapping, Value};

use super::{
    Experiment, ExperimentError,
    read::{told, without_place},
};

/// Sets one key, given as `path.to.key=value` with the value in YAML.
///
/// # Errors
/// [`ExperimentError::Set`] for what is no assignment, an unknown key, a wrong type, or a value out
/// of range.
pub fn apply(experiment: &Experiment, assignment: &str) -> Result<Experiment, ExperimentError> {
    let refuse = |message: String, help: Option<String>| ExperimentError::Set {
        assignment: assignment.to_owned(),
        message,
        help,
    };
    let (path, text) = assignment
        .split_once('=')
        .ok_or_else(|| refuse("this is not of the form key=value".into(), Some("e.g. train.epochs=3".into())))?;
    let value = value_of(text).map_err(|message| {
        let quoted = crate::dsl::Value::Str(text.trim().to_owned());
        refuse(
            without_place(&message).to_owned(),
            Some(format!("a text with such characters is put in quotes: '{path}={quoted}'")),
        )
    })?;
    let mut tree = serde_yaml::to_value(experiment).map_err(|error| refuse(error.to_string(), None))?;
    set(&mut tree, path.trim(), value).map_err(|message| refuse(message, None))?;
    let changed: Experiment = serde_yaml::from_value(tree).map_err(|error| {
        let (message, help) = told(&error.to_string());
        refuse(message, help)
    })?;
    match changed.out_of_range() {
        Some(fault) => Err(refuse(fault.message, fault.help)),
        None => Ok(changed),
    }
}

/// Reads a value as YAML has it, but for comments: what follows ` #` belongs to the text.
fn value_of(text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    let plain = !trimmed.starts_with(['"', '\'', '[', '{', '|', '>', '&', '*', '!']);
    if plain && (trimmed.starts_with('#') || trimmed.contains(" #") || trimmed.contains("\t#")) {
        return Ok(Value::String(trimmed.to_owned()));
    }
    match serde_yaml::from_str(text).map_err(|error| error.to_string())? {
        Value::Tagged(tagged) => Err(format!("tags such as `{}` are not read", tagged.tag)),
        _ if trimmed.starts_with('&') => Err("anchors are not read here".into()),
        value => Ok(value),
    }
}

/// Sets the key at a dotted path in a tree of YAML, adding the mappings on its way.
///
/// # Errors
/// When the path leads through something that is no mapping.
pub fn set(tree: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let mut at = tree;
    let mut walked = Vec::new();
    for part in path.split('.') {
        if part.is_empty() {
            return Err(format!("`{path}` has an empty part"));
        }
        if at.is_null() {
            *at = Value::Mapping(Mapping::new());
        }
        let Value::Mapping(mapping) = at else {
            return Err(format!("`{}` has no keys of its own", walked.join(".")));
        };
        at = mapping.entry(part.into()).or_insert(Value::Null);
        walked.push(part);
    }
    *at = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use miette::Diagnostic;

    use super::*;

    fn experiment() -> Experiment {
        Experiment::parse("a.yaml", "model: m.vitx\ndata: {name: digits}\n").unwrap()
    }

    #[test]
    fn sets_what_is_there_and_what_is_not() {
        let changed = apply(&experiment(), "train.optimizer.learning_rate=3e-4").unwrap();
        assert_eq!(changed.train.optimizer.learning_rate, 3e-4);
        let changed = apply(&changed, "params.patch_size=4").unwrap();
        assert_eq!(changed.params["patch_size"], crate::dsl::Value::Int(4));
        assert_eq!(apply(&changed, "data.train_limit=100").unwrap().data.train_limit, Some(100));
    }

    #[test]
    fn texts_are_kept_whole() {
        for (text, expected) in [
            ("a #b", "a #b"),
            ("#fff", "#fff"),
            ("3 #x", "3 #x"),
            ("a#b", "a#b"),
            ("'a #b'", "a #b"),
            ("\"a, b: c\"", "a, b: c"),
            ("ä, b", "ä, b"),
        ] {
            let changed = apply(&experiment(), &format!("params.tag={text}")).unwrap();
            assert_eq!(changed.params["tag"], crate::dsl::Value::Str(expected.into()), "{text}");
        }
        let refused = ["!foo a", "&a b", "*a", "@a", "a: b", "[a"].map(|text| {
            let error = apply(&experiment(), &format!("params.tag={text}")).unwrap_err();
            format!("{error}\n  {}", error.help().map(|help| help.to_string()).unwrap_or_default())
        });
        insta::assert_snapshot!(refused.join("\n"));
    }

    #[test]
    fn refuses_what_cannot_be() {
        let error = apply(&experiment(), "train.epoch=3").unwrap_err();
        assert_eq!(error.help().unwrap().to_string(), "did you mean `epochs`?");
        for bad in ["train.epochs", "train.epochs=0", "train.epochs=few", "data.name.first=1", "=1", "train..a=1"] {
            assert!(matches!(apply(&experiment(), bad), Err(ExperimentError::Set { .. })), "{bad}");
        }
    }
}
