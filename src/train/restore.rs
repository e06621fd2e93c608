//! Checkpoints back into an engine: all that it has, and nothing else, or an error with the names.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use super::FitError;
use crate::{
    backend::{AVERAGE, Engine, OPTIMIZER, StateTensor},
    printable::first,
    trial::{
        TrialError,
        checkpoint::{self, Numbers, Progress},
    },
};

/// Sets parameters and optimizer to those of a checkpoint, to go on training.
///
/// # Errors
/// As [`checkpoint::load`], and [`TrialError::Other`] for tensors that are missing, unknown or of another shape.
pub fn restore(path: &Path, engine: &mut dyn Engine) -> Result<Progress, FitError> {
    let (progress, tensors) = checkpoint::load(path)?;
    same_numbers(path, progress.numbers)?;
    check(path, engine, &tensors, |_| true)?;
    engine.load_state(&tensors)?;
    Ok(progress)
}

/// Refuses to go on with other random numbers than a run began with: half of it would be of either.
fn same_numbers(path: &Path, theirs: Numbers) -> Result<(), TrialError> {
    let ours = Numbers::default();
    if theirs == ours {
        return Ok(());
    }
    let problem = format!(
        "was written by a vitx whose random numbers are of version {theirs}, and these are of version {ours}: go on with \
         that vitx, or train anew"
    );
    Err(TrialError::Other { path: path.to_owned(), problem })
}

/// Sets the parameters to those of a checkpoint, and their averages if it has them, to evaluate what training evaluates.
///
/// # Errors
/// As [`restore`], and for weights that are not finite.
pub fn restore_weights(path: &Path, engine: &mut dyn Engine) -> Result<(), FitError> {
    if !path.exists() {
        return Err(TrialError::Missing { path: path.to_owned() }.into());
    }
    let (_, mut tensors) = checkpoint::load(path)?;
    check(path, engine, &tensors, is_weight)?;
    tensors.retain(|tensor| is_weight(&tensor.name) || is_average(&tensor.name));
    let not_finite = tensors.iter().filter(|tensor| tensor.data.iter().any(|value| !value.is_finite()));
    let not_finite: Vec<&str> = not_finite.map(|tensor| tensor.name.as_str()).collect();
    if !not_finite.is_empty() {
        let problem = format!("has weights that are not finite, in {}", first(&not_finite));
        return Err(TrialError::Other { path: path.to_owned(), problem }.into());
    }
    Ok(engine.load_state(&tensors)?)
}

/// Whether a tensor is a parameter of the network.
pub fn is_weight(name: &str) -> bool {
    !name.starts_with(OPTIMIZER)
}

/// Whether a tensor is the average of a parameter.
fn is_average(name: &str) -> bool {
    name.starts_with(AVERAGE)
}

/// Holds a checkpoint's tensors to those of an engine, of which it must have those that are `needed`.
fn check(
    path: &Path,
    engine: &dyn Engine,
    tensors: &[StateTensor],
    needed: fn(&str) -> bool,
) -> Result<(), TrialError> {
    let own = engine.tensors();
    let shape_of: HashMap<&str, &Vec<usize>> = own.iter().map(|(name, shape)| (name.as_str(), shape)).collect();
    let stored: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let names = own.iter().map(|(name, _)| name.as_str());
    let missing: Vec<&str> = names.filter(|name| needed(name) && !stored.contains(name)).collect();
    let unknown: Vec<&str> =
        tensors.iter().map(|tensor| tensor.name.as_str()).filter(|name| !shape_of.contains_key(name)).collect();
    let shapes = tensors.iter().filter_map(|tensor| {
        let (name, shape) = (tensor.name.as_str(), *shape_of.get(tensor.name.as_str())?);
        (*shape != tensor.shape).then(|| format!("`{name}` of shape {:?}, the model has {shape:?}", tensor.shape))
    });
    let shapes: Vec<String> = shapes.collect();
    let mut problems = Vec::new();
    if !missing.is_empty() {
        problems.push(format!("lacks {}: {}", counted(missing.len()), first(&missing)));
    }
    if !unknown.is_empty() {
        problems.push(format!("has {} that the model does not have: {}", counted(unknown.len()), first(&unknown)));
    }
    if !shapes.is_empty() {
        problems.push(format!("has {}", first(&shapes.iter().map(String::as_str).collect::<Vec<_>>())));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(TrialError::Other { path: path.to_owned(), problem: problems.join("; it ") }),
    }
}

fn counted(count: usize) -> String {
    if count == 1 { "1 tensor".into() } else { format!("{count} tensors") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_with_its_own_random_numbers_only() {
        let written = |text: &str| serde_json::from_str::<Progress>(text).unwrap().numbers;
        let now = serde_json::to_string(&Progress::default()).unwrap();
        assert!(same_numbers(Path::new("last.safetensors"), written(&now)).is_ok());
        let former = now.replace(r#","numbers":2"#, "");
        assert_ne!(former, now);
        let error = same_numbers(Path::new("last.safetensors"), written(&former)).unwrap_err().to_string();
        assert_eq!(
            error,
            "`last.safetensors` was written by a vitx whose random numbers are of version 1, and these are of version 2: \
             go on with that vitx, or train anew"
        );
    }
}
