//! `vitx run` and its relatives, as a user runs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use crate::support::wait::until;

const QUICK: [&str; 8] =
    ["--set", "train.epochs=4", "--set", "data.train_limit=400", "--set", "data.test_limit=100", "--param", "depth=1"];

fn vitx(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitx"));
    command.current_dir(folder).env("NO_COLOR", "1").env_remove("VITX_DATA_DIR");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    vitx(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn quick(folder: &Path, output: &str) -> Output {
    let mut arguments = vec!["run", "digits_vit.yaml", "--output", output];
    arguments.extend(QUICK);
    run(folder, &arguments)
}

/// What a trial has learnt, without its times.
fn learnt(trial: &Path) -> (Vec<u8>, Vec<serde_json::Value>, serde_json::Value) {
    let best = fs::read(trial.join("best.safetensors")).unwrap();
    let without_times = |text: &str| {
        let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
        for key in ["seconds", "images_per_second", "loader_wait_seconds", "peak_memory_bytes"] {
            value.as_object_mut().unwrap().remove(key);
        }
        value
    };
    let history = fs::read_to_string(trial.join("metrics.jsonl")).unwrap();
    let result = fs::read_to_string(trial.join("result.json")).unwrap();
    (best, history.lines().map(without_times).collect(), without_times(&result))
}

#[test]
fn trains_evaluates_and_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let output = quick(folder.path(), "one");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("epoch 4/4"), "{shown}");
    let accuracy = shown.lines().find(|line| line.starts_with("Test accuracy: ")).unwrap();

    let evaluated = run(folder.path(), &["eval", "one"]);
    assert!(text(&evaluated.stdout).contains(accuracy), "{accuracy}\n{}", text(&evaluated.stdout));
    let again = quick(folder.path(), "one");
    assert!(text(&again.stdout).contains(accuracy) && !text(&again.stdout).contains("epoch 1/4"));

    let picture = folder.path().join("black.png");
    image::GrayImage::new(20, 30).save(&picture).unwrap();
    let predicted = run(folder.path(), &["predict", "one", "black.png", "--top", "3"]);
    let shown = text(&predicted.stdout);
    assert!(predicted.status.success() && shown.matches('%').count() == 3, "{shown}{}", text(&predicted.stderr));
}

