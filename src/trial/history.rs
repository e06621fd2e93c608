//! The record of epochs: `metrics.jsonl`, one JSON object a line, only ever appended to.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Stopped, TrialError, names::METRICS};
use crate::{
    files::{FileError, Place, append_to, kept},
    metrics::Means,
};

/// One finished epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1, as shown.
    pub epoch: u32,
    /// The mean of what is minimised over the training images, as they were trained on.
    pub loss: f64,
    /// The share of training images that were told right as they were trained on.
    pub accuracy: f64,
    /// The share of training images whose label was among the five largest logits.
    pub top_5_accuracy: f64,
    /// Absent without a validation split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// The share of validation images that are told right; absent without a validation split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_accuracy: Option<f64>,
    /// The share of validation images whose label is among the five largest logits; absent as the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_top_5_accuracy: Option<f64>,
    /// Whether the figures of validation are of the average of the weights (`train.ema`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ema: bool,
    /// Of the epoch's last step.
    pub learning_rate: f32,
    /// Wall time of the epoch, validation included.
    pub seconds: f64,
    /// Of training alone.
    pub images_per_second: f64,
    /// Seconds the training step waited for images.
    pub loader_wait_seconds: f64,
}

impl Epoch {
    /// The means of both splits, with the epoch's times still zero.
    pub fn new(epoch: u32, train: Means, validation: Option<Means>, learning_rate: f32) -> Self {
        Self {
            epoch,
            loss: train.loss,
            accuracy: train.accuracy,
            top_5_accuracy: train.top_5_accuracy,
            val_loss: validation.map(|means| means.loss),
            val_accuracy: validation.map(|means| means.accuracy),
            val_top_5_accuracy: validation.map(|means| means.top_5_accuracy),
            ema: false,
            learning_rate,
            seconds: 0.0,
            images_per_second: 0.0,
            loader_wait_seconds: 0.0,
        }
    }

    /// How well the network did after this epoch: its accuracy on the validation split, or without one on the training
    /// images. What is shown, compared and searched by.
    pub fn score(&self) -> f64 {
        self.val_accuracy.unwrap_or(self.accuracy)
    }

    /// What cannot be of a line that stands in place `number`.
    fn fault(&self, number: usize) -> Option<String> {
        if self.epoch as usize != number {
            return Some(format!("it is of epoch {}, expected {number}", self.epoch));
        }
        let validation = [self.val_loss.is_some(), self.val_accuracy.is_some(), self.val_top_5_accuracy.is_some()];
        if validation.contains(&true) && validation.contains(&false) {
            return Some("it has some figures of validation, but not all".into());
        }
        let shares = [
            ("accuracy", Some(self.accuracy)),
            ("top_5_accuracy", Some(self.top_5_accuracy)),
            ("val_accuracy", self.val_accuracy),
            ("val_top_5_accuracy", self.val_top_5_accuracy),
        ];
        let losses = [("loss", Some(self.loss)), ("val_loss", self.val_loss)];
        let amounts = [
            ("seconds", self.seconds),
            ("images_per_second", self.images_per_second),
            ("loader_wait_seconds", self.loader_wait_seconds),
        ];
        let mut shares = shares.into_iter().filter_map(|(name, value)| kept::share(name, value?));
        let mut losses = losses.into_iter().filter_map(|(name, value)| kept::loss(name, value?));
        let mut amounts = amounts.into_iter().filter_map(|(name, value)| kept::amount(name, value));
        shares.next().or_else(|| losses.next()).or_else(|| amounts.next())
    }
}

/// The record of a trial's epochs, which need not be there.
pub fn path(folder: &Path) -> PathBuf {
    folder.join(METRICS)
}

/// Appends an epoch and waits until it is on disk.
///
/// # Errors
/// [`FileError::Io`], with the file as it was or with an unfinished last line, which [`read`]
/// leaves out.
pub fn append(folder: &Path, epoch: &Epoch) -> Result<(), FileError> {
    let path = &path(folder);
    let mut line = serde_json::to_string(epoch).map_err(|error| FileError::io("write", path)(error.into()))?;
    line.push('\n');
    let mut file = append_to(path)?;
    file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).map_err(FileError::io("write", path))
}

