use std::path::Path;

use crate::{
    experiment::{Definition, ExperimentError},
    trial::{Input, Network},
};

/// The network of a trial that has begun. Former versions kept none for programs: then it is elaborated anew from the
/// trial's definition, if that is possible.
///
/// # Errors
/// A file that is broken.
pub fn network(folder: &Path) -> Result<Option<Network>, ExperimentError> {
    if let Some(network) = Network::read(folder)? {
        return Ok(Some(network));
    }
    let Some(input) = Input::find(folder)? else { return Ok(None) };
    let architecture = Definition::of_trial(folder).and_then(|definition| definition.architecture(&input.spec()));
    Ok(architecture.ok().map(|architecture| Network::from(&architecture)))
}