/// All training images: no epoch is chosen, and nothing that would choose is taken.
#[test]
fn without_validation_the_last_weights_are_tested() {
    let folder = tempfile::tempdir().unwrap();
    let all = ["--set", "data.validation_split=0", "--set", "train.ema.decay=0.5"];
    let train = |more: &[&str]| {
        let arguments = ["run", "digits_vit.yaml", "--output", "all"];
        run(folder.path(), &[&arguments[..], &QUICK, &all, more].concat())
    };
    for (more, key) in [("train.stop.patience=2", "train.stop.patience"), ("train.monitor=val_loss", "train.monitor")] {
        let refused = train(&["--set", more]);
        let shown = text(&refused.stderr);
        assert!(refused.status.code() == Some(1) && shown.contains(&format!("`{key}` goes by validation")), "{shown}");
        assert!(!folder.path().join("all").exists());
    }
    let output = train(&[]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    assert!(shown.contains(" 400 training, 0 validation") && shown.contains("\nEpoch: 4 of 4, trained in"), "{shown}");
    let trial = folder.path().join("all");
    let (.., result) = learnt(&trial);
    assert_eq!((&result["best_epoch"], &result["best_val_accuracy"]), (&4.into(), &serde_json::Value::Null));
    // What is tested is the average at the end of the training.
    let tensors = |file: &str| vitx::trial::checkpoint::load(&trial.join(file)).unwrap().1;
    let (best, last) = (tensors("best.safetensors"), tensors("last.safetensors"));
    for tensor in &best {
        let name = format!("optimizer/ema/{}", tensor.name);
        assert_eq!(last.iter().find(|other| other.name == name).unwrap().data, tensor.data, "{name}");
    }
    let csv = text(&run(folder.path(), &["report", "all", "--format", "csv"]).stdout);
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let at = rows[0].iter().position(|header| *header == "val top-1").unwrap();
    assert_eq!(rows[1][at], "", "{csv}");
}

#[test]
fn flips_are_shown_apart() {
    let folder = tempfile::tempdir().unwrap();
    assert!(quick(folder.path(), "one").status.success());
    let eval = |more: &[&str]| text(&run(folder.path(), &[&["eval", "one"][..], more].concat()).stdout);
    let plain = eval(&[]);
    for threads in ["1", "2"] {
        let flips = eval(&["--flips", "--threads", threads]);
        let apart = flips.strip_prefix(&plain).unwrap();
        let names = ["Test with flips loss: ", "Test with flips accuracy: ", "Test with flips top 5 accuracy: "];
        assert!(apart.lines().zip(names).all(|(line, name)| line.starts_with(name)), "{apart}");
        assert_eq!((apart.lines().count(), apart), (3, &eval(&["--flips"])[plain.len()..]));
    }
}

/// Seeds are trials of one directory, of which only those that are not finished are trained.
#[test]
fn seeds_have_a_mean_and_a_deviation() {
    let folder = tempfile::tempdir().unwrap();
    let train = |threads: &str| {
        let arguments = ["run", "digits_vit.yaml", "--seeds", "3", "--output", "seeds", "--threads", threads];
        let output = run(folder.path(), &[&arguments[..], &QUICK].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let summary = |shown: &str| {
        let lines: Vec<&str> = shown.lines().filter(|line| line.starts_with("Test ")).collect();
        lines.join("\n")
    };
    let first = summary(&train("1"));
    let numbers = first.split_once("seeds: ").unwrap().1;
    let numbers: Vec<f64> =
        numbers.split(['%', '±', '(', ',', ')']).filter_map(|number| number.trim().parse().ok()).collect();
    let [mean, deviation, each @ ..] = &numbers[..5] else { panic!("{first}") };
    let expected = each.iter().sum::<f64>() / 3.0;
    let squares: f64 = each.iter().map(|accuracy| (accuracy - expected).powi(2)).sum();
    assert!((mean - expected).abs() < 0.011 && (deviation - (squares / 2.0).sqrt()).abs() < 0.011, "{first}");
    let trials: Vec<PathBuf> =
        fs::read_dir(folder.path().join("seeds/trials")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(trials.len(), 3);
    let before: Vec<_> = trials.iter().map(|trial| learnt(trial)).collect();
    fs::remove_file(trials[1].join("result.json")).unwrap();
    fs::remove_file(trials[2].join("result.json")).unwrap();
    fs::remove_file(trials[2].join("last.safetensors")).unwrap();
    assert_eq!(summary(&train("2")), first);
    assert_eq!(trials.iter().map(|trial| learnt(trial)).collect::<Vec<_>>(), before);
    // A sweep over the seeds alone is the same thing.
    let arguments = ["sweep", "digits_vit.yaml", "--seeds", "3", "--output", "seeds"];
    let sets = &QUICK[..6];
    let other = run(folder.path(), &[&arguments[..], sets, &["--set", "params.depth=1"]].concat());
    assert!(other.status.success(), "{}", text(&other.stderr));
}

/// Sums of gradients that no update has taken yet, and images of several sizes: killed anywhere, on any number of threads.
#[test]
fn accumulation_and_image_sizes_are_exact_across_kills() {
    let folder = tempfile::tempdir().unwrap();
    let model = "model pooled { conv2d(6, 3, padding = 1) batch_norm(momentum = 0.8) relu dropout(0.2) conv2d(8, 3, strides = 2)
                 relu global_average_pool dense(num_classes) }";
    fs::write(folder.path().join("m.vitx"), model).unwrap();
    let yaml = "model: m.vitx\ndata: { name: digits, train_limit: 420, test_limit: 90 }\n\
                augmentation: [random_crop: 1, random_flip: { epochs: alternating }, mixup]\n\
                train: { epochs: 4, batch_size: 32, repeated_augmentation: 3, gradient_accumulation_steps: 5, image_size: [[0, 5], [2, 8], [3, 6]] }\n";
    fs::write(folder.path().join("e.yaml"), yaml).unwrap();
    let calm = run(folder.path(), &["run", "e.yaml", "--output", "calm", "--threads", "1"]);
    assert!(calm.status.success(), "{}", text(&calm.stderr));
    let stormy = folder.path().join("stormy");
    for milliseconds in [80, 120, 160, 240] {
        let arguments = ["run", "e.yaml", "--output", "stormy", "--threads", "2", "--resume"];
        let mut child =
            vitx(folder.path()).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = run(folder.path(), &["run", "e.yaml", "--output", "stormy", "--threads", "2", "--resume"]);
    assert!(last.status.success(), "{}", text(&last.stderr));
    assert_eq!(learnt(&folder.path().join("calm")), learnt(&stormy));
    // Not each of the four epochs of 12 steps ends with an update: sums are part of the last checkpoint.
    let state = vitx::trial::checkpoint::load(&stormy.join("last.safetensors")).unwrap().1;
    let sum = state.iter().find(|tensor| tensor.name == "optimizer/gradient_accumulator/dense/kernel").unwrap();
    assert!(sum.data.iter().any(|value| *value != 0.0));
    for wrong in ["train.gradient_accumulation_steps=49", "train.image_size=[[0, 9]]"] {
        let refused = run(folder.path(), &["run", "e.yaml", "--output", "wrong", "--set", wrong]);
        assert_eq!(refused.status.code(), Some(1), "{wrong}");
        assert!(!folder.path().join("wrong").exists());
    }
}

#[test]
fn stops_early_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    // A rate at which nothing is learnt: no epoch is better than the first.
    let still = ["--set", "train.optimizer.learning_rate=1e-30", "--set", "train.stop.patience=2"];
    let arguments = [&["run", "digits_vit.yaml", "--output", "still"][..], &QUICK, &still].concat();
    let output = run(folder.path(), &arguments);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    assert!(shown.contains("epoch 3/4") && !shown.contains("epoch 4/4"), "{shown}");
    let reason = "2 epochs without a better val_accuracy than that of epoch 1";
    assert!(shown.contains(&format!("Stopped after epoch 3: {reason}")), "{shown}");
    let (_, epochs, result) = learnt(&folder.path().join("still"));
    assert_eq!((epochs.len(), &result["epochs"], &result["stopped"]), (3, &3.into(), &reason.into()));
}

#[test]
fn kill_9_and_resume_learn_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    assert!(quick(folder.path(), "calm").status.success());
    let stormy = folder.path().join("stormy");
    let mut arguments = vec!["run", "digits_vit.yaml", "--output", "stormy"];
    arguments.extend(QUICK);
    for (attempt, milliseconds) in [60, 150, 90, 250].into_iter().enumerate() {
        let mut command = vitx(folder.path());
        if attempt == 0 {
            command.args(&arguments)
        } else {
            command.args(["trial", "stormy"])
        };
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        if !stormy.join("config.yaml").exists() {
            // Killed before it had begun: begin again.
            assert!(quick(folder.path(), "stormy").status.success());
        }
    }
    let last = run(folder.path(), &["trial", "stormy"]);
    assert!(last.status.success(), "{}", text(&last.stderr));
    assert_eq!(learnt(&folder.path().join("calm")), learnt(&stormy));
    assert_eq!(event_files(&folder.path().join("calm")), event_files(&stormy));
}

/// TensorBoard's files, with their lengths: events of the same values are as long.
fn event_files(trial: &Path) -> Vec<(PathBuf, u64)> {
    let list = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let folders = list(trial.join("tensorboard")).map(|entry| entry.path());
    let mut files: Vec<(PathBuf, u64)> = folders
        .flat_map(list)
        .map(|entry| (entry.path().strip_prefix(trial).unwrap().to_owned(), entry.metadata().unwrap().len()))
        .collect();
    files.sort();
    files
}

/// Ctrl-C ends the step, saves, and says how to go on; what goes on learns what an undisturbed run does.
#[cfg(unix)]
#[test]
fn an_interrupted_run_is_saved_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    assert!(quick(folder.path(), "calm").status.success());
    let mut arguments = vec!["run", "digits_vit.yaml", "--output", "one"];
    arguments.extend(QUICK);
    let child = vitx(folder.path()).args(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("an epoch", || folder.path().join("one/metrics.jsonl").exists());
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    // On a fast machine the run may have been over.
    if output.status.code() != Some(0) {
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("To continue: vitx trial one"), "{}", text(&output.stdout));
        assert!(!folder.path().join("one/result.json").exists());
        arguments.push("--resume");
        let resumed = run(folder.path(), &arguments);
        assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    }
    assert_eq!(learnt(&folder.path().join("calm")), learnt(&folder.path().join("one")));
}

#[test]
fn a_broken_checkpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(quick(folder.path(), "one").status.success());
    for file in ["best.safetensors", "last.safetensors"] {
        let path = folder.path().join("one").join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    fs::remove_file(folder.path().join("one/result.json")).unwrap();
    for (command, file) in [("eval", "best"), ("trial", "last")] {
        let output = run(folder.path(), &[command, "one"]);
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output.stderr).replace(['\n', '│', ' '], "");
        assert!(shown.contains(&format!("one/{file}.safetensors`isnotacheckpoint")), "{shown}");
        assert!(shown.contains("help:"), "{shown}");
    }
}

