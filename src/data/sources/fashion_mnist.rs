//! `fashion_mnist`: 70,000 grey images of clothes 28x28 (Xiao, Rasul, Vollgraf, arXiv 1708.07747).

use super::super::{DataError, DataOptions, Dataset, Spec};
use super::Source;
use super::idx::Layout;

static LAYOUT: Layout = Layout {
    name: "fashion_mnist",
    folders: &["FashionMNIST/raw", "fashion_mnist", "fashion-mnist", "FashionMNIST", ""],
    class_names: [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
};

pub struct FashionMnist;

impl Source for FashionMnist {
    fn name(&self) -> &'static str {
        LAYOUT.name
    }

    fn about(&self) -> &'static str {
        "70,000 grey images of clothes 28x28, 10 classes"
    }

    fn describe(&self, options: &DataOptions) -> Result<Spec, DataError> {
        LAYOUT.describe(options)
    }

    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        LAYOUT.load(options)
    }
}
