//! `vitx sweep`, as a user runs it.

use crate::support::{self, learnt, shown, succeed, sweep, vitx};

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
fn optimizers_can_be_varied() {
    let folder = tempfile::tempdir().unwrap();
    let names = "train.optimizer.name=adamw,sgd,lion,muon";
    let set = ["--set", "train.ema.decay=0.9", "--set", "train.optimizer.clip_norm=1"];
    let arguments = [&["-p", names, "--jobs", "2"], &set[..]].concat();
    let text = succeed(sweep(folder.path(), &arguments));
    let trials = learnt(folder.path());
    assert_eq!(trials.as_array().unwrap().len(), 4, "{text}");
    assert!(trials.as_array().unwrap().iter().all(|trial| trial["result"]["ema"] == true), "{trials:#}");
    assert!(!succeed(sweep(folder.path(), &arguments)).contains("started"));
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
    assert!(dry.status.success() && shown(&dry).contains("2 trials"), "{}", shown(&dry));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn halving_gives_the_epochs_to_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let rates = "train.optimizer.learning_rate=1e-6,1e-5,1e-4,3e-3";
    let arguments = ["-p", rates, "--stop", "halving", "--factor", "2", "--jobs", "2", "--set", "train.epochs=4"];
    let text = succeed(sweep(folder.path(), &arguments));
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

#[test]
fn searches_repeat_and_find_their_trials_again() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "-p",
        "depth=int(1, 2)",
        "-p",
        "train.optimizer.learning_rate=loguniform(1e-4, 1e-2)",
        "--strategy",
        "tpe",
        "--trials",
        "6",
        "--search-seed",
        "7",
    ];
    succeed(sweep(folder.path(), &arguments));
    let trials = learnt(folder.path());
    assert_eq!(trials.as_array().unwrap().len(), 6);
    assert!(!succeed(sweep(folder.path(), &arguments)).contains("started"));
    let other = tempfile::tempdir().unwrap();
    succeed(sweep(other.path(), &arguments));
    assert_eq!(learnt(other.path()), trials);
}

#[test]
fn a_sweep_needs_no_experiment() {
    let folder = tempfile::tempdir().unwrap();
    let output = vitx(folder.path(), &["sweep", "-p", "depth=2,4", "--dry-run"])
        .env("VITX_DATA_DIR", folder.path())
        .env("XDG_CACHE_HOME", folder.path())
        .env("HOME", folder.path())
        .output()
        .unwrap();
    // It knows the experiment; only its images are not here.
    assert!(
        output.status.code() == Some(1) && shown(&output).contains("vitx data fetch cifar100"),
        "{}",
        shown(&output)
    );
    // The keys it varies are checked before that.
    let output = vitx(folder.path(), &["sweep", "-p", "dept=2,4", "--dry-run"]).output().unwrap();
    assert!(shown(&output).contains("did you mean `depth`?"), "{}", shown(&output));
}

#[test]
fn what_is_not_there_is_refused_before_anything_is_timed() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [&[&str]; 11] = [
        &["-p", "patchsize=2,4"],
        &["-p", "train.epoch=2,4"],
        &["-p", "depth=1,1"],
        &["-p", "depth=4..2"],
        &["-p", "depth=1,2", "--zip", "depth,patch"],
        &["-p", "depth=1,2", "--when", "patch_size:depth=1"],
        &["-p", "depth=1,2", "-p", "patch_size=2,4", "--when", "patch_size:depth=3"],
        &["-p", "depth=int(1, 3)"],
        &["-p", "depth=1,2", "--strategy", "tpe"],
        &["-p", "train.optimizer.learning_rate=-1,1e-3"],
        &["-p", "depth=1,2", "--pack", "4"],
    ];
    let refused = cases.map(|arguments| {
        let output = sweep(folder.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        format!("$ vitx sweep digits_vit.yaml {}\n{}", arguments.join(" "), shown(&output).trim())
    });
    insta::assert_snapshot!(refused.join("\n\n"));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn predictions_are_kept_and_shown_beside_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    // Long enough for a moment without a core to be little of it.
    succeed(sweep(folder.path(), &["-p", "depth=1,3", "-p", "patch_size=2,4", "--set", "train.epochs=20"]));
    let text = succeed(vitx(folder.path(), &["report", "out", "--format", "csv"]));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let at = |name: &str| header.iter().position(|known| known == name).unwrap();
    for row in reader.records() {
        let row = row.unwrap();
        let number = |name: &str| row[at(name)].parse::<f64>().unwrap();
        // Machines that run tests are busy: there, time is only held to its order.
        let quiet = std::env::var_os("VITX_QUIET").is_some();
        let time = number("predicted time") / number("time");
        let expected = if quiet { 0.8..1.25 } else { 0.15..7.0 };
        assert!(expected.contains(&time), "{time}\n{text}");
        let memory = number("predicted memory") / number("memory");
        assert!((0.75..1.33).contains(&memory), "{memory}\n{text}");
    }
}