#[test]
fn threads_do_not_change_results() {
    let folder = tempfile::tempdir().unwrap();
    for threads in ["1", "2"] {
        let augmentation = "augmentation=[random_crop: 1, random_flip, rand_augment, random_erasing, mixup, cutmix]";
        let mut arguments = vec!["run", "digits_vit.yaml", "--output", threads, "--threads", threads];
        arguments.extend(["--set", augmentation, "--set", "train.loss=binary_cross_entropy"]);
        arguments.extend(QUICK);
        assert!(run(folder.path(), &arguments).status.success());
    }
    assert_eq!(learnt(&folder.path().join("1")), learnt(&folder.path().join("2")));
}

#[test]
fn files_of_others_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("mine");
    for name in ["model.vitx", "history.csv", "loss.png", "best.safetensors", "last.safetensors", "result.json"] {
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join(name), "mine").unwrap();
        let refused = quick(folder.path(), "mine");
        assert_eq!(refused.status.code(), Some(1), "{name}");
        let said = text(&refused.stderr);
        assert!(said.contains(&format!("has a file `{name}`")), "{said}");
        assert_eq!(fs::read_to_string(mine.join(name)).unwrap(), "mine");
        assert_eq!(fs::read_dir(&mine).unwrap().count(), 1, "{name}");
        fs::remove_dir_all(&mine).unwrap();
    }
    // Files of other names are no hindrance, nor is the model of a run that was killed before it was defined.
    assert!(quick(folder.path(), "mine").status.success());
    let model = fs::read(mine.join("model.vitx")).unwrap();
    fs::remove_dir_all(&mine).unwrap();
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("model.vitx"), model).unwrap();
    fs::write(mine.join("thesis.txt"), "mine").unwrap();
    assert!(quick(folder.path(), "mine").status.success());
    assert_eq!(fs::read_to_string(mine.join("thesis.txt")).unwrap(), "mine");
}

