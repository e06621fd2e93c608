//! Whether what a sweep varies is there at all.

use serde_yaml::Value;

use super::Space;
use crate::{
    dsl::{self, nearest, syntax::DefinitionKind},
    experiment::{Definition, Experiment, ExperimentError, definition::MODEL_KEY, overrides, read::suggestion},
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

fn of_experiment(experiment: &Experiment, key: &str) -> Result<(), Refused> {
    if key.starts_with("sweep.") {
        return Err((format!("`{key}` cannot be varied"), Some("a sweep cannot vary itself".into())));
    }
    // What is there refuses the wrong type; what is not, the name.
    let refused = serde_yaml::to_value(experiment).map_err(|error| error.to_string()).and_then(|mut tree| {
        overrides::set(&mut tree, key, Value::Null)?;
        serde_yaml::from_value::<Experiment>(tree).map(|_| ()).map_err(|error| error.to_string())
    });
    match refused {
        Err(message) if message.contains("unknown field") => {
            let help =
                suggestion(&message).or_else(|| message.split_once("expected ").map(|(_, rest)| rest.to_owned()));
            Err((format!("the experiment has no key `{key}`"), help))
        }
        Err(message) if message.contains("no keys of its own") => {
            Err((format!("the experiment has no key `{key}`"), Some(message)))
        }
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
}
