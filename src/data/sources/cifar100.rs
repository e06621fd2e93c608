//! `cifar100`: 60,000 colour images 32x32 of 100 (fine) classes.

use super::super::fetch::Remote;
use super::cifar::Cifar;

pub static CIFAR100: Cifar = Cifar {
    name: "cifar100",
    about: "60,000 colour images 32x32, 100 classes",
    folders: &["cifar-100-binary", "cifar-100-python", "cifar100", "cifar-100", ""],
    remote: &[Remote {
        url: "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        md5: "eb9058c3a382ffc7106e4002c42a8d85",
        size: 169_001_437,
        folder: "cifar-100-python",
    }],
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
