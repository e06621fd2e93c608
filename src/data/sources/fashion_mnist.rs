//! `fashion_mnist`: 70,000 grey images of clothes 28x28 (Xiao, Rasul, Vollgraf, arXiv 1708.07747).

use super::super::fetch::Remote;
use super::idx::Idx;

pub static FASHION_MNIST: Idx = Idx {
    name: "fashion_mnist",
    about: "70,000 grey images of clothes 28x28, 10 classes",
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
    remote: &[
        Remote {
            url: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
            md5: "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            size: 26_421_880,
            folder: "FashionMNIST/raw",
        },
        Remote {
            url: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
            md5: "25c81989df183df01b3e8a0aad5dffbe",
            size: 29_515,
            folder: "FashionMNIST/raw",
        },
        Remote {
            url: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
            md5: "bef4ecab320f06d8554ea6380940ec79",
            size: 4_422_102,
            folder: "FashionMNIST/raw",
        },
        Remote {
            url: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
            md5: "bb300cfdad3c16e7a12a480ee83cd310",
            size: 5_148,
            folder: "FashionMNIST/raw",
        },
    ],
};
