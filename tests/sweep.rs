//! `vitx sweep`, as a user runs it, and as a user kills it.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

const QUICK: [&str; 6] = ["--set", "train.epochs=3", "--set", "data.train_limit=300", "--set", "data.test_limit=100"];

fn sweep(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitx"));
    command.current_dir(folder).env("NO_COLOR", "1");
    command.args(["sweep", "digits_vit.yaml", "--output", "out"]).args(QUICK).args(arguments);
    command
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The report without what depends on the clock, the machine and the folder.
fn learnt(folder: &Path) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_vitx"))
        .current_dir(folder)
        .args(["report", "out", "--format", "json"])
        .output()
        .unwrap();
    let mut trials: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for trial in trials.as_array_mut().unwrap() {
        trial.as_object_mut().unwrap().remove("prediction");
        if let Some(result) = trial["result"].as_object_mut() {
            for key in ["seconds", "images_per_second", "peak_memory_bytes"] {
                result.remove(key);
            }
        }
    }
    trials
}

#[test]
fn trains_all_variants_once() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-p", "depth=1,2", "-p", "patch_size=2,4", "--jobs", "2", "--sort", "accuracy"];
    let output = sweep(folder.path(), &arguments).output().unwrap();
    let text = shown(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("finished depth=").count(), 4, "{text}");
    let trials = learnt(folder.path());
    assert_eq!(trials.as_array().unwrap().len(), 4);
    assert!(trials.as_array().unwrap().iter().all(|trial| trial["result"]["epochs"] == 3), "{trials:#}");
    let again = sweep(folder.path(), &arguments).output().unwrap();
    assert!(again.status.success() && !shown(&again).contains("started"), "{}", shown(&again));
}

#[test]
fn impossible_variants_are_refused_or_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-p", "patch_size=2,3,4", "-p", "depth=1"];
    let refused = sweep(folder.path(), &arguments).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(shown(&refused).contains("height 8 is not divisible by the patch size 3"), "{}", shown(&refused));
    assert!(!folder.path().join("out").exists());
    let dry = sweep(folder.path(), &arguments).args(["--skip-invalid", "--dry-run"]).output().unwrap();
    assert!(dry.status.success() && shown(&dry).contains("2 variants"), "{}", shown(&dry));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_failing_trial_is_shown_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-p", "depth=1", "-p", "train.optimizer.learning_rate=1e30,1e-3", "--retries", "1"];
    let output = sweep(folder.path(), &arguments).output().unwrap();
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("failed   depth=1 train.optimizer.learning_rate=1e30: the loss is"), "{text}");
    assert!(text.contains("finished depth=1 train.optimizer.learning_rate=0.001"), "{text}");
}

#[test]
fn a_folder_of_another_experiment_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(sweep(folder.path(), &["-p", "depth=1"]).output().unwrap().status.success());
    let other = sweep(folder.path(), &["-p", "depth=1", "--set", "train.batch_size=8"]).output().unwrap();
    assert_eq!(other.status.code(), Some(1));
    assert!(shown(&other).contains("batch_size"), "{}", shown(&other));
}

#[test]
fn halving_gives_the_epochs_to_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let rates = "train.optimizer.learning_rate=1e-6,1e-5,1e-4,3e-3";
    let arguments = ["-p", rates, "--stop", "halving", "--factor", "2", "--jobs", "2", "--set", "train.epochs=4"];
    let output = sweep(folder.path(), &arguments).output().unwrap();
    let text = shown(&output);
    assert!(output.status.success(), "{text}");
    let trials = learnt(folder.path());
    let epochs: Vec<u64> = trials.as_array().unwrap().iter().map(|trial| trial["epochs"].as_u64().unwrap()).collect();
    let mut sorted = epochs.clone();
    sorted.sort_unstable();
    // Rungs at epochs 1 and 2: two of four stop at the first, one of two at the second.
    assert_eq!(sorted, [1, 1, 2, 4], "{text}");
    assert_eq!(epochs[3], 4, "the largest rate learns fastest: {text}");
    assert!(trials[0]["stopped"].as_str().unwrap().starts_with("stopped after epoch 1"), "{trials:#}");
    let again = sweep(folder.path(), &arguments).output().unwrap();
    assert!(again.status.success() && !shown(&again).contains("started"), "{}", shown(&again));
    assert_eq!(learnt(folder.path()), trials);
}

/// Kills the sweep at several moments; its trials outlive it, and the next attempt must wait for
/// them. `VITX_KILLS` makes it more.
#[test]
fn kill_9_loses_nothing() {
    survives_kills(&["-p", "depth=1,2", "-p", "patch_size=2,4", "--jobs", "2"]);
}

#[test]
fn kill_9_loses_nothing_of_a_search() {
    survives_kills(&[
        "-p",
        "depth=int(1, 3)",
        "-p",
        "train.optimizer.learning_rate=loguniform(1e-4, 1e-2)",
        "--strategy",
        "tpe",
        "--trials",
        "6",
        "--stop",
        "median",
        "--jobs",
        "2",
    ]);
}

fn survives_kills(arguments: &[&str]) {
    let calm = tempfile::tempdir().unwrap();
    assert!(sweep(calm.path(), arguments).output().unwrap().status.success());
    let stormy = tempfile::tempdir().unwrap();
    let kills: u64 = std::env::var("VITX_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    for kill in 0..kills {
        let mut command = sweep(stormy.path(), arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(100 + kill * 137 % 600));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = sweep(stormy.path(), arguments).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(learnt(calm.path()), learnt(stormy.path()));
}
