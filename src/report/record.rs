use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    dsl::Value,
    experiment::{
        ExperimentError,
        sweep::{Planned, Prediction, Variant},
    },
    train::{
        history::{self, Epoch},
        result::{Failure, RunResult, Stopped},
    },
};

/// What a trial's directory says.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub folder: PathBuf,
    /// What its sweep changed.
    pub variant: Variant,
    pub epochs: Vec<Epoch>,
    pub result: Option<RunResult>,
    pub failure: Option<Failure>,
    /// Why the sweep's strategy ended the trial before its last epoch.
    pub stopped: Option<String>,
    /// What the sweep expected of it.
    pub prediction: Option<Prediction>,
}

impl Record {
    /// Reads one trial.
    ///
    /// # Errors
    /// A file that cannot be read, with its name.
    pub fn read(folder: &Path) -> Result<Self, ExperimentError> {
        Ok(Self {
            folder: folder.to_owned(),
            variant: Planned::variant_of(folder)?,
            epochs: history::read(&folder.join("metrics.jsonl"))?,
            result: RunResult::read(folder)?,
            failure: Failure::read(folder)?,
            stopped: Stopped::read(folder)?.map(|stopped| stopped.reason),
            prediction: Prediction::read(folder)?,
        })
    }

    /// Reads a trial, all trials of a sweep, or all trials of a folder, ordered by what was changed.
    ///
    /// # Errors
    /// As [`Record::read`], or a folder without any trial.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>, ExperimentError> {
        let is_trial = |folder: &Path| folder.join("config.yaml").exists();
        if is_trial(folder) {
            return Ok(vec![Self::read(folder)?]);
        }
        let trials = folder.join("trials");
        let inside = if trials.is_dir() { trials } else { folder.to_owned() };
        let io = |action| ExperimentError::io(action, &inside);
        let mut records = Vec::new();
        for entry in fs::read_dir(&inside).map_err(io("read"))? {
            let path = entry.map_err(io("read"))?.path();
            if is_trial(&path) {
                records.push(Self::read(&path)?);
            }
        }
        if records.is_empty() {
            return Err(ExperimentError::Sweep {
                message: format!("`{}` holds no trial", folder.display()),
                help: Some("give the folder of a run, or of a sweep".into()),
            });
        }
        records.sort_by(|a, b| order(&a.variant, &b.variant).then_with(|| a.folder.cmp(&b.folder)));
        Ok(records)
    }
}

/// By the values, numbers as numbers.
fn order(a: &Variant, b: &Variant) -> Ordering {
    let number = |value: &Value| match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    };
    let each = a.iter().zip(b).map(|((key_a, a), (key_b, b))| {
        key_a.cmp(key_b).then_with(|| match (number(a), number(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.to_string().cmp(&b.to_string()),
        })
    });
    each.fold(Ordering::Equal, Ordering::then).then_with(|| a.len().cmp(&b.len()))
}
