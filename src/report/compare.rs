use std::path::PathBuf;

use serde_json::Value;
use similar::TextDiff;

use super::{
    Record,
    classes::classes,
    layout::fitted,
    measure::{self, Measure},
    network,
};
use crate::{
    data::Subset,
    experiment::{Definition, ExperimentError, sweep::is_sweep},
    printable,
    trial::{Input, NetworkLayer, TestClasses},
};

/// Most epochs of a table of curves; more are thinned out evenly.
const MOST_EPOCHS: usize = 20;

/// Most lines of what differs between layers.
const MOST_LINES: usize = 60;

/// Shows how single runs differ: in their configurations, models, results and curves. The first is
/// what the others are compared with. `tested` is how well each recognises each class, where that is known, and `all`
/// asks for all classes, and not for those alone that changed most.
///
/// # Errors
/// A folder that is no trial.
pub fn compare(folders: &[PathBuf], tested: &[Option<TestClasses>], all: bool) -> Result<String, ExperimentError> {
    if let Some(folder) = folders.iter().find(|folder| is_sweep(folder)) {
        let sweep = printable::shell(folder);
        return Err(ExperimentError::Sweep {
            message: format!("`{}` is the directory of a sweep", folder.display()),
            help: Some(format!("vitx report {sweep} compares its trials; single ones are in {sweep}/trials")),
        });
    }
    let records = folders.iter().map(|folder| Record::read(folder)).collect::<Result<Vec<_>, _>>()?;
    let definitions = folders.iter().map(|folder| Definition::of_trial(folder)).collect::<Result<Vec<_>, _>>()?;
    let name = |record: &Record| {
        record.folder.file_name().map_or_else(|| record.folder.display().to_string(), |n| n.to_string_lossy().into())
    };
    let names: Vec<String> = records.iter().map(name).collect();
    let header = |first: &str| std::iter::once(first.to_owned()).chain(names.iter().cloned()).collect::<Vec<_>>();
    let mut parts = Vec::new();

    let configs: Vec<Vec<(String, String)>> = definitions.iter().map(flat).collect();
    let mut keys: Vec<&String> = configs.iter().flatten().map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    let cells: Vec<Vec<String>> = keys
        .into_iter()
        .map(|key| {
            let find = |config: &Vec<(String, String)>| config.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
            std::iter::once(key.clone()).chain(configs.iter().map(|c| find(c).unwrap_or_default())).collect()
        })
        .filter(|row: &Vec<String>| row[2..].iter().any(|value| *value != row[1]))
        .collect();
    parts.push(match cells.is_empty() {
        true => "The configurations are the same.".to_owned(),
        false => format!("Configurations\n{}", fitted(header("key"), cells, 1)),
    });

    parts.extend(data(folders, &names)?);

    let mut models = String::new();
    for (definition, name) in definitions.iter().zip(&names).skip(1) {
        let (first, other) = (definitions[0].source.text.as_str(), definition.source.text.as_str());
        if first != other {
            models += &TextDiff::from_lines(first, other).unified_diff().header(&names[0], name).to_string();
        }
    }
    parts.push(match models.is_empty() {
        true => "The models' texts are the same.".to_owned(),
        false => format!("Models\n{}", models.trim_end()),
    });

    let built = records.iter().map(layers).collect::<Result<Vec<String>, _>>()?;
    let mut changes = String::new();
    for (layers, name) in built.iter().zip(&names).skip(1).filter(|(layers, _)| !layers.is_empty()) {
        if built[0] != *layers && !built[0].is_empty() {
            let diff = TextDiff::from_lines(&built[0], layers);
            changes += &diff.unified_diff().context_radius(1).header(&names[0], name).to_string();
        }
    }
    if !changes.is_empty() {
        let lines: Vec<&str> = changes.lines().collect();
        let more = lines.len().saturating_sub(MOST_LINES);
        let more = if more > 0 { format!("\n... and {more} more lines") } else { String::new() };
        parts.push(format!("Layers\n{}{more}", lines[..lines.len().min(MOST_LINES)].join("\n")));
    }

    let shown = |measure: &Measure, record: &Record| (measure.of)(record).map_or_else(String::new, measure.show);
    let results = measure::ALL.iter().filter(|measure| records.iter().any(|record| (measure.of)(record).is_some()));
    let results: Vec<Vec<String>> = results
        .map(|measure| {
            std::iter::once(measure.header.to_owned()).chain(records.iter().map(|r| shown(measure, r))).collect()
        })
        .collect();
    parts.push(match results.is_empty() {
        true => "None is finished.".to_owned(),
        false => format!("Results\n{}", fitted(header("measure"), results, 1)),
    });

    parts.extend(classes(&names, tested, all));

    let last = records.iter().map(|record| record.epochs.len()).max().unwrap_or(0);
    if last > 0 {
        let step = last.div_ceil(MOST_EPOCHS);
        let epochs = (1..=last).filter(|epoch| epoch % step == 0 || *epoch == 1 || *epoch == last);
        let cell = |record: &Record, epoch: usize| {
            let epoch = record.epochs.get(epoch - 1)?;
            Some(match (epoch.val_loss, epoch.val_accuracy) {
                (Some(loss), Some(accuracy)) => format!("{loss:.4} / {}", measure::percent(accuracy)),
                _ => format!("{:.4} / {}", epoch.loss, measure::percent(epoch.accuracy)),
            })
        };
        let rows = epochs.map(|epoch| {
            let cells = records.iter().map(|record| cell(record, epoch).unwrap_or_default());
            std::iter::once(epoch.to_string()).chain(cells).collect()
        });
        let table = fitted(header("epoch"), rows.collect(), 1);
        parts.push(format!("Validation loss / accuracy by epoch\n{table}"));
    }
    Ok(parts.join("\n\n"))
}

