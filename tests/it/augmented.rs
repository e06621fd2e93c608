//! `data show --augmented`: what training sees.

use std::fs;

use crate::support::{shown, succeed, vitx};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "model: t.vitx\nparams: { image_size: 12 }\ndata: { name: digits }\naugmentation: [random_crop: 1]\n";
    let model = "model t(image_size = 12) { flatten dense(num_classes) }\n";
    fs::write(folder.path().join("t.vitx"), model).unwrap();
    fs::write(folder.path().join("e.yaml"), yaml).unwrap();
    folder
}

#[test]
fn sheets_of_a_data_set_and_of_an_experiment() {
    let folder = folder();
    let lists = "augmentation=[random_flip, rand_augment, random_erasing, mixup, cutmix]";
    let set = ["data", "show", "digits", "--augmented", "3", "--index", "5", "--set", lists, "-o", "a.png"];
    let said = succeed(vitx(folder.path(), &set));
    assert!(said.starts_with("Images 5 to 12 of digits: as they are, and in epochs 1 to 3\nMixed"), "{said}");
    let picture = image::open(folder.path().join("a.png")).unwrap();
    // Eight by eight pixels are drawn 12 times as large.
    assert_eq!((picture.width(), picture.height()), (4 * 102 + 6, 8 * 102 + 6));
    // The same again, and others of another seed.
    let again = |set: &str| {
        let show = ["data", "show", "digits", "--augmented", "3", "--index", "5", "--set", lists, "--set", set, "-o"];
        succeed(vitx(folder.path(), &[&show[..], &["again.png"]].concat()));
        let [first, second] = ["a.png", "again.png"].map(|name| fs::read(folder.path().join(name)).unwrap());
        first == second
    };
    assert!(again("train.epochs=3") && !again("train.seed=43"));
    let said = succeed(vitx(folder.path(), &["data", "show", "e.yaml", "--augmented", "2", "-o", "b.png"]));
    assert!(said.starts_with("Images 0 to 7 of digits: as they are, and in epochs 1"), "{said}");
    let picture = image::open(folder.path().join("b.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (3 * 102 + 6, 8 * 102 + 6));
}

#[test]
fn what_cannot_be_drawn_is_explained() {
    let folder = folder();
    let mut all = Vec::new();
    for arguments in [
        &["digits", "--augmented", "3"][..],
        &["digits", "--augmented", "3", "--index", "5000", "--set", "augmentation=[random_flip]"],
        &["digits", "--augmented", "3", "--set", "augmentation=[grayscale]"],
        &["digits", "--augmented", "3", "--set", "augmentation=[rand_augmnt]"],
        &["digits", "--augmented", "3", "--patches", "4"],
        &["digits", "--set", "augmentation=[random_flip]"],
        &["missing.yaml", "--augmented", "3"],
        &["digts", "--augmented", "3"],
    ] {
        let output = vitx(folder.path(), &[&["data", "show"], arguments, &["-o", "x.png"]].concat()).output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        all.push(format!("{}\n{}", arguments.join(" "), shown(&output)));
    }
    assert!(!folder.path().join("x.png").exists());
    insta::assert_snapshot!(all.join("\n"));
}