#[test]
fn single_runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    for (name, depth) in [("one", "depth=1"), ("two", "depth=2")] {
        let mut command = vitx(folder.path(), &["run", "digits_vit.yaml", "-o", name, "-p", depth]);
        command.args(support::QUICK);
        succeed(command);
    }
    let text = succeed(vitx(folder.path(), &["compare", "one", "two"]));
    for part in [
        "│ params.depth ┆ 1   ┆ 2   │",
        "The models' texts are the same.",
        "+transformer_block1/attention: attention {",
        "test top-1",
        "Validation loss / accuracy by epoch",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.contains("Classes of the test images: accuracy") && text.contains(" classes gained, "), "{text}");
    // What is kept by class is of all test images; what is not kept can be evaluated.
    let kept = |name: &str, file: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(folder.path().join(name).join(file)).unwrap()).unwrap()
    };
    let sum = |key: &str| {
        kept("two", "test_classes.json")["classes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|class| class[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(sum("images"), 100);
    assert!(
        (sum("correct") as f64 / 100.0 - kept("two", "result.json")["test_accuracy"].as_f64().unwrap()).abs() < 1e-12
    );
    let all = succeed(vitx(folder.path(), &["compare", "one", "two", "--classes"]));
    let file = folder.path().join("two/test_classes.json");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(succeed(vitx(folder.path(), &["compare", "one", "two", "--classes", "--backend", "cpu"])), all);
    let without = succeed(vitx(folder.path(), &["compare", "one", "two"]));
    assert!(
        without.contains("Of `two` nothing is kept by class") && without.contains("--classes evaluates it"),
        "{without}"
    );
    std::fs::write(&file, bytes).unwrap();
    // Former versions kept no `model.json`: what the trial defines is elaborated anew.
    let page = succeed(vitx(folder.path(), &["report", "one", "--html", "-"]));
    assert!(page.contains("class=\"model\""), "{page}");
    for name in ["one", "two"] {
        std::fs::remove_file(folder.path().join(name).join("model.json")).unwrap();
    }
    assert_eq!(succeed(vitx(folder.path(), &["compare", "one", "two"])), text);
    assert_eq!(succeed(vitx(folder.path(), &["report", "one", "--html", "-"])), page);
    let none = vitx(folder.path(), &["compare", "one", "three"]).output().unwrap();
    assert!(none.status.code() == Some(1) && shown(&none).contains("three"), "{}", shown(&none));
}

#[test]
fn models_can_be_varied() {
    let folder = tempfile::tempdir().unwrap();
    let small = "model small(units = 8) { flatten dense(units, activation = \"relu\") dense(num_classes) }\n";
    std::fs::write(folder.path().join("small.vitx"), small).unwrap();
    let experiment = "model: digits_vit.vitx\ndata: { name: digits }\ntrain: { epochs: 1, batch_size: 32 }\n";
    std::fs::write(folder.path().join("both.yaml"), experiment).unwrap();
    let arguments = ["sweep", "both.yaml", "-o", "out", "-p", "model=small.vitx,digits_vit.vitx", "--threads", "1"];
    let text = succeed(vitx(folder.path(), &arguments));
    assert!(text.contains("finished model=small.vitx") && text.contains("finished model=digits_vit.vitx"), "{text}");
    let gone = vitx(folder.path(), &["sweep", "both.yaml", "-p", "model=small.vitx,gone.vitx"]).output().unwrap();
    assert!(gone.status.code() == Some(1) && shown(&gone).contains("gone.vitx"), "{}", shown(&gone));
}

#[test]
fn one_damaged_trial_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    succeed(sweep(folder.path(), &["-p", "depth=1", "-p", "patch_size=1,2,4"]));
    let trials = folder.path().join("out/trials.json");
    let names: Vec<String> = {
        let list: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&trials).unwrap()).unwrap();
        list["trials"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let trial = |at: usize| folder.path().join("out/trials").join(&names[at]);
    std::fs::write(trial(0).join("metrics.jsonl"), "no record\n").unwrap();
    std::fs::remove_dir_all(trial(1)).unwrap();
    for format in ["table", "markdown", "csv", "json", "latex"] {
        let text = succeed(vitx(folder.path(), &["report", "out", "--format", format]));
        assert!(text.contains("damaged") && text.contains("metrics.jsonl") && text.contains(&names[1]), "{text}");
        assert!(text.contains("finished") && !text.contains("continued"), "{text}");
    }
    let page = vitx(folder.path(), &["report", "out", "--html", "-"]).output().unwrap();
    assert!(shown(&page).contains("damaged"));
    let alone = vitx(folder.path(), &["report", trial(0).to_str().unwrap()]).output().unwrap();
    assert!(alone.status.code() == Some(1) && !shown(&alone).contains("continued"), "{}", shown(&alone));
    std::fs::write(&trials, "{ \"trials\": [] }").unwrap();
    let empty = vitx(folder.path(), &["report", "out"]).output().unwrap();
    assert!(empty.status.code() == Some(1) && shown(&empty).contains("has no trial yet"), "{}", shown(&empty));
    let compared = vitx(folder.path(), &["compare", "out", "out"]).output().unwrap();
    let text = shown(&compared);
    assert!(compared.status.code() == Some(1) && text.contains("vitx report out compares its trials"), "{text}");
}

