//! `init`: trainings that start from the weights of others, as a user runs them.

use std::{fs, path::Path, process::Output};

use safetensors::SafeTensors;

use crate::support::{shown, vitx};

const QUICK: [&str; 8] =
    ["--set", "train.epochs=1", "--set", "data.train_limit=200", "--set", "data.test_limit=100", "--param", "depth=1"];

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let all = [&["run", "digits_vit.yaml", "--backend", "cpu"][..], &QUICK, arguments].concat();
    vitx(folder, &all).output().unwrap()
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{}", shown(&output));
    shown(&output)
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(!output.status.success(), "{}", shown(&output));
    let name = folder.canonicalize().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    told.replace(&format!("{}/", name.display()), "").replace(&format!("{}/", folder.display()), "")
}

/// A tensor of a checkpoint, as bytes.
fn tensor(trial: &Path, name: &str) -> Vec<u8> {
    let bytes = fs::read(trial.join("best.safetensors")).unwrap();
    SafeTensors::deserialize(&bytes).unwrap().tensor(name).unwrap().data().to_vec()
}

#[test]
fn a_run_starts_from_another_and_keeps_what_is_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeed(folder, &["-o", "one"]);
    let freeze = ["--set", "init.freeze={ until: norm }"];
    let second = [&["--init", "one", "-o", "two", "--seed", "7"][..], &freeze].concat();
    let told = succeed(folder, &second);
    assert!(told.contains("tensors, by the names of vitx"), "{told}");
    let (one, two) = (folder.join("one"), folder.join("two"));
    for name in ["patch_encoder/projection/kernel", "transformer_block0/mlp/dense0/kernel"] {
        assert_eq!(tensor(&one, name), tensor(&two, name), "{name}");
    }
    assert_ne!(tensor(&one, "classify/kernel"), tensor(&two, "classify/kernel"));
    let config = fs::read_to_string(two.join("config.yaml")).unwrap();
    assert!(config.contains("digest: ") && config.contains("until: norm"), "{config}");
    // What is kept needs the first run no more.
    fs::remove_dir_all(&one).unwrap();
    assert!(vitx(folder, &["eval", "two"]).output().unwrap().status.success());
}

/// What stands in `frozen` of a text stays as another run left it; without one, the run says how it starts.
#[test]
fn layers_that_the_text_freezes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = "model m { patches(2) embed: dense(8) -> batch_norm flatten classify: dense(num_classes) }";
    fs::write(folder.join("plain.vitx"), text).unwrap();
    fs::write(folder.join("frozen.vitx"), text.replace("embed: ", "embed: frozen ").replace("-> ", "-> frozen "))
        .unwrap();
    let experiment =
        "data: { name: digits, train_limit: 200, test_limit: 100 }\ntrain: { epochs: 1, batch_size: 32, seed: 3 }\n";
    for name in ["plain", "frozen"] {
        fs::write(folder.join(format!("{name}.yaml")), format!("model: {name}.vitx\n{experiment}")).unwrap();
    }
    let run = |arguments: &[&str]| {
        let output = vitx(folder, &[&["run", "--backend", "cpu"], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        shown(&output)
    };
    let note = "no `init` names weights for it";
    assert!(!run(&["plain.yaml", "-o", "one"]).contains(note));
    let told = run(&["frozen.yaml", "-o", "new"]);
    assert!(told.contains(note) && told.contains("(72 of them frozen)"), "{told}");
    let told = run(&["frozen.yaml", "-o", "two", "--init", "one"]);
    assert!(!told.contains(note) && told.contains("(72 of them frozen)"), "{told}");
    let [one, new, two] = ["one", "new", "two"].map(|name| folder.join(name));
    for name in ["embed/dense/kernel", "embed/dense/bias", "embed/batch_norm/gamma", "embed/batch_norm/moving_mean"] {
        assert_eq!(tensor(&one, name), tensor(&two, name), "{name}");
    }
    assert_ne!(tensor(&one, "embed/dense/kernel"), tensor(&new, "embed/dense/kernel"));
    assert_ne!(tensor(&one, "classify/kernel"), tensor(&two, "classify/kernel"));
    assert!(fs::read_to_string(two.join("model.txt")).unwrap().contains("// embed/dense, frozen"));
}

#[test]
fn a_copy_of_the_weights_is_the_same_run_and_others_are_another() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeed(folder, &["-o", "one"]);
    succeed(folder, &["-o", "other", "--seed", "5"]);
    fs::copy(folder.join("one/best.safetensors"), folder.join("copy.safetensors")).unwrap();
    let runs = || fs::read_dir(folder.join("runs")).map_or(0, Iterator::count);
    succeed(folder, &["--init", "one"]);
    assert_eq!(runs(), 1);
    // Finished before: not trained again.
    let again = succeed(folder, &["--init", "copy.safetensors"]);
    assert!(runs() == 1 && !again.contains("epoch 1/1"), "{again}");
    succeed(folder, &["--init", "other"]);
    assert_eq!(runs(), 2);
}

