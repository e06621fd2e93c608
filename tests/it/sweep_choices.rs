//! By what a sweep compares its trials, whose weights it keeps, and what is said of it.

use std::{fs, path::Path};

use crate::support::{learnt, shown, succeed, sweep, table, vitx};

const TINY: [&str; 6] = ["--set", "data.train_limit=100", "--set", "train.epochs=2", "--jobs", "2"];
const RATES: [&str; 2] = ["-p", "train.optimizer.learning_rate=1e-5,3e-3,1e-4,1e-3"];

/// Whether each trial has its weights, in the order of `trials.json`.
fn weights(folder: &Path) -> Vec<bool> {
    let trials = fs::read_to_string(folder.join("out/trials.json")).unwrap();
    let trials: serde_json::Value = serde_json::from_str(&trials).unwrap();
    let trials = trials["trials"].as_array().unwrap();
    let has = |name: &str| {
        let folder = folder.join("out/trials").join(name);
        let [best, last] = ["best.safetensors", "last.safetensors"].map(|file| folder.join(file).exists());
        assert_eq!(best, last, "{name}");
        assert!(folder.join("metrics.jsonl").exists() && folder.join("model.json").exists());
        best
    };
    trials.iter().map(|name| has(name.as_str().unwrap())).collect()
}

/// The least validation losses, in the order of the report.
fn losses(folder: &Path) -> Vec<f64> {
    let trials = learnt(folder);
    let of = |trial: &serde_json::Value| trial["result"]["best_val_loss"].as_f64().unwrap();
    trials.as_array().unwrap().iter().map(of).collect()
}

#[test]
fn only_the_best_weights_are_kept() {
    let [folder, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let arguments = [&TINY[..], &RATES, &["--metric", "val_loss"]].concat();
    let text = succeed(sweep(folder.path(), &[&arguments[..], &["--keep-best", "2"]].concat()));
    assert!(text.contains("Weights of 2 of 4 trials were not kept (--keep-best)"), "{text}");
    // Two rates learn next to nothing.
    assert_eq!(weights(folder.path()), [false, true, false, true]);
    let report = succeed(vitx(folder.path(), &["report", "out"]));
    assert!(report.contains("Weights of 2 of 4 trials were not kept"), "{report}");
    // What wants them says where they are, and how to have them again.
    let trials = fs::read_to_string(folder.path().join("out/trials.json")).unwrap();
    let trials: serde_json::Value = serde_json::from_str(&trials).unwrap();
    let gone = format!("out/trials/{}", trials["trials"][0].as_str().unwrap());
    for command in [&["eval", &gone][..], &["predict", &gone, "a.png"], &["export", &gone]] {
        let refused = vitx(folder.path(), command).output().unwrap();
        let text = shown(&refused).replace(&gone, "out/trials/TRIAL");
        assert_eq!(refused.status.code(), Some(1), "{text}");
        // Before it stands on which backend it would run.
        let (_, refusal) = text.split_once("vitx::experiment").unwrap();
        insta::allow_duplicates! { insta::assert_snapshot!(format!("vitx::experiment{refusal}")) };
    }
    let mut again = vitx(folder.path(), &["run", &format!("{gone}/config.yaml"), "--output", "again"]);
    again.args(["--backend", "cpu", "--threads", "1"]);
    succeed(again);
    let result = |trial: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(folder.path().join(trial).join("result.json")).unwrap()).unwrap()
    };
    assert_eq!(result("again")["best_val_loss"], result(&gone)["best_val_loss"]);
    succeed(vitx(folder.path(), &["eval", "again", "--threads", "1"]));
    // All else is as it is with all weights, and nothing is trained again.
    succeed(sweep(other.path(), &arguments));
    assert_eq!(weights(other.path()), [true; 4]);
    assert_eq!(table(folder.path()), table(other.path()));
    assert_eq!(learnt(folder.path()), learnt(other.path()));
    let again = succeed(sweep(folder.path(), &arguments));
    assert!(!again.contains("started"), "{again}");
    // Later on, fewer may be kept.
    succeed(sweep(other.path(), &[&arguments[..], &["--keep-best", "1"]].concat()));
    assert_eq!(weights(other.path()).iter().filter(|has| **has).count(), 1);
}

#[test]
fn what_a_rule_stops_keeps_its_weights_until_the_sweep_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&TINY[..], &RATES, &["--stop", "halving", "--factor", "2", "--keep-best", "1"]].concat();
    succeed(sweep(folder.path(), &arguments));
    assert_eq!(weights(folder.path()).iter().filter(|has| **has).count(), 1);
    assert!(!succeed(sweep(folder.path(), &arguments)).contains("started"));
}