#[test]
fn an_unfinished_run_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let output = quick(folder.path(), "one");
    assert!(output.status.success());
    fs::remove_file(folder.path().join("one/result.json")).unwrap();
    let refused = quick(folder.path(), "one");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("holds an unfinished run"), "{}", text(&refused.stderr));
    // It is not called one of this experiment where it is one of another, nor offered to be removed while it trains.
    let other = run(folder.path(), &["run", "digits_vit.yaml", "--output", "one"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stderr).contains("`one` holds another trial"), "{}", text(&other.stderr));
    let held = fs::File::open(folder.path().join("one/lock")).unwrap();
    held.lock().unwrap();
    let busy = quick(folder.path(), "one");
    assert_eq!(busy.status.code(), Some(1));
    assert!(text(&busy.stderr).contains("in use by another vitx process"), "{}", text(&busy.stderr));
    drop(held);
    let other = run(folder.path(), &["run", "digits_vit.yaml", "--output", "one", "--resume"]);
    assert!(text(&other.stderr).contains("holds another trial"), "{}", text(&other.stderr));
}

#[test]
fn a_loss_that_is_not_finite_says_where_and_what_to_try() {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments =
        vec!["run", "digits_vit.yaml", "--output", "one", "--set", "train.optimizer.learning_rate=1e30"];
    arguments.extend(QUICK);
    let output = run(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stderr);
    assert!(shown.contains("epoch 1, step") && shown.contains("smaller"), "{shown}");
    let failure = fs::read_to_string(folder.path().join("one/failure.json")).unwrap();
    assert!(failure.contains("\"nan\""), "{failure}");
}

