//! Whether what a sweep varies is there at all.

use serde_yaml::Value;

use super::{Axis, Domain, Scale, Space};
use crate::{
    dsl::{
        self, nearest,
        syntax::{DefinitionKind, ExprKind},
    },
    experiment::{
        Definition, Experiment, ExperimentError,
        definition::MODEL_KEY,
        overrides,
        read::{HELP, suggestion, told},
    },
    model::Architecture,
};

/// Keys of a sweep that no model has, and that [`overrides::apply`] does not know.
///
/// # Errors
/// [`ExperimentError::Sweep`] with the nearest name, or what the model's text has of mistakes.
pub fn check(base: &Definition, space: &Space) -> Result<(), ExperimentError> {
    let model = dsl::parse(&base.source)?;
    let models = model.definitions.iter().filter(|definition| definition.kind == DefinitionKind::Model);
    let parameters: Vec<&str> =
        models.flat_map(|model| &model.parameters).map(|parameter| parameter.name.text.as_str()).collect();
    let keys: Vec<&str> = space.groups.iter().flatten().map(|axis| axis.key.as_str()).collect();
    for key in &keys {
        let fine = match *key {
            MODEL_KEY => Ok(()),
            key if key.contains('.') => of_experiment(&base.experiment, key),
            // Another model has other parameters: its own check tells.
            _ if keys.contains(&MODEL_KEY) => Ok(()),
            key => of_model(key, &parameters),
        };
        fine.map_err(|(message, help)| ExperimentError::Sweep { message, help })?;
    }
    Ok(())
}

/// That nothing is set for all variants which then varies in all of them: it would have no effect.
///
/// # Errors
/// [`ExperimentError::Sweep`] with the key.
pub fn not_set(space: &Space, set: &[String]) -> Result<(), ExperimentError> {
    for assignment in set {
        let Some((key, text)) = assignment.split_once('=') else { continue };
        // What is no YAML has been refused before.
        let value = serde_yaml::from_str(text).unwrap_or(Value::Null);
        let mut keys = Vec::new();
        leaves(key.trim(), &value, &mut keys);
        let axes = space.groups.iter().flatten();
        // Outside of its condition, a key has the value that was set.
        let mut always = axes.filter(|axis| space.conditions.iter().all(|condition| condition.key != axis.key));
        if let Some(axis) = always.find(|axis| keys.iter().any(|key| Axis::named(key) == axis.key)) {
            let message = format!("`--set {assignment}` would have no effect: the sweep varies `{}`", axis.key);
            let help = Some(format!("leave it out, or give the one value with -p '{}=VALUE'", axis.key));
            return Err(ExperimentError::Sweep { message, help });
        }
    }
    Ok(())
}

/// The dotted keys that an assignment gives values to.
fn leaves(key: &str, value: &Value, keys: &mut Vec<String>) {
    let Value::Mapping(mapping) = value else { return keys.push(key.to_owned()) };
    for (name, value) in mapping {
        leaves(&format!("{key}.{}", name.as_str().unwrap_or_default()), value, keys);
    }
}

/// What to write instead of numbers between two ends for a parameter that is a whole number in the model.
pub fn whole_numbers(base: &Definition, space: &Space) -> Option<String> {
    let model = dsl::parse(&base.source).ok()?;
    let models = model.definitions.iter().filter(|definition| definition.kind == DefinitionKind::Model);
    let whole: Vec<&str> = models
        .flat_map(|model| &model.parameters)
        .filter(|parameter| {
            parameter.default.as_ref().is_some_and(|expr| matches!(expr.kind, ExprKind::Literal(dsl::Value::Int(_))))
        })
        .map(|parameter| parameter.name.text.as_str())
        .collect();
    space.groups.iter().flatten().filter(|axis| whole.contains(&axis.key.as_str())).find_map(|axis| {
        let key = &axis.key;
        let whole_only = format!("`{key}` is a whole number in the model");
        match &axis.domain {
            Domain::Interval { low, high, scale: Scale::Linear | Scale::Logarithmic } => {
                Some(format!("{whole_only}: {key}=int({}, {})", low.ceil(), high.floor()))
            }
            Domain::Values(values) if values.iter().any(|value| matches!(value, dsl::Value::Float(_))) => {
                Some(format!("{whole_only}: list whole numbers, or search {key}=int(LOW, HIGH)"))
            }
            _ => None,
        }
    })
}

