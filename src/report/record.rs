use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    dsl::Value,
    experiment::{ExperimentError, sweep::Trials},
    trial::{Directory, Epoch, Failure, Lock, Prediction, RunResult, Stopped, Variant, history, variant},
};

/// What a trial's directory says.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The trial's directory.
    pub folder: PathBuf,
    /// What its sweep changed.
    pub variant: Variant,
    /// Those that count, in order.
    pub epochs: Vec<Epoch>,
    /// Of a finished trial.
    pub result: Option<RunResult>,
    /// Why it has no result, if it has been given up.
    pub failure: Option<Failure>,
    /// Why the sweep's strategy ended the trial before its last epoch.
    pub stopped: Option<String>,
    /// What the sweep expected of it.
    pub prediction: Option<Prediction>,
    /// Whether a process trains it now.
    pub running: bool,
    /// Why nothing more is known of it: a file that cannot be read, a directory that is gone.
    pub damaged: Option<String>,
}

impl Record {
    /// Reads one trial.
    ///
    /// # Errors
    /// A file that cannot be read, with its name.
    pub fn read(folder: &Path) -> Result<Self, ExperimentError> {
        let mut record = Self {
            folder: folder.to_owned(),
            variant: variant::read(folder)?,
            epochs: history::read_counted(folder)?,
            result: RunResult::read(folder)?,
            failure: Failure::read(folder)?,
            stopped: None,
            prediction: Prediction::read(folder)?,
            running: Lock::is_held(folder),
            damaged: None,
        };
        if let Some(Stopped { reason, .. }) = Stopped::read(folder)? {
            (record.result, record.failure, record.stopped) = (None, None, Some(reason));
        }
        Ok(record)
    }

    /// Reads one trial among others: what cannot be read of it does not hide them.
    pub fn read_or_damaged(folder: &Path) -> Self {
        Self::read(folder).unwrap_or_else(|error| Self::damaged(folder, format!("damaged: {error}")))
    }

    fn damaged(folder: &Path, reason: String) -> Self {
        Self {
            folder: folder.to_owned(),
            variant: variant::read(folder).unwrap_or_default(),
            epochs: Vec::new(),
            result: None,
            failure: None,
            stopped: None,
            prediction: Prediction::read(folder).unwrap_or_default(),
            running: false,
            damaged: Some(reason),
        }
    }

    /// Reads a trial, all trials of a sweep in its order, or all trials of a folder, ordered by what
    /// was changed.
    ///
    /// # Errors
    /// As [`Record::read`], or a folder without any trial.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>, ExperimentError> {
        let is_trial = |folder: &Path| Directory::new(folder).is_defined();
        if is_trial(folder) {
            let mend = |error: ExperimentError| ExperimentError::Sweep {
                message: error.to_string(),
                help: Some("something else has written to this file: without it, the rest can be shown".into()),
            };
            return Ok(vec![Self::read(folder).map_err(mend)?]);
        }
        let trials = folder.join("trials");
        let inside = if trials.is_dir() { trials } else { folder.to_owned() };
        let io = |action| ExperimentError::io(action, &inside);
        let mut records = Vec::new();
        if let Some(Trials { trials }) = Trials::read(folder)? {
            if trials.is_empty() {
                return Err(ExperimentError::Sweep {
                    message: format!("the sweep in `{}` has no trial yet", folder.display()),
                    help: Some("its trials.json lists none: run the sweep again".into()),
                });
            }
            // A variant that cannot be has nothing but the reason.
            let there = |path: &PathBuf| is_trial(path) || Directory::new(path).has_failure();
            let paths = trials.iter().map(|name| inside.join(name));
            let (there, gone): (Vec<PathBuf>, Vec<PathBuf>) = paths.partition(there);
            records.extend(there.iter().map(|path| Self::read_or_damaged(path)));
            // While the sweep runs, it has yet to make them.
            if let (Some(first), false) = (gone.first(), Lock::is_held(folder)) {
                let count = if gone.len() == 1 { "a trial".to_owned() } else { format!("{} trials", gone.len()) };
                let reason =
                    format!("{count} of trials.json not there, as `{}`: removed, or not begun", first.display());
                records.push(Self::damaged(first, reason));
            }
            return Ok(records);
        }
        for entry in fs::read_dir(&inside).map_err(io("read"))? {
            let path = entry.map_err(io("read"))?.path();
            // What a sweep that came to no trial left there is its own definition.
            if is_trial(&path) && path.file_name().is_none_or(|name| name != "sweep") {
                records.push(Self::read_or_damaged(&path));
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