#[test]
fn the_metric_orders_the_table_and_is_part_of_the_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let by_loss = [&TINY[..], &RATES, &["--metric", "val_loss", "--seeds", "2"]].concat();
    succeed(sweep(folder.path(), &by_loss));
    let losses = losses(folder.path());
    let means: Vec<f64> = losses.chunks(2).map(|pair| 0.5 * (pair[0] + pair[1])).collect();
    assert!(means.is_sorted(), "{losses:?}");
    let config = fs::read_to_string(folder.path().join("out/sweep/config.yaml")).unwrap();
    assert!(config.contains("  metric: val_loss\n"), "{config}");
    assert!(table(folder.path()).contains(",val top-1,val top-1 deviation,val top-1 count,val loss,"));
    let html = succeed(vitx(folder.path(), &["report", "out", "--html", "-"]));
    assert!(html.contains(r#""metric":{"curve":"validation loss","measure":"val loss"}"#));
    let other = sweep(folder.path(), &[&TINY[..], &RATES, &["--seeds", "2"]].concat()).output().unwrap();
    assert!(other.status.code() == Some(1) && shown(&other).contains("metric: val_loss"), "{}", shown(&other));
    let none = sweep(folder.path(), &[&TINY[..], &RATES, &["--metric", "test_accuracy"]].concat()).output().unwrap();
    assert!(shown(&none).contains("[possible values: val_accuracy, val_loss, val_top_5_accuracy]"), "{}", shown(&none));
}

#[test]
fn tags_and_a_note_can_be_changed_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let grid = [&TINY[..], &["-p", "depth=1"]].concat();
    let about = ["--tag", "first", "--tag", "digits", "--note", "Does it learn?"];
    let text = succeed(sweep(folder.path(), &[&grid[..], &about].concat()));
    assert!(text.contains("[first, digits] Does it learn?"), "{text}");
    let report = |more: &[&str]| succeed(vitx(folder.path(), &[&["report", "out"], more].concat()));
    assert!(report(&[]).starts_with("[first, digits] Does it learn?\n"), "{}", report(&[]));
    assert!(!report(&["--format", "csv"]).contains("digits]"));
    assert!(report(&["--tag", "second", "--note", ""]).starts_with("[second]\n"));
    report(&["--html", "page.html"]);
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("<h1>out: [second]</h1>"), "{}", &page[..600]);
    // The same sweep, without a word, leaves them.
    assert!(succeed(sweep(folder.path(), &grid)).contains("[second]"));
    // They can stand in the experiment, and are no part of what the sweep is.
    let config = fs::read_to_string(folder.path().join("out/sweep/config.yaml")).unwrap();
    assert!(!config.contains("second") && !config.contains("first"), "{config}");
    let refused = vitx(folder.path(), &["report", "out/trials", "--tag", "a"]).output().unwrap();
    assert!(shown(&refused).contains("`out/trials` is no sweep that could have tags or a note"), "{}", shown(&refused));
}

#[test]
fn no_trial_begins_after_the_time_budget() {
    let [folder, calm] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let grid = vec!["-p", "depth=1", "-p", RATES[1]];
    let search = ["--strategy", "multivariate_tpe", "--trials", "4", "--round", "2"];
    let search = [&["-p", "depth=int(1, 2)", "-p", "num_heads=2,4"], &search[..]].concat();
    for (arguments, left) in [(grid, "4 trials have not ended"), (search, "2 trials have not ended")] {
        let arguments = [&TINY[..], &arguments].concat();
        let budget =
            |time: &str| sweep(folder.path(), &[&arguments[..], &["--time-budget", time]].concat()).output().unwrap();
        let first = budget("0s");
        assert_eq!(first.status.code(), Some(130), "{}", shown(&first));
        assert!(!shown(&first).contains("started"), "{}", shown(&first));
        let text = shown(&first);
        let said = format!("The time budget is used up: {left}.");
        assert!(text.contains(&said) && text.contains("not begun"), "{text}");
        assert!(text.contains("The same command continues."), "{text}");
        // With time enough it is the sweep without a budget.
        let second = budget("1h");
        assert!(second.status.success() && !shown(&second).contains("time budget"), "{}", shown(&second));
        succeed(sweep(calm.path(), &arguments));
        assert_eq!(table(folder.path()), table(calm.path()));
        assert_eq!(learnt(folder.path()), learnt(calm.path()));
        assert!(budget("0s").status.success(), "all is done");
        for folder in [&folder, &calm] {
            fs::remove_dir_all(folder.path().join("out")).unwrap();
        }
    }
    let refused = sweep(folder.path(), &[&TINY[..], &RATES, &["--time-budget", "2 hours"]].concat()).output().unwrap();
    assert!(
        shown(&refused).contains("`2 hours` is no time: expected e.g. `90s`, `10m`, `1h30m`"),
        "{}",
        shown(&refused)
    );
}