/// All finished epochs. A last line without its end is what a killed process left, and is not read.
///
/// # Errors
/// A line that is no epoch, or a file that cannot be read. A missing file has no epochs.
pub fn read(folder: &Path) -> Result<Vec<Epoch>, TrialError> {
    let path = &path(folder);
    let Some(text) = kept::text(path)? else { return Ok(Vec::new()) };
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).zip(1..);
    let read = |(line, number): (&str, usize)| {
        let refused = |problem: String| TrialError::History { path: path.to_owned(), line: number, problem };
        let epoch: Epoch = serde_json::from_str(line).map_err(|error| refused(error.to_string()))?;
        match epoch.fault(number) {
            Some(fault) => Err(refused(fault)),
            None => Ok(epoch),
        }
    };
    lines.map(read).collect()
}

/// The epochs that count: what a trial that its sweep has stopped trained beyond that, before others had come as far,
/// does not.
///
/// # Errors
/// As [`read`].
pub fn read_counted(folder: &Path) -> Result<Vec<Epoch>, TrialError> {
    let mut epochs = read(folder)?;
    if let Some(stopped) = Stopped::read(folder)? {
        epochs.truncate(stopped.epochs as usize);
    }
    Ok(epochs)
}

/// Keeps the first `epochs` lines: a resumed run repeats what came after its checkpoint, and must
/// not record it twice.
///
/// # Errors
/// As [`read`], and [`FileError::Io`] when the file cannot be cut.
pub fn truncate(folder: &Path, epochs: usize) -> Result<(), FileError> {
    let path = &path(folder);
    let place = Place::new(path)?;
    let Some(text) = kept::text(path)? else { return Ok(()) };
    let kept: usize = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).take(epochs).map(str::len).sum();
    let file = place.write().map_err(place.failed("open"))?;
    file.set_len(kept as u64).and_then(|()| file.sync_data()).map_err(FileError::io("shorten", path))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    fn epoch(number: u32) -> Epoch {
        let means = Means { loss: 1.5, accuracy: 0.25, top_5_accuracy: 0.5 };
        Epoch::new(number, means, Some(means), 1e-3)
    }

    #[test]
    fn an_unfinished_line_is_neither_read_nor_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, path) = (folder.path(), path(folder.path()));
        assert_eq!(read(folder).unwrap(), []);
        for number in 1..=3 {
            append(folder, &epoch(number)).unwrap();
        }
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"epoch\": 4, \"lo").unwrap();
        assert_eq!(read(folder).unwrap(), [epoch(1), epoch(2), epoch(3)]);
        truncate(folder, 2).unwrap();
        append(folder, &epoch(3)).unwrap();
        assert_eq!(read(folder).unwrap(), [epoch(1), epoch(2), epoch(3)]);
    }

    #[test]
    fn a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, path) = (folder.path(), path(folder.path()));
        append(folder, &epoch(1)).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"epoch\": 2}\n").unwrap();
        let error = read(folder).unwrap_err().to_string();
        assert!(error.contains("line 2: missing field `loss`"), "{error}");
        for (wrong, problem) in [
            (Epoch { epoch: 3, ..epoch(2) }, "line 2: it is of epoch 3, expected 2"),
            (Epoch { val_accuracy: Some(1.5), ..epoch(2) }, "line 2: `val_accuracy` is 1.5, expected 0 to 1"),
            (Epoch { val_loss: None, ..epoch(2) }, "line 2: it has some figures of validation, but not all"),
            (Epoch { seconds: -1.0, ..epoch(2) }, "line 2: `seconds` is -1.0, expected 0 to 1e15"),
        ] {
            truncate(folder, 1).unwrap();
            append(folder, &wrong).unwrap();
            let error = read(folder).unwrap_err().to_string();
            assert!(error.ends_with(problem), "{error}");
        }
    }
}
