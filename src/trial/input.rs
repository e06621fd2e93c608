//! `input.json`: what a picture needs, besides the weights, to be classified, and which data the run
//! began with.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    TrialError,
    names::{CONFIG, INPUT},
};
use crate::{
    data::{Fingerprint, Statistics, Subset},
    files::{
        FileError,
        kept::{self, Kept},
    },
    model::ImageSpec,
};

/// Most pixels of an image: 100 megapixels.
const MOST_PIXELS: usize = 100 << 20;

/// Most classes; no data set has as many.
const MOST_CLASSES: usize = 1 << 20;

/// Written before the first step and never again, so that a trial can be used where its data set is not,
/// and is never used on another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Of the data set's images, in pixels.
    pub height: usize,
    /// Of the data set's images, in pixels.
    pub width: usize,
    /// Of the data set's images.
    pub channels: usize,
    /// Of the training images.
    pub statistics: Statistics,
    /// By label.
    pub class_names: Vec<String>,
    /// Absent in runs of former versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
}

impl Kept for Input {
    fn fault(&self) -> Option<String> {
        let Self { height, width, channels, statistics, class_names, .. } = self;
        let pixels = height.checked_mul(*width).filter(|pixels| (1..=MOST_PIXELS).contains(pixels));
        if pixels.is_none() {
            return Some(format!("images of {height} x {width} pixels, expected 1 to {MOST_PIXELS}"));
        }
        if ![1, 3].contains(channels) {
            return Some(format!("`channels` is {channels}, expected 1 or 3"));
        }
        if !(1..=MOST_CLASSES).contains(&class_names.len()) {
            return Some(format!("it has {} classes, expected 1 to {MOST_CLASSES}", class_names.len()));
        }
        statistics.fault(*channels)
    }
}

impl Input {
    /// What a model is checked on.
    pub fn spec(&self) -> ImageSpec {
        let Self { height, width, channels, .. } = *self;
        ImageSpec { height, width, channels, num_classes: self.class_names.len() }
    }

    /// Reads a trial's; `None` for one that has not begun.
    ///
    /// # Errors
    /// A file that is broken.
    pub fn find(folder: &Path) -> Result<Option<Self>, FileError> {
        kept::read(&folder.join(INPUT))
    }

    /// Reads that of a trial that has begun, and holds it to the data of the trial's definition: `set` by its exact
    /// name, which is called `name`, of a digest, if it names one.
    ///
    /// # Errors
    /// A file that is missing, broken, or of another trial.
    pub fn of_trial(folder: &Path, set: &str, name: &str, digest: Option<&str>) -> Result<Self, TrialError> {
        let path = folder.join(INPUT);
        let Some(input) = Self::find(folder)? else {
            return Err(TrialError::Missing { path });
        };
        let broken = |problem: String| Err(FileError::Broken { path: path.clone(), problem }.into());
        match &input.fingerprint {
            Some(fingerprint) if fingerprint.set != set => {
                broken(format!("it is of data set `{}`, {CONFIG} of `{name}`", fingerprint.set))
            }
            Some(fingerprint) if digest.is_some_and(|digest| digest != fingerprint.digest) => {
                broken(format!("it is of other data than {CONFIG}"))
            }
            _ => Ok(input),
        }
    }

    /// Writes it, once.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        kept::write(&folder.join(INPUT), self)
    }

    /// How what a run began with differs from what there is now, in some parts; `None` where it does not, as far as
    /// the run tells.
    pub fn changes(&self, now: &Self, subsets: &[Subset]) -> Option<String> {
        if let (Some(then), Some(fingerprint)) = (&self.fingerprint, &now.fingerprint) {
            let other = || self.statistics != now.statistics && subsets.contains(&Subset::Train);
            return then.changes(fingerprint, subsets).or_else(|| {
                let said = "the files are the same, but their pixels have another mean and variance: another version of \
                            vitx has read them, or input.json was changed";
                other().then(|| said.to_owned())
            });
        }
        if self.class_names != now.class_names {
            return Some(class_changes(&self.class_names, &now.class_names));
        }
        if self.spec() != now.spec() {
            let size = |input: &Self| format!("{} x {} x {}", input.height, input.width, input.channels);
            return Some(format!("images were {}, are {}", size(self), size(now)));
        }
        // Exact, whatever the order of the sums.
        (self.statistics != now.statistics && subsets.contains(&Subset::Train))
            .then(|| "the training images have another mean and variance".into())
    }
}

/// How a list of classes has changed.
pub fn class_changes(then: &[String], now: &[String]) -> String {
    format!("the classes were {}, are {}", then.join(", "), now.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> Input {
        let statistics = Statistics { mean: vec![100.0; 3], variance: vec![50.0; 3] };
        let class_names = ["a", "b"].map(str::to_owned).to_vec();
        Input { height: 8, width: 8, channels: 3, statistics, class_names, fingerprint: None }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(input().fault(), None);
        let statistics =
            |mean: &[f64], variance: &[f64]| Statistics { mean: mean.to_vec(), variance: variance.to_vec() };
        let wrong = [
            Input { height: 0, ..input() },
            Input { width: usize::MAX, ..input() },
            Input { channels: 2, ..input() },
            Input { class_names: Vec::new(), ..input() },
            Input { statistics: statistics(&[1.0], &[1.0]), ..input() },
            Input { statistics: statistics(&[1.0, 2.0, 300.0], &[1.0; 3]), ..input() },
            Input { statistics: statistics(&[1.0; 3], &[1.0, -1.0, 1.0]), ..input() },
            Input { statistics: statistics(&[1.0; 3], &[1.0, f64::NAN, 1.0]), ..input() },
        ];
        let faults = wrong.map(|input| input.fault().unwrap());
        insta::assert_snapshot!(faults.join("\n"));
    }

    #[test]
    fn a_run_of_a_former_version_is_held_to_its_classes_and_statistics() {
        let then = input();
        assert_eq!(then.changes(&input(), &Subset::ALL), None);
        let now = Input { class_names: vec!["b".into(), "a".into()], ..input() };
        assert_eq!(then.changes(&now, &Subset::ALL).unwrap(), "the classes were a, b, are b, a");
        let mut now = input();
        now.statistics.mean[1] += 1e-9;
        assert!(then.changes(&now, &Subset::ALL).unwrap().contains("mean"));
        assert_eq!(then.changes(&now, &[Subset::Test]), None);
    }
}
