//! The identity of a definition names its directory: results would be lost, or trained twice, if it changed.

use std::path::Path;

use vitx::{
    dsl::Value,
    experiment::{Definition, Overrides},
};

fn identity(experiment: &str, set: &[&str], params: &[(&str, Value)]) -> String {
    let changes = Overrides {
        params: params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        set: set.iter().map(ToString::to_string).collect(),
        ..Overrides::default()
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(experiment);
    Definition::read(&path, &changes).unwrap().with(&[]).unwrap().identity()
}

/// A new key with its default must leave these as they are: what is written here was written when the version of the
/// random numbers became 2, which is part of them.
#[test]
fn identities_are_those_of_version_2() {
    let set = [
        "train.epochs=3",
        "train.optimizer.learning_rate=3e-4",
        "train.schedule.kind=cosine",
        "augmentation.flip=false",
    ];
    let found = [
        identity("digits_vit.yaml", &[], &[]),
        identity("cifar100_vit.yaml", &[], &[]),
        identity("cifar10_vit.yaml", &set, &[("depth", Value::Int(2))]),
    ];
    assert_eq!(found, ["76d813208cd4", "0d930bf0b89f", "8346d1d067ec"]);
}

/// Of optimizers that have got more options since.
#[test]
fn identities_are_those_before_later_options() {
    assert_eq!(identity("recipes/cifar100_speed.yaml", &[], &[]), "df9ecca5628f");
}
