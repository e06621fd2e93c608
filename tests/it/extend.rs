//! `vitx run .. --extend DIR`: more epochs for a finished run.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio, time::Duration};

use crate::support::{shown, succeed, vitx};

/// A network whose every step draws, on augmented images that are mixed; each of three epochs has four steps.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = "model m { conv2d(4, 3, padding = 1) batch_norm(momentum = 0.8) relu dropout(0.2) global_average_pool \
                 dense(num_classes) }";
    fs::write(folder.path().join("m.vitx"), model).unwrap();
    let yaml = "model: m.vitx\ndata: { name: digits, train_limit: 140, test_limit: 40 }\n\
                augmentation: [random_crop: 1, mixup]\n\
                train: { epochs: 3, batch_size: 32, gradient_accumulation_steps: 5, ema: { decay: 0.9 } }\n";
    fs::write(folder.path().join("e.yaml"), yaml).unwrap();
    folder
}

fn arguments<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "e.yaml", "--threads", "1", "--output", output], more].concat()
}

fn train(folder: &Path, output: &str, more: &[&str]) -> String {
    succeed(vitx(folder, &arguments(output, more)))
}

/// Every file that says what a run has learnt, without its times.
fn learnt(trial: &Path) -> BTreeMap<String, Vec<u8>> {
    let without_times = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["seconds", "images_per_second", "loader_wait_seconds", "peak_memory_bytes"] {
            value.as_object_mut().unwrap().remove(key);
        }
        value.to_string() + "\n"
    };
    let names = ["config.yaml", "input.json", "last.safetensors", "best.safetensors", "metrics.jsonl", "result.json"];
    let read = |name: &str| {
        let bytes = fs::read(trial.join(name)).unwrap();
        match name {
            "metrics.jsonl" => {
                String::from_utf8(bytes).unwrap().lines().map(without_times).collect::<String>().into_bytes()
            }
            "result.json" => without_times(&String::from_utf8(bytes).unwrap()).into_bytes(),
            _ => bytes,
        }
    };
    names.map(|name| (name.to_owned(), read(name))).into()
}

#[test]
fn a_longer_run_is_the_one_from_scratch_to_the_bit() {
    let folder = folder();
    let folder = folder.path();
    train(folder, "short", &[]);
    let before = learnt(&folder.join("short"));
    for (name, more) in [
        ("constant", &["--set", "train.epochs=6"][..]),
        (
            "restarted",
            &["--set", "train.epochs=7", "--set", "train.schedule.kind=cosine", "--set", "train.schedule.restarts=[3]"],
        ),
    ] {
        // Of the second, the first part is another run.
        let short = if name == "constant" { "short" } else { "cosine" };
        if short == "cosine" {
            train(folder, short, &["--set", "train.schedule.kind=cosine"]);
        }
        let scratch = format!("{name}_scratch");
        train(folder, &scratch, more);
        let said = train(folder, name, &[more, &["--extend", short]].concat());
        assert!(said.contains(&format!("Goes on from the 3 epochs of {short}")), "{said}");
        assert_eq!(said.contains("the schedule begins again after epoch 3"), name == "restarted", "{said}");
        assert!(!said.contains("epoch 3/") && said.contains("epoch 4/"), "{said}");
        assert!(learnt(&folder.join(name)) == learnt(&folder.join(&scratch)), "{name}");
        // The same command finds the result.
        let again = train(folder, name, &[more, &["--extend", short]].concat());
        assert!(!again.contains("epoch 4/"), "{again}");
    }
    assert!(learnt(&folder.join("short")) == before, "the run that was gone on from is as it was");
}

/// A run that was stopped before its rate fell goes on with another end.
#[test]
fn a_schedule_that_has_not_ended_goes_on() {
    let folder = folder();
    let folder = folder.path();
    let wsd = ["--set", "train.schedule.kind=wsd", "--set", "train.schedule.decay_fraction=0.25", "--set"];
    let stopped = train(folder, "short", &[&wsd[..], &["train.stop.max_time=0.000001"]].concat());
    assert!(stopped.contains("Stopped after epoch 1"), "{stopped}");
    let longer = ["train.epochs=5"];
    train(folder, "long", &[&wsd[..], &longer, &["--extend", "short"]].concat());
    train(folder, "scratch", &[&wsd[..], &longer].concat());
    assert!(learnt(&folder.join("long")) == learnt(&folder.join("scratch")));
}

#[test]
fn killed_runs_go_on_and_lose_nothing() {
    let folder = folder();
    let folder = folder.path();
    let cosine = ["--set", "train.schedule.kind=cosine"];
    train(folder, "short", &cosine);
    let before = learnt(&folder.join("short"));
    let more = [&cosine[..], &["--set", "train.epochs=40", "--set", "train.schedule.restarts=[3]"]].concat();
    train(folder, "scratch", &more);
    let long = [&more[..], &["--extend", "short", "--resume"]].concat();
    for milliseconds in [20, 60, 100, 140] {
        let mut command = vitx(folder, &arguments("long", &long));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    train(folder, "long", &long);
    assert!(learnt(&folder.join("long")) == learnt(&folder.join("scratch")));
    assert!(learnt(&folder.join("short")) == before);
}

#[test]
fn what_is_no_beginning_of_a_run_is_explained() {
    let folder = folder();
    let folder = folder.path();
    fs::create_dir(folder.join("empty")).unwrap();
    let muon = ["--set", "train.optimizer.name=muon", "--set", "train.optimizer.momentum_warmup=0.5"];
    let cosine = ["--set", "train.schedule.kind=cosine"];
    train(folder, "short", &[]);
    train(folder, "cosine", &cosine);
    train(folder, "muon", &muon);
    fs::create_dir(folder.join("unfinished")).unwrap();
    for name in ["config.yaml", "model.vitx", "last.safetensors"] {
        fs::copy(folder.join("short").join(name), folder.join("unfinished").join(name)).unwrap();
    }
    let six = ["--set", "train.epochs=6"];
    let mut all = Vec::new();
    for more in [
        &["--extend", "empty"][..],
        &["--extend", "gone"],
        &["--extend", "unfinished"],
        &["--extend", "short"],
        &[&six[..], &["--set", "train.batch_size=16", "--extend", "short"]].concat(),
        &[&six[..], &["--set", "train.schedule.warmup_epochs=1", "--extend", "short"]].concat(),
        &[&six[..], &cosine, &["--extend", "cosine"]].concat(),
        &[&six[..], &muon, &["--extend", "muon"]].concat(),
        &["--seeds", "3", "--extend", "short"],
    ] {
        let output = vitx(folder, &arguments("new", more)).output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{more:?}");
        all.push(format!("{}\n{}", more.join(" "), shown(&output)));
        assert!(!folder.join("new").exists(), "{more:?}");
    }
    insta::assert_snapshot!(all.join("\n"));
}
