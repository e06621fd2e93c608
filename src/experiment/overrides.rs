//! Setting any key of an experiment from outside: `--set train.optimizer.learning_rate=3e-4`.

use serde_yaml::{Mapping, Value};

use super::{
    Experiment, ExperimentError,
    read::{HELP, told, without_place},
};
use crate::{data::transforms, dsl::nearest};

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
            told(without_place(&message)).0,
            Some(format!("a text with such characters is put in quotes: '{path}={quoted}'")),
        )
    })?;
    let mut tree = tree(experiment).map_err(|error| refuse(error.to_string(), None))?;
    set(&mut tree, path.trim(), value).map_err(|message| {
        let (message, help) = told(&message);
        refuse(message, help)
    })?;
    let changed: Experiment = serde_yaml::from_value(tree).map_err(|error| {
        let (message, help) = told(&error.to_string());
        refuse(message, help)
    })?;
    match changed.out_of_range() {
        Some(fault) => Err(refuse(fault.message, fault.help)),
        None => Ok(changed),
    }
}

/// Order in which assignments are applied, where it is not that in which they are given: the options of an optimizer are
/// checked against its name, those of a schedule against its kind.
pub fn rank(key: &str) -> u8 {
    const FIRST: [&str; 3] = ["train.optimizer.name", "train.optimizer.others.name", "train.schedule.kind"];
    u8::from(!FIRST.contains(&key.trim()))
}

