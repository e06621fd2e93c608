//! Pictures of a user's in other forms than folders of classes, and what is not in memory.

use std::fs;

use crate::own_data::Lab;

fn bytes(lab: &Lab, file: &str) -> Vec<u8> {
    fs::read(lab.path(file)).unwrap()
}

/// Whether images lie in memory changes no bit, and no run's directory.
#[test]
fn training_is_the_same_from_memory_and_from_files() {
    let lab = Lab::new();
    let augmented = ["--set", "augmentation=[random_flip, random_crop: 1, mixup]"];
    let run = |output: &str, key: &str| {
        lab.fine(&[&["run", "lab/e.yaml", "-o", output, "--set", key][..], &augmented].concat());
    };
    run("a", "data.in_memory=true");
    run("b", "data.in_memory=false");
    assert!(bytes(&lab, "a/best.safetensors") == bytes(&lab, "b/best.safetensors"));
    assert_eq!(bytes(&lab, "a/input.json"), bytes(&lab, "b/input.json"));
    // It goes on from either, by either.
    lab.fine(
        &[
            &["run", "lab/e.yaml", "-o", "c", "--set", "data.in_memory=false", "--set", "train.epochs=1"][..],
            &augmented,
        ]
        .concat(),
    );
    let first = lab.fine(&["run", "lab/e.yaml", "--set", "data.in_memory=false"]);
    assert!(first.contains("epoch 2/2"), "{first}");
    let again = lab.fine(&["run", "lab/e.yaml"]);
    assert!(!again.contains("epoch 2/2"), "{again}");
    let text = |set: &str| lab.fine(&["eval", set, "--report"]);
    assert_eq!(text("a"), text("b"));
}

#[test]
fn a_table_trains_as_folders_do() {
    let lab = Lab::new();
    let mut table = "path,label,split\n".to_owned();
    for split in ["test", "train"] {
        for class in ["red", "green", "blue"] {
            for index in 0..if split == "train" { 4 } else { 2 } {
                table += &format!("{split}/{class}/{index}.png,{class},{split}\n");
            }
        }
    }
    fs::write(lab.path("lab/d/labels.csv"), table).unwrap();
    let experiment = fs::read_to_string(lab.path("lab/e.yaml")).unwrap();
    fs::write(lab.path("lab/t.yaml"), experiment.replace("path: d", "csv: d/labels.csv")).unwrap();
    lab.fine(&["run", "lab/e.yaml", "-o", "folders"]);
    lab.fine(&["run", "lab/t.yaml", "-o", "table"]);
    assert!(bytes(&lab, "folders/best.safetensors") == bytes(&lab, "table/best.safetensors"));
    assert_eq!(lab.fine(&["eval", "folders"]), lab.fine(&["eval", "table"]));
    // Wherever they lie, and not if a label is another.
    let before = lab.fine(&["run", "lab/t.yaml"]);
    assert!(before.contains("epoch 2/2"), "{before}");
    fs::rename(lab.path("lab/d"), lab.path("lab/moved")).unwrap();
    let moved = ["run", "lab/t.yaml", "--set", "data.csv=lab/moved/labels.csv"];
    assert!(!lab.fine(&moved).contains("epoch 2/2"));
    let table = fs::read_to_string(lab.path("lab/moved/labels.csv")).unwrap();
    fs::write(lab.path("lab/moved/labels.csv"), table.replace("train/red/0.png,red", "train/red/0.png,blue")).unwrap();
    assert!(lab.fine(&moved).contains("epoch 2/2"));
    assert!(
        lab.refused(&["run", "lab/e.yaml", "--set", "data.name=digits", "--set", "data.fit=pad"])
            .contains("`data.fit` is for `image_folder`")
    );
}
