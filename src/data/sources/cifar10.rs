//! `cifar10`: 60,000 colour images 32x32 of 10 classes.

use super::super::{DataError, DataOptions, Dataset, Spec, fetch::Remote, locate};
use super::Source;
use super::cifar::{CifarLayout, Found};
use crate::model::ImageSpec;

const FOLDERS: &[&str] = &["cifar-10-batches-bin", "cifar-10-batches-py", "cifar10", "cifar-10", ""];

const LAYOUT: CifarLayout = CifarLayout {
    name: "cifar10",
    classes: 10,
    label_bytes: 1,
    label_at: 0,
    binary_train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    binary_test: &["test_batch.bin"],
    binary_names: "batches.meta.txt",
    pickle_train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
    pickle_test: &["test_batch"],
    pickle_meta: "batches.meta",
    label_key: "labels",
    names_key: "label_names",
};

const REMOTE: &[Remote] = &[Remote {
    url: "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5: "c58f30108f718f92721af3b95e74349a",
    size: 170_498_071,
    folder: "cifar-10-batches-py",
}];

pub struct Cifar10;

impl Cifar10 {
    fn place(&self, options: &DataOptions) -> Result<Found, DataError> {
        locate::find(LAYOUT.name, options, FOLDERS, |folder| LAYOUT.probe(folder))
    }
}

impl Source for Cifar10 {
    fn name(&self) -> &'static str {
        LAYOUT.name
    }

    fn about(&self) -> &'static str {
        "60,000 colour images 32x32, 10 classes"
    }

    fn published(&self) -> Option<ImageSpec> {
        Some(ImageSpec { height: 32, width: 32, channels: 3, num_classes: 10 })
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
