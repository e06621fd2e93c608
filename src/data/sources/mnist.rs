//! `mnist`: 70,000 handwritten digits 28x28 (LeCun, Cortes, Burges, 1998).

use super::super::{DataError, DataOptions, Dataset, Spec};
use super::Source;
use super::idx::Layout;

static LAYOUT: Layout = Layout {
    name: "mnist",
    folders: &["MNIST/raw", "mnist", "mnist/raw", "MNIST", ""],
    class_names: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
};

pub struct Mnist;

impl Source for Mnist {
    fn name(&self) -> &'static str {
        LAYOUT.name
    }

    fn about(&self) -> &'static str {
        "70,000 handwritten digits 28x28, 10 classes"
    }

    fn describe(&self, options: &DataOptions) -> Result<Spec, DataError> {
        LAYOUT.describe(options)
    }

    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        LAYOUT.load(options)
    }
}
