//! `cifar10`: 60,000 colour images 32x32 of 10 classes.

use super::super::fetch::Remote;
use super::cifar::Cifar;

pub static CIFAR10: Cifar = Cifar {
    name: "cifar10",
    about: "60,000 colour images 32x32, 10 classes",
    folders: &["cifar-10-batches-bin", "cifar-10-batches-py", "cifar10", "cifar-10", ""],
    remote: &[Remote {
        url: "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        md5: "c58f30108f718f92721af3b95e74349a",
        size: 170_498_071,
        folder: "cifar-10-batches-py",
    }],
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
