//! `mnist`: 70,000 handwritten digits 28x28 (LeCun, Cortes, Burges, 1998).

use super::super::fetch::Remote;
use super::idx::Idx;

pub static MNIST: Idx = Idx {
    name: "mnist",
    about: "70,000 handwritten digits 28x28, 10 classes",
    folders: &["MNIST/raw", "mnist", "mnist/raw", "MNIST", ""],
    class_names: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    remote: &[
        Remote {
            url: "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
            md5: "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            size: 9_912_422,
            folder: "MNIST/raw",
        },
        Remote {
            url: "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
            md5: "d53e105ee54ea40749a09fcbcd1e9432",
            size: 28_881,
            folder: "MNIST/raw",
        },
        Remote {
            url: "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
            md5: "9fb629c4189551a2d022fa330f9573f3",
            size: 1_648_877,
            folder: "MNIST/raw",
        },
        Remote {
            url: "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
            md5: "ec29112dd5afa0611ce80d1b7f02629c",
            size: 4_542,
            folder: "MNIST/raw",
        },
    ],
};