/// An experiment to be changed: without the defaults of its optimizer, which another would not have.
fn tree(experiment: &Experiment) -> Result<Value, serde_yaml::Error> {
    let mut tree = serde_yaml::to_value(experiment)?;
    if let Some(optimizer) = tree.get_mut("train").and_then(|train| train.get_mut("optimizer")) {
        *optimizer = experiment.train.optimizer.sparse(serde_yaml::value::Serializer)?;
    }
    Ok(tree)
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

/// Sets the key at a dotted path in a tree of YAML, adding the mappings on its way. `key[0]` is an entry of a list by its
/// place; `list.name` is the entry of that name, or the value that stands with it.
///
/// # Errors
/// When the path leads through something that is no mapping and no list, or to an entry that is not there.
pub fn set(tree: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let mut at = tree;
    let mut walked = String::new();
    let mut entry = None;
    for part in path.split('.') {
        if part.is_empty() {
            return Err(format!("`{path}` has an empty part"));
        }
        let (name, indices) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        if at.is_null() {
            *at = Value::Mapping(Mapping::new());
        }
        entry = at.is_sequence().then_some(name);
        at = match at {
            Value::Mapping(mapping) => mapping.entry(name.into()).or_insert(Value::Null),
            Value::Sequence(list) => named(list, name, &walked)?,
            _ => return Err(format!("`{walked}` has no keys of its own")),
        };
        walked = if walked.is_empty() { name.to_owned() } else { format!("{walked}.{name}") };
        for index in indices.into_iter().flat_map(|rest| rest.split('[')) {
            at = indexed(at, index, &walked)?;
            walked = format!("{walked}[{index}");
        }
    }
    match (entry.and_then(transforms::first_option), &value) {
        // It is there as it is.
        (Some(_), Value::Bool(true)) => {}
        // The value of a transform's first option leaves its others alone.
        (Some(first), Value::Number(_) | Value::String(_) | Value::Sequence(_)) if at.is_mapping() => {
            at[first] = value;
        }
        _ => *at = value,
    }
    Ok(())
}

/// What stands with a name in a list.
fn named<'v>(list: &'v mut [Value], name: &str, walked: &str) -> Result<&'v mut Value, String> {
    let of = |entry: &Value| match entry {
        Value::String(word) => Some(word.clone()),
        Value::Mapping(mapping) => mapping.keys().next().and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    let names: Vec<Option<String>> = list.iter().map(of).collect();
    let Some(at) = names.iter().position(|found| found.as_deref() == Some(name)) else {
        let there: Vec<String> = names.iter().flatten().map(|name| format!("`{name}`")).collect();
        let near = nearest(name, names.iter().flatten().map(String::as_str));
        let help = near.map_or_else(
            || format!("it has {}; all of them are set by '{walked}=[..]'", there.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(format!("`{walked}` is a list without `{name}`{HELP}{help}"));
    };
    let entry = &mut list[at];
    if entry.is_string() {
        *entry = Value::Mapping([(Value::from(name), Value::Null)].into_iter().collect());
    }
    match entry.get_mut(name) {
        Some(value) => Ok(value),
        None => Err(format!("`{walked}` has no `{name}`")),
    }
}

/// The entry of a list at `index]`.
fn indexed<'v>(value: &'v mut Value, index: &str, walked: &str) -> Result<&'v mut Value, String> {
    let place = index.strip_suffix(']').and_then(|index| index.trim().parse::<usize>().ok());
    let Some(place) = place else { return Err(format!("`{walked}[{index}` is no place in a list: e.g. {walked}[0]")) };
    let Value::Sequence(list) = value else { return Err(format!("`{walked}` is no list")) };
    let count = list.len();
    list.get_mut(place).ok_or_else(|| format!("`{walked}` has {count} entries, counted from 0: there is no [{place}]"))
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

    fn augmentation(experiment: &Experiment) -> String {
        serde_json::to_string(&experiment.augmentation).unwrap()
    }

    #[test]
    fn transforms_are_set_by_name_and_by_place() {
        let list = "augmentation=[random_flip, random_rotation: {factor: 0.02, fill_mode: wrap}, random_zoom: 0.3]";
        let listed = apply(&experiment(), list).unwrap();
        let all = r#"["random_flip",{"random_rotation":{"factor":0.02,"fill_mode":"wrap"}},{"random_zoom":{"height_factor":0.3}}]"#;
        assert_eq!(augmentation(&listed), all);
        for (set, expected) in [
            (
                "augmentation.random_flip.mode=vertical",
                all.replace(r#""random_flip""#, r#"{"random_flip":{"mode":"vertical"}}"#),
            ),
            (
                "augmentation.random_flip=vertical",
                all.replace(r#""random_flip""#, r#"{"random_flip":{"mode":"vertical"}}"#),
            ),
            ("augmentation.random_flip=false", all.replace(r#""random_flip","#, "")),
            ("augmentation.random_rotation=true", all.to_owned()),
            ("augmentation.random_rotation=0.25", all.replace("0.02", "0.25")),
            ("augmentation.random_rotation=[-0.5, 0]", all.replace("0.02", "[-0.5,0.0]")),
            ("augmentation[2]=random_zoom: false", all.replace(r#",{"random_zoom":{"height_factor":0.3}}"#, "")),
            (
                "augmentation[2].random_zoom.height_factor=0.2",
                all.replace(r#"{"random_zoom":{"height_factor":0.3}}"#, r#""random_zoom""#),
            ),
            ("augmentation=[random_flip]", r#"["random_flip"]"#.to_owned()),
            ("augmentation=[]", r#"{"flip":false,"rotation":0.0,"zoom":0.0}"#.to_owned()),
        ] {
            assert_eq!(augmentation(&apply(&listed, set).unwrap()), expected, "{set}");
        }
        // The keys of the first version, on what had none and on what had them.
        let keys = apply(&experiment(), "augmentation.flip=true").unwrap();
        let keys = apply(&keys, "augmentation.zoom=0.5").unwrap();
        assert_eq!(augmentation(&keys), r#"{"flip":true,"rotation":0.0,"zoom":0.5}"#);
    }

    #[test]
    fn transforms_that_cannot_be_set_are_explained() {
        let listed = apply(&experiment(), "augmentation=[random_flip, random_zoom]").unwrap();
        let sets = [
            "augmentation.random_zom.height_factor=1",
            "augmentation.cutout=3",
            "augmentation.flip=true",
            "augmentation.random_zoom.heigth_factor=1",
            "augmentation.random_zoom.height_factor.x=1",
            "augmentation.random_zoom=12",
            "augmentation[2]=random_flip",
            "augmentation[1]=random_flip",
            "augmentation[x]=random_flip",
            "augmentation[0=random_flip",
            "train[0]=1",
            "augmentation=[random_flp]",
            "augmentation=[flip]",
            "augmentation=random_flip",
        ];
        let refused = |experiment: &Experiment, set: &str| {
            let error = apply(experiment, set).unwrap_err();
            format!("{error}\n  {}", error.help().map(|help| help.to_string()).unwrap_or_default())
        };
        let mut all: Vec<String> = sets.iter().map(|set| refused(&listed, set)).collect();
        all.push(refused(&experiment(), "augmentation.random_zoom=0.2"));
        insta::assert_snapshot!(all.join("\n"));
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