#[test]
fn tables_that_cannot_be_are_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    for options in [
        &["--group-by", "detph"][..],
        &["--baseline", "width=4"],
        &["--pivot", "depth"],
        &["--format", "csv", "--width", "80"],
        &["--pivot", "depth,patch_size", "--pareto", "time"],
    ] {
        let refused = sweep(folder.path(), &[&["-p", "depth=1", "-p", "patch_size=2,4"], options].concat()).output();
        let refused = refused.unwrap();
        assert!(!refused.status.success() && !shown(&refused).contains("started"), "{}", shown(&refused));
        assert!(!folder.path().join("out").exists());
    }
}

/// A model and an experiment that train in no time, in a folder.
fn tiny(folder: &std::path::Path) {
    let model = "model t(width = 4, rate = 0.0, tag = \"x\") {\n    patches(4)\n    dense(width)\n    dropout(rate)\n    \
                 flatten\n    dense(num_classes)\n}\n";
    std::fs::write(folder.join("t.vitx"), model).unwrap();
    let experiment = "model: t.vitx\ndata: { name: digits, train_limit: 256, test_limit: 64 }\n\
                      train: { epochs: 1, batch_size: 64 }\n";
    std::fs::write(folder.join("e.yaml"), experiment).unwrap();
}

/// A sweep of it, what was shown, and its exit code.
fn tried(folder: &std::path::Path, output: &str, arguments: &[&str]) -> (String, i32) {
    let mut command = vitx(folder, &["sweep", "e.yaml", "--threads", "1", "--backend", "cpu", "-o", output]);
    let output = command.args(arguments).output().unwrap();
    (shown(&output), output.status.code().unwrap_or(-1))
}

/// The states of the rows, by the values before them.
fn states(folder: &std::path::Path, output: &str, keys: usize) -> Vec<(String, String)> {
    let text = succeed(vitx(folder, &["report", output, "--format", "csv"]));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let row = |row: Result<csv::StringRecord, _>| {
        let row = row.unwrap();
        let values: Vec<&str> = row.iter().take(keys).collect();
        (values.join(" "), row[row.len() - 1].to_owned())
    };
    reader.records().map(row).collect()
}

#[test]
fn a_search_tries_what_it_was_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path());
    let all = |output: &str, arguments: &[&str]| {
        let (text, code) = tried(folder.path(), output, arguments);
        assert_eq!(code, 0, "{text}");
        (text.matches("\nfinished ").count(), text)
    };
    let tpe = ["--strategy", "tpe", "--trials", "12"];
    assert_eq!(all("list", &[&tpe[..], &["-p", "width=1..=6", "-p", "rate=0.1,0.2"]].concat()).0, 12);
    assert_eq!(all("whole", &[&tpe[..], &["-p", "width=int(1, 12)"]].concat()).0, 12);
    let (count, text) = all("few", &["--strategy", "random", "--trials", "16", "-p", "width=4,8"]);
    assert!(count == 2 && text.contains("16 trials are wanted, but the space has 2 variants"), "{text}");
    // What trains the same is one variant.
    let (count, text) =
        all("same", &["-p", "rate=0,0.0,0.1", "-p", "train.optimizer.learning_rate=1e-3,0.00100000001"]);
    assert!(count == 2 && text.contains("`rate=0.0` trains the same as `rate=0`"), "{text}");
}

