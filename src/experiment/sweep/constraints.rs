//! Conditions that variants must meet: `--where "projection_dim % num_heads == 0"`.

use std::collections::BTreeMap;

use super::{Axis, Space, keys::of_experiment, space::refuse};
use crate::{
    dsl::Value,
    experiment::{Definition, ExperimentError, OneOrMany, SweepConfig, definition::MODEL_KEY},
    model::{Constraint, parameters},
    trial::Variant,
};

/// The conditions of the experiment, then those of the command line.
///
/// # Errors
/// What is no condition or names what is not there, with its place.
pub fn read(
    base: &Definition,
    space: &Space,
    own: &SweepConfig,
    given: &[String],
) -> Result<Vec<Constraint>, ExperimentError> {
    let of_file = own.constraints.as_ref().map_or(&[][..], OneOrMany::all);
    let texts = of_file.iter().map(|text| ("sweep.where", text)).chain(given.iter().map(|text| ("--where", text)));
    let mut constraints: Vec<Constraint> = Vec::new();
    for (name, text) in texts {
        if constraints.iter().any(|known| known.text() == text) {
            continue;
        }
        let constraint = Constraint::parse(name, text)?;
        let varied: Vec<&Axis> = space.groups.iter().flatten().collect();
        let unknown = |key: &&String| key.contains('.') && !varied.iter().any(|axis| axis.key == Axis::named(key));
        for key in constraint.names().iter().filter(unknown) {
            of_experiment(&base.experiment, key)
                .map_err(|(message, help)| ExperimentError::Sweep { message: format!("{name}: {message}"), help })?;
        }
        if !varied.iter().any(|axis| constraint.names().iter().any(|key| Axis::named(key) == axis.key)) {
            let keys: Vec<&str> = varied.iter().map(|axis| axis.key.as_str()).collect();
            let help = format!("it holds for all variants or for none; varied are: {}", keys.join(", "));
            return Err(refuse(format!("`{text}` has no key that varies"), &help));
        }
        // Names that are not there are found at any point.
        holds(base, &space.at(&vec![0.0; space.groups.len()], false), &constraint)?;
        constraints.push(constraint);
    }
    Ok(constraints)
}

/// As an experiment has them.
pub fn resolved(constraints: &[Constraint]) -> Option<OneOrMany> {
    match constraints {
        [] => None,
        [one] => Some(OneOrMany::One(one.text().to_owned())),
        many => Some(OneOrMany::Many(many.iter().map(|one| one.text().to_owned()).collect())),
    }
}

/// Whether a variant meets a condition. A key that does not vary there has the value of the experiment, or the model's default.
///
/// # Errors
/// A name without a value, or values that the condition cannot have.
pub fn holds(base: &Definition, variant: &Variant, constraint: &Constraint) -> Result<bool, ExperimentError> {
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for name in constraint.names() {
        let key = Axis::named(name);
        let varied = variant.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
        if let Some(value) = varied.or_else(|| base.experiment.params.get(&key)) {
            values.insert(name.clone(), value.clone());
        }
    }
    if constraint.names().iter().all(|name| values.contains_key(name)) {
        return Ok(constraint.holds(&values)?);
    }
    let definition = base.with(variant)?;
    let own = parameters(&definition.source, &definition.experiment.params);
    let tree = serde_yaml::to_value(&definition.experiment).unwrap_or_default();
    for name in constraint.names().iter().filter(|name| **name != MODEL_KEY) {
        let key = Axis::named(name);
        let of_tree = || key.split('.').try_fold(&tree, |tree, part| tree.get(part));
        let value = match key.contains('.') {
            true => of_tree().and_then(|value| serde_yaml::from_value(value.clone()).ok()),
            false => own.get(&key).cloned(),
        };
        if let (Some(value), false) = (value, values.contains_key(name)) {
            values.insert(name.clone(), value);
        }
    }
    // Of other names one can choose, which the diagnostic then does.
    own.into_iter().for_each(|(name, value)| {
        values.entry(name).or_insert(value);
    });
    Ok(constraint.holds(&values)?)
}

/// How many variants each condition has left out, for people.
pub fn notes(constraints: &[Constraint], left_out: &[usize]) -> Vec<String> {
    let note = |(constraint, count): (&Constraint, &usize)| {
        let variants = if *count == 1 { "1 variant is" } else { &format!("{count} variants are") };
        format!("{variants} left out: `{}` does not hold there", constraint.text())
    };
    constraints.iter().zip(left_out).filter(|(_, count)| **count > 0).map(note).collect()
}
