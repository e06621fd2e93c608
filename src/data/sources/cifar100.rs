//! `cifar100`: 60,000 colour images 32x32 of 100 (fine) classes.

use super::super::{DataError, DataOptions, Dataset, Spec, fetch::Remote, locate};
use super::Source;
use super::cifar::{CifarLayout, Found};
use crate::model::ImageSpec;

const FOLDERS: &[&str] = &["cifar-100-binary", "cifar-100-python", "cifar100", "cifar-100", ""];

const LAYOUT: CifarLayout = CifarLayout {
    name: "cifar100",
    classes: 100,
    // The coarse label, then the fine one.
    label_bytes: 2,
    label_at: 1,
    binary_train: &["train.bin"],
    binary_test: &["test.bin"],
    binary_names: "fine_label_names.txt",
    pickle_train: &["train"],
    pickle_test: &["test"],
    pickle_meta: "meta",
    label_key: "fine_labels",
    names_key: "fine_label_names",
};

const REMOTE: &[Remote] = &[Remote {
    url: "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    md5: "eb9058c3a382ffc7106e4002c42a8d85",
    size: 169_001_437,
    folder: "cifar-100-python",
}];

pub struct Cifar100;

impl Cifar100 {
    fn place(&self, options: &DataOptions) -> Result<Found, DataError> {
        locate::find(LAYOUT.name, options, FOLDERS, |folder| LAYOUT.probe(folder))
    }
}

impl Source for Cifar100 {
    fn name(&self) -> &'static str {
        LAYOUT.name
    }

    fn about(&self) -> &'static str {
        "60,000 colour images 32x32, 100 classes"
    }

    fn published(&self) -> Option<ImageSpec> {
        Some(ImageSpec { height: 32, width: 32, channels: 3, num_classes: 100 })
    }

    fn remote(&self) -> &'static [Remote] {
        REMOTE
    }

    fn describe(&self, options: &DataOptions) -> Result<Spec, DataError> {
        LAYOUT.describe(&self.place(options)?)
    }

    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        LAYOUT.load(&self.place(options)?)
    }
}