/// Parameters that a sweep varies, and that the model does not use: its trials would be the same.
///
/// # Errors
/// [`ExperimentError::Sweep`] with the first.
pub fn check_read<'k>(keys: impl IntoIterator<Item = &'k str>, model: &Architecture) -> Result<(), ExperimentError> {
    match keys.into_iter().find(|key| model.unread().iter().any(|unread| unread == key)) {
        Some(key) => Err(ExperimentError::Sweep {
            message: format!("`{key}` has no effect: the model does not use it"),
            help: Some(format!("use `{key}` in the model, or leave it out of the sweep")),
        }),
        None => Ok(()),
    }
}

/// A message, and what to do about it.
type Refused = (String, Option<String>);

fn of_model(key: &str, parameters: &[&str]) -> Result<(), Refused> {
    if parameters.contains(&key) {
        return Ok(());
    }
    let help = match nearest(key, parameters.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {}; keys of the experiment have dots, as train.epochs", parameters.join(", ")),
    };
    Err((format!("the model has no parameter `{key}`"), Some(help)))
}

/// Whether an experiment has a dotted key.
pub fn of_experiment(experiment: &Experiment, key: &str) -> Result<(), Refused> {
    if key.starts_with("sweep.") {
        return Err((format!("`{key}` cannot be varied"), Some("a sweep cannot vary itself".into())));
    }
    let none = |help: Option<String>| Err((format!("the experiment has no key `{key}`"), help));
    let mut tree = serde_yaml::to_value(experiment).map_err(|error| (error.to_string(), None))?;
    if let Err(message) = overrides::set(&mut tree, key, Value::Null) {
        let (message, help) = told(&message);
        return none(Some(help.map_or(message.clone(), |help| format!("{message}; {help}"))));
    }
    // What is there refuses the wrong type; what is not, the name.
    match serde_yaml::from_value::<Experiment>(tree).map_err(|error| error.to_string()) {
        Err(message) if message.contains("unknown field") => {
            none(suggestion(&message).or_else(|| message.split_once("expected ").map(|(_, rest)| rest.to_owned())))
        }
        Err(message) if message.contains(HELP) => none(told(&message).1),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use miette::Diagnostic;

    use super::*;
    use crate::experiment::{Overrides, sweep::SpaceArguments};

    fn refused(param: &str) -> Option<String> {
        let base = Definition::read("experiments/digits_vit.yaml".as_ref(), &Overrides::default()).unwrap();
        let given = SpaceArguments { params: vec![param.into()], ..SpaceArguments::default() };
        let error = check(&base, &Space::new(&base.experiment, &given).unwrap()).err()?;
        Some(format!("{error}\n  {}", error.help().map(|help| help.to_string()).unwrap_or_default()))
    }

    #[test]
    fn what_is_not_there_gets_the_nearest_name() {
        for param in
            ["depth=1,2", "train.optimizer.learning_rate=1,2", "data.train_limit=5", "train.schedule.kind=linear"]
        {
            assert_eq!(refused(param), None, "{param}");
        }
        let params =
            ["patchsize=2", "width=2", "train.epoch=2", "tain.epochs=2", "train.epochs.few=2", "sweep.seeds=2"];
        let all: Vec<String> = params.iter().map(|param| refused(param).unwrap()).collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn transforms_of_a_list_can_be_varied() {
        let set = vec!["augmentation=[random_flip, random_zoom: 0.3]".to_owned()];
        let changes = Overrides { set, ..Overrides::default() };
        let base = Definition::read("experiments/digits_vit.yaml".as_ref(), &changes).unwrap();
        let variants = |param: &str| -> Result<Vec<String>, String> {
            let given = SpaceArguments { params: vec![param.into()], ..SpaceArguments::default() };
            let space = Space::new(&base.experiment, &given).unwrap();
            check(&base, &space).map_err(|error| {
                format!("{error}\n  {}", error.help().map(|help| help.to_string()).unwrap_or_default())
            })?;
            let points = space.grid().unwrap();
            let with = |point: &Vec<f64>| base.with(&space.at(point, false)).unwrap().experiment.augmentation;
            Ok(points.iter().map(|point| serde_json::to_string(&with(point)).unwrap()).collect())
        };
        assert_eq!(
            variants("augmentation.random_zoom.height_factor=0.1,0.2").unwrap(),
            [r#"["random_flip",{"random_zoom":{"height_factor":0.1}}]"#, r#"["random_flip","random_zoom"]"#]
        );
        assert_eq!(
            variants("augmentation.random_flip=true,false").unwrap(),
            [r#"["random_flip",{"random_zoom":{"height_factor":0.3}}]"#, r#"[{"random_zoom":{"height_factor":0.3}}]"#]
        );
        let params = [
            "augmentation.random_zoom.heigth_factor=1",
            "augmentation.random_zom.height_factor=1",
            "augmentation.flip=true",
        ];
        insta::assert_snapshot!(params.map(|param| variants(param).unwrap_err()).join("\n"));
    }
}