/// Every error that a wrong command line or file can cause, as it is shown.
#[test]
fn errors() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key.yaml"), "model: digits_vit.vitx\ndata: {name: digits}\ntrian: {epochs: 3}\n")
        .unwrap();
    fs::write(
        folder.path().join("value.yaml"),
        "model: digits_vit.vitx\ndata:\n  name: digits\n  validation_split: 1.5\n",
    )
    .unwrap();
    fs::write(folder.path().join("data.yaml"), "model: digits_vit.vitx\ndata: {name: digit}\n").unwrap();
    fs::write(folder.path().join("twice.yaml"), "model: m.vitx\ndata: {name: digits}\nparams: {a: 1, a: 2}\n").unwrap();
    fs::write(folder.path().join("type.yaml"), "model: m.vitx\ndata: {name: digits}\ntrain: {epochs: many}\n").unwrap();
    fs::write(folder.path().join("model.yaml"), "model: nowhere.vitx\ndata: {name: digits}\n").unwrap();
    fs::write(folder.path().join("bytes.yaml"), b"model: \xff\n").unwrap();
    fs::create_dir(folder.path().join("photos")).unwrap();
    fs::write(
        folder.path().join("large.yaml"),
        "model: m.vitx\ndata: {name: digits}\ntrain: {epochs: 18446744073709551616}\n",
    )
    .unwrap();
    let two = "model: m.vitx\ndata: {name: digits}\n---\nmodel: n.vitx\ndata: {name: digits}\n";
    fs::write(folder.path().join("two.yaml"), two).unwrap();
    fs::write(folder.path().join("long.yaml"), format!("model: m.vitx\n{}", "# A remark.\n".repeat(3000))).unwrap();
    let axis = "model: digits_vit.vitx\ndata: {name: digits}\nsweep:\n  params:\n    depth: 8..4\n";
    fs::write(folder.path().join("axis.yaml"), axis).unwrap();
    let cases: [&[&str]; 26] = [
        &["run", "two.yaml"],
        &["run", "long.yaml"],
        &["sweep", "axis.yaml"],
        &["run", "digits_vit.yaml", "--set", "model=nowhere.vitx"],
        &["trial", "photos"],
        &["eval", "photos"],
        &["export", "nowhere"],
        &["trial", "key.yaml"],
        &["compare", "photos", "photos"],
        &["run", "large.yaml"],
        &["run", "digits_vit.yaml", "--set", "train.epochs=18446744073709551616"],
        &["run", "twice.yaml"],
        &["run", "type.yaml"],
        &["run", "model.yaml"],
        &["run", "bytes.yaml"],
        &["run", "digits_vit.yaml", "--set", "train.optimizer=3"],
        &["run", "missing.yaml"],
        &["run", "key.yaml"],
        &["run", "value.yaml"],
        &["run", "data.yaml"],
        &["run", "digits_vit.yaml", "--set", "train.epoch=3"],
        &["run", "digits_vit.yaml", "--param", "dept=3"],
        &["run", "digits_vit.yaml", "--param", "patch_size=3"],
        &["trial", "nowhere"],
        &["trial", "here", "here"],
        &["trial", "here", "there", "--backend", "cpu"],
    ];
    let mut shown = String::new();
    for arguments in cases {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        shown += &format!("$ vitx {}\n{}\n", arguments.join(" "), text(&output.stderr));
    }
    // What `auto` has to do without is said on machines without it alone.
    insta::with_settings!({ filters => vec![(r"(?m)^cpu backend: .*\n", "")] }, { insta::assert_snapshot!(shown) });
    let left: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 12, "{left:?}");
    assert_eq!(
        fs::read_dir(folder.path().join("photos")).unwrap().count(),
        0,
        "a folder that is no run's was written to"
    );
}