#[test]
fn a_proposal_that_cannot_be_is_a_trial_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path());
    let search = ["--strategy", "tpe", "--trials", "12", "--search-seed", "3"];
    // What can be checked before is.
    let (text, code) = tried(folder.path(), "list", &[&search[..], &["-p", "width=0..=11"]].concat());
    assert!(code == 1 && text.contains("1 of 12 variants cannot be trained") && !text.contains("started"), "{text}");
    assert!(!folder.path().join("list").exists());
    let (text, code) = tried(folder.path(), "some", &[&search[..], &["-p", "width=0..=11", "--skip-invalid"]].concat());
    assert!(code == 0 && text.matches("\nfinished ").count() == 11 && text.contains("11 variants"), "{text}");
    let (text, code) = tried(folder.path(), "none", &[&search[..], &["-p", "width=0,-1", "--skip-invalid"]].concat());
    assert!(code == 1 && text.contains("no variant can be trained"), "{text}");
    assert!(!folder.path().join("none").exists());
    // Of numbers without end, what comes later is a failed trial, and stands in the table; the same again.
    let arguments = [&search[..], &["-p", "width=int(0, 3)", "-p", "rate=uniform(0, 0.4)"]].concat();
    let (text, code) = tried(folder.path(), "later", &arguments);
    assert_eq!(code, 1, "{text}");
    let rows = states(folder.path(), "later", 2);
    assert_eq!(rows.len(), 12, "{rows:?}");
    assert!(rows.iter().any(|(values, state)| values.starts_with("0 ") && state.starts_with("failed: cannot be:")));
    assert!(rows.iter().filter(|(_, state)| state == "finished").count() >= 8, "{rows:?}");
    let (text, code) = tried(folder.path(), "later", &arguments);
    assert!(code == 1 && !text.contains("started") && text.contains("failed   width=0"), "{text}");
    assert_eq!(states(folder.path(), "later", 2), rows);
}

#[test]
fn trials_of_every_length_and_seed_come_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path());
    for rule in ["halving", "asha", "hyperband", "median"] {
        let lengths = ["-p", "train.epochs=1,4,2", "-p", "width=4,8", "--stop", rule, "--min-epochs", "2"];
        let (text, code) = tried(folder.path(), rule, &lengths);
        assert_eq!(code, 0, "{text}");
        for (values, state) in states(folder.path(), rule, 2) {
            assert!(state == "finished" || state.starts_with("stopped after"), "{rule} {values}: {state}");
        }
    }
    // Seeds go on together or not at all, and what the others are compared with has a result.
    let seeds = ["--seeds", "3", "-p", "width=1,4,8,12", "--set", "train.epochs=6", "--stop", "halving"];
    let (text, code) = tried(folder.path(), "seeds", &seeds);
    assert_eq!(code, 0, "{text}");
    let rows = states(folder.path(), "seeds", 1);
    assert!(rows.iter().all(|(_, state)| state == "finished" || state.starts_with("0/3 finished")), "{rows:?}");
    assert!(rows.iter().any(|(_, state)| state == "finished") && rows[0].1 != "finished", "{rows:?}");
    assert_eq!(text.matches("baseline ").count(), 2, "the header and a row: {text}");
    // All at once: zipped keys, a condition, seeds, a rule and a search, twice the same.
    let all = [
        "-p",
        "width=4,8,12",
        "-p",
        "rate=0.1,0.2,0.3",
        "--zip",
        "width,rate",
        "-p",
        "train.epochs=1,3",
        "-p",
        "train.optimizer.learning_rate=loguniform(1e-4, 1e-1)",
        "--when",
        "train.optimizer.learning_rate:width=4..=8",
        "--seeds",
        "2",
        "--strategy",
        "tpe",
        "--trials",
        "9",
        "--stop",
        "asha",
        "--factor",
        "2",
    ];
    let (text, code) = tried(folder.path(), "all", &all);
    assert_eq!(code, 0, "{text}");
    let rows = states(folder.path(), "all", 4);
    assert_eq!(rows.len(), 9, "{rows:?}");
    let (text, code) = tried(folder.path(), "all", &all);
    assert!(code == 0 && !text.contains("started"), "{text}");
    assert_eq!(states(folder.path(), "all", 4), rows);
}