/// A run that was interrupted goes on without the file, to the same bits.
#[test]
fn the_file_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeed(folder, &["-o", "one"]);
    let more = ["--set", "train.epochs=3", "--init", "one"];
    succeed(folder, &[&more[..], &["-o", "whole"]].concat());
    let stopped = [&more[..], &["-o", "stopped", "--set", "train.stop.max_time=0.001s"]].concat();
    succeed(folder, &stopped);
    // As if it had been killed after its first epoch: its checkpoint is that of the whole run's first epoch.
    let (stopped, whole) = (folder.join("stopped"), folder.join("whole"));
    fs::remove_file(stopped.join("result.json")).unwrap();
    fs::copy(whole.join("config.yaml"), stopped.join("config.yaml")).unwrap();
    fs::rename(folder.join("one"), folder.join("gone")).unwrap();
    let output = vitx(folder, &["trial", "stopped"]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(tensor(&stopped, "classify/kernel"), tensor(&whole, "classify/kernel"));
}

#[test]
fn what_cannot_be_is_told_before_any_step() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeed(folder, &["-o", "one"]);
    fs::write(folder.join("text.safetensors"), "no weights").unwrap();
    let told = [
        refused(folder, &["--init", "gone.safetensors", "-o", "a"]),
        refused(folder, &["--init", "text.safetensors", "-o", "b"]),
        refused(folder, &["--init", "one", "-o", "c", "-p", "projection_dim=24"]),
        refused(folder, &["--init", "one", "-o", "d", "--set", "init.freeze=[nothing]"]),
        refused(folder, &["--init", "one", "-o", "e", "--set", "init.freeze={ until: nowhere }"]),
        refused(folder, &["--init", "one", "-o", "f", "--set", "init.freeze=[\"*\"]"]),
        refused(folder, &["--init", "one", "-o", "g", "--set", "init.digest=00"]),
    ];
    insta::with_settings!({ filters => vec![("[0-9a-f]{64}", "DIGEST")] }, {
        insta::assert_snapshot!(told.join("\n"));
    });
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        assert!(!folder.join(name).exists(), "{name}");
    }
}

/// A sweep tells of weights that do not fit a variant before it trains any.
#[test]
fn a_sweep_finds_weights_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeed(folder, &["-o", "one"]);
    let sweep = |sizes: &str, output: &str| {
        let start = ["sweep", "digits_vit.yaml", "--backend", "cpu", "-o", output, "--set", "init={ weights: one }"];
        vitx(folder, &[&start[..], &QUICK[..6], &["-p", "depth=1", "-p", sizes, "--dry-run"]].concat())
            .output()
            .unwrap()
    };
    let fits = sweep("projection_dim=32", "fits");
    assert!(fits.status.success(), "{}", shown(&fits));
    let output = sweep("projection_dim=32,24", "out");
    let told = shown(&output);
    assert!(!output.status.success() && told.contains("are not those of this network"), "{told}");
}

/// A file of timm's becomes an experiment that trains from it.
#[test]
fn an_experiment_is_made_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/timm_vit.safetensors");
    let bytes = fs::read(&fixture).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    // Without what the fixture is checked by.
    let tensors = file.iter().filter(|(name, _)| !["images", "logits"].contains(name));
    fs::write(folder.join("small.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    let import = |arguments: &[&str]| vitx(folder, &[&["import"], arguments].concat()).output().unwrap();
    // Its heads are told nowhere.
    let told = import(&["small.safetensors"]);
    assert!(!told.status.success() && shown(&told).contains("config.json"), "{}", shown(&told));
    fs::write(folder.join("config.json"), "<html>").unwrap();
    let told = import(&["small.safetensors"]);
    let text = shown(&told);
    assert!(
        !told.status.success() && text.contains("config.json` cannot be read") && !folder.join("small").exists(),
        "{text}"
    );
    let config = r#"{ "architecture": "vit", "model_args": { "num_heads": 3 }, "pretrained_cfg": { "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5] } }"#;
    fs::write(folder.join("config.json"), config).unwrap();
    let told = import(&["small.safetensors", "--data", "pictures"]);
    assert!(!told.status.success(), "{}", shown(&told));
    let told = import(&["small.safetensors", "--data", "digits"]);
    assert!(told.status.success(), "{}", shown(&told));
    insta::assert_snapshot!(fs::read_to_string(folder.join("small/finetune.yaml")).unwrap());
    // It does not write over what is there.
    assert!(!import(&["small.safetensors", "--data", "digits"]).status.success());
    // Digits are grey, and its patches are of three channels.
    let told = vitx(folder, &["run", "small/finetune.yaml"]).output().unwrap();
    assert!(!told.status.success() && shown(&told).contains("normalization"), "{}", shown(&told));
}