#[test]
fn bench_step_prints_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "step", "digits_vit.yaml", "--batch", "5", "--steps", "2", "-p", "depth=1", "--json"];
    let output = run(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let measured: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<&str> = measured.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "ms_per_step ms_min ms_max start_ms images_per_second gflops matmul_peak_gflops peak_memory_bytes threads \
                    batch backend";
    assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    let number = |key: &str| measured[key].as_f64().unwrap();
    assert!(number("ms_min") > 0.0 && number("ms_min") <= number("ms_per_step"));
    assert!(number("start_ms") >= 0.0);
    assert!(number("ms_per_step") <= number("ms_max") && number("gflops") < number("matmul_peak_gflops"));
    assert_eq!(number("batch"), 5.0);
}

#[test]
fn operators_are_timed_where_the_backend_can() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "bench step digits_vit.yaml --batch 1 --steps 1 -p depth=1 --json --profile --backend";
    let bench = |backend| run(folder.path(), &[&arguments.split(' ').collect::<Vec<_>>()[..], &[backend]].concat());
    let cpu: serde_json::Value = serde_json::from_slice(&bench("cpu").stdout).unwrap();
    assert!(cpu["profile"].as_array().unwrap().iter().any(|row| row["operator"] == "dense"), "{cpu}");
    let reference = bench("reference");
    assert_eq!(reference.status.code(), Some(1));
    insta::assert_snapshot!(text(&reference.stderr));
}

#[test]
fn without_a_device_auto_says_so_in_one_line_and_cuda_is_an_error() {
    if vitx::backend::cuda::driver::library::available().is_ok() {
        println!("skipped: this machine has a CUDA device");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bench = |backend| {
        let arguments =
            ["bench", "step", "digits_vit.yaml", "--batch", "2", "--steps", "1", "-p", "depth=1", "--backend"];
        run(folder.path(), &[&arguments[..], &[backend]].concat())
    };
    let auto = bench("auto");
    assert!(auto.status.success(), "{}", text(&auto.stderr));
    let said = text(&auto.stderr);
    assert!(said.starts_with("cpu backend: ") && said.lines().count() == 1, "{said}");
    assert_eq!(text(&bench("cpu").stderr), "");
    let cuda = bench("cuda");
    assert_eq!(cuda.status.code(), Some(1));
    let reason = said.trim().trim_start_matches("cpu backend: ");
    let words = |text: &str| text.replace("│", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&text(&cuda.stderr)).contains(&format!("no CUDA: {}", words(reason))), "{}", text(&cuda.stderr));
}

#[cfg(unix)]
#[test]
fn an_error_that_nobody_reads_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    // The pipe's reader is gone before anything is written.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_vitx"))
        .args(["check", "missing.vitx"])
        .current_dir(folder.path())
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