/// How the data that trials began with differ; nothing where fewer than two have begun.
fn data(folders: &[PathBuf], names: &[String]) -> Result<Option<String>, ExperimentError> {
    let inputs = folders.iter().map(|folder| Input::find(folder)).collect::<Result<Vec<_>, _>>()?;
    let mut begun = inputs.iter().zip(names).filter_map(|(input, name)| Some((input.as_ref()?, name)));
    let Some((first, first_name)) = begun.next() else { return Ok(None) };
    let (mut text, mut others, mut sure) = (String::new(), 0, first.fingerprint.is_some());
    for (other, name) in begun {
        others += 1;
        sure &= other.fingerprint.is_some();
        if let Some(changes) = first.changes(other, &Subset::ALL) {
            text += &format!("\nfrom {first_name} to {name}: {changes}");
        }
    }
    Ok(match (others, text.is_empty(), sure) {
        (0, ..) => None,
        (_, false, _) => Some(format!("Data{text}")),
        (_, true, true) => Some("The data are the same.".to_owned()),
        (_, true, false) => Some("The data are the same, as far as trials of former versions tell.".to_owned()),
    })
}

/// A trial's layers, one a line. Empty for a trial that has not begun.
fn layers(record: &Record) -> Result<String, ExperimentError> {
    let layer = |layer: &NetworkLayer| {
        format!("{}: {} {{{}}} -> {:?}\n", layer.path, layer.kind, layer.arguments_text(), layer.output_shape)
    };
    Ok(network(&record.folder)?.map_or_else(String::new, |network| network.layers.iter().map(layer).collect()))
}

/// The dotted keys of an experiment and their values, as JSON.
pub fn flat(definition: &Definition) -> Vec<(String, String)> {
    fn walk(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    walk(&key, value, out);
                }
            }
            value => out.push((prefix.to_owned(), value.to_string())),
        }
    }
    let mut out = Vec::new();
    // Plain structs serialise; what could not would be left out of the comparison.
    walk("", &serde_json::to_value(&definition.experiment).unwrap_or_default(), &mut out);
    out
}