#[test]
fn a_sweep_of_models_can_be_swept_again_from_its_directory() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path());
    std::fs::create_dir(folder.path().join("more")).unwrap();
    let model = "model u { flatten dense(num_classes) }\n";
    std::fs::write(folder.path().join("more/u.vitx"), model).unwrap();
    let (text, code) = tried(folder.path(), "out", &["-p", "model=t.vitx,more/u.vitx"]);
    assert_eq!(code, 0, "{text}");
    std::fs::remove_dir_all(folder.path().join("more")).unwrap();
    let again = ["sweep", "out/sweep/config.yaml", "--threads", "1", "--backend", "cpu", "-o", "again"];
    let text = succeed(vitx(folder.path(), &again));
    assert!(text.contains("finished model=more/u.vitx"), "{text}");
    let trials = |name: &str| std::fs::read_to_string(folder.path().join(name).join("trials.json")).unwrap();
    assert_eq!(trials("out"), trials("again"));
}

#[test]
fn what_would_do_nothing_or_harm_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path());
    assert_eq!(tried(folder.path(), "out", &["-p", "width=4,8"]).1, 0);
    let refused = |line: &[&str], expected: &str| {
        let output = vitx(folder.path(), line).output().unwrap();
        let text = shown(&output).split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(1), "{line:?}: {text}");
        assert!(text.contains(expected), "{line:?}: {text}");
    };
    refused(&["run", "e.yaml", "-o", "out"], "it is the directory of a sweep");
    let longer = ["sweep", "e.yaml", "-o", "out", "-p", "width=4,8,12", "--dry-run"];
    refused(&longer, "`out` holds another sweep: it lacks `- 12`");
    let sweep = ["sweep", "e.yaml", "--dry-run", "--backend", "cpu"];
    let variants = |arguments: &[&str], expected: &str| refused(&[&sweep[..], arguments].concat(), expected);
    let set = "`--set params.width=12` would have no effect: the sweep varies `width`";
    variants(&["-p", "width=4,8", "--set", "params.width=12"], set);
    let set = "would have no effect: the sweep varies `train.epochs`";
    variants(&["-p", "train.epochs=1,2", "--set", "train={epochs: 3}"], set);
    let many = "the sweep has more than 100000 trials: 1 variants, each with 4294967295 seeds";
    variants(&["-p", "width=4", "--seeds", "4294967295"], many);
    variants(&["-p", "width=1..=1000", "--seeds", "101"], "1000 variants, each with 101 seeds");
    let large = ["-p", "width=4", "--seeds", "2", "--set", "train.seed=9223372036854775807"];
    variants(&large, "2 seeds from `train.seed: 9223372036854775807` on are too large");
    variants(&["-p", "width=4", "--seeds", "0"], "`seeds` is 0");
    let both = ["-p", "width=4,8", "-p", "rate=0,0.1"];
    let when = |conditions: &[&'static str]| -> Vec<&'static str> {
        let conditions = conditions.iter().flat_map(|condition| ["--when", condition]);
        both.into_iter().chain(conditions).collect()
    };
    variants(&when(&["width:width=4"]), "`width` cannot depend on itself");
    variants(&when(&["width:rate=0", "rate:width=4"]), "`width` depends on itself: width on rate on width");
    let interval = ["-p", "width=4,8", "-p", "rate=uniform(0, 0.5)", "--when"];
    let on = |condition: &'static str| [&interval[..], &[condition]].concat();
    variants(&on("width:rate=0.2"), "`rate` is an interval, which is next to never exactly 0.2");
    variants(&on("width:rate=0.6..=0.9"), "it is between 0 and 0.5");
    let whole = ["-p", "width=loguniform(4.2, 64.7)", "--strategy", "random", "--trials", "2"];
    variants(&whole, "`width` is a whole number in the model: width=int(5, 64)");
    variants(&["-p", "rate=-1,0", "--seeds", "2"], "1 of 2 variants cannot be trained");
}
