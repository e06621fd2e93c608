//! A result belongs to its data: runs on a user's folder, which changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const MODEL: &str = "model m(dim = 8) {
    patches(4)
    patch_encoder(dim)
    global_average_pool
    classify: dense(num_classes)
}
";

const EXPERIMENT: &str = "model: m.vitx
data: { name: image_folder, path: d, validation_split: 0.25 }
train: { epochs: 2, batch_size: 4, seed: 1, optimizer: { learning_rate: 0.01 } }
";

const COLOURS: [(&str, [u8; 3]); 3] = [("blue", [30, 40, 220]), ("green", [20, 200, 40]), ("red", [220, 30, 30])];

/// A folder with an experiment in `lab`, and its pictures in `lab/d`: of each colour 4 to train and 2 to test.
pub(crate) struct Lab {
    root: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { root: tempfile::tempdir().unwrap() };
        for (split, count) in [("train", 4), ("test", 2)] {
            for (class, colour) in COLOURS {
                let folder = lab.path("lab/d").join(split).join(class);
                fs::create_dir_all(&folder).unwrap();
                for index in 0..count {
                    let shade = |x: u32, y: u32| ((x * 7 + y * 5 + index * 11) % 23) as u8;
                    let pixel = |x, y| image::Rgb(colour.map(|value| value + shade(x, y)));
                    image::RgbImage::from_fn(8, 8, pixel).save(folder.join(format!("{index}.png"))).unwrap();
                }
            }
        }
        fs::write(lab.path("lab/m.vitx"), MODEL).unwrap();
        fs::write(lab.path("lab/e.yaml"), EXPERIMENT).unwrap();
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn vitx(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitx"));
        command.current_dir(self.root.path()).env("NO_COLOR", "1").env_remove("VITX_DATA_DIR").args(arguments);
        if !["compare", "report"].contains(&arguments[0]) {
            command.args(["--backend", "cpu", "--threads", "1"]);
        }
        command.output().unwrap()
    }

    /// The output of what succeeds.
    pub(crate) fn fine(&self, arguments: &[&str]) -> String {
        let output = self.vitx(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", shown(&output));
        shown(&output)
    }

    /// What is refused: one line of words, without the folder's name.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.vitx(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", shown(&output));
        // The drawing breaks lines where it likes, in the middle of long names too.
        let text = String::from_utf8_lossy(&output.stderr).replace("\n  │ ", " ").replace("\n        ", " ");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let root = self.root.path().canonicalize().unwrap().display().to_string();
        words.replace(&root, "ROOT").replace(&self.root.path().display().to_string(), "ROOT")
    }

    fn rename_class(&self, from: &str, to: &str) {
        for split in ["train", "test"] {
            let folder = self.path("lab/d").join(split);
            fs::rename(folder.join(from), folder.join(to)).unwrap();
        }
    }

    /// Makes an unfinished run of a finished one.
    fn unfinish(&self, run: &str) {
        fs::remove_file(self.path(run).join("result.json")).unwrap();
    }

    fn directories(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = fs::read_dir(self.path("runs")).unwrap().map(name).collect();
        names.sort();
        names
    }
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The accuracy that a command printed.
fn accuracy(text: &str) -> &str {
    text.lines().find(|line| line.starts_with("Test accuracy")).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &to),
            false => assert!(fs::copy(&path, &to).unwrap() > 0),
        }
    }
}

/// Classes go by name, and statistics are those of the run: the training images need not be there.
#[test]
fn eval_scores_what_the_run_knows() {
    let lab = Lab::new();
    let trained = lab.fine(&["run", "lab/e.yaml", "-o", "r"]);
    let evaluated = lab.fine(&["eval", "r"]);
    assert_eq!(accuracy(&evaluated), accuracy(&trained));
    assert!(!evaluated.contains("not those"), "{evaluated}");
    fs::rename(lab.path("lab/d/train"), lab.path("lab/gone")).unwrap();
    assert_eq!(lab.fine(&["eval", "r"]), evaluated);
    // Fewer classes, in another order of places.
    fs::rename(lab.path("lab/d/test/blue"), lab.path("lab/blue")).unwrap();
    let fewer = lab.fine(&["eval", "r"]);
    assert!(fewer.contains("test: `blue` is gone (2 images)"), "{fewer}");
    let score = |text: &str| text.lines().next().unwrap().to_owned();
    let all = score(&evaluated);
    assert_ne!(score(&fewer), all);
    fs::rename(lab.path("lab/blue"), lab.path("lab/d/test/blue")).unwrap();
    // Elsewhere.
    fs::rename(lab.path("lab/d"), lab.path("moved")).unwrap();
    insta::assert_snapshot!("no_folder", lab.refused(&["eval", "r"]));
    assert_eq!(score(&lab.fine(&["eval", "r", "--path", "moved"])), all);
    fs::rename(lab.path("moved/test/red"), lab.path("moved/test/apple")).unwrap();
    insta::assert_snapshot!("unknown_class", lab.refused(&["eval", "r", "--path", "moved"]));
    insta::assert_snapshot!("path_of_a_set", {
        lab.fine(&[
            "run",
            "digits_vit.yaml",
            "--set",
            "train.epochs=1",
            "--set",
            "data.train_limit=50",
            "-o",
            "digits",
        ]);
        lab.refused(&["eval", "digits", "--path", "moved"])
    });
}

/// What is trained on is what the run began with, or nothing.
#[test]
fn other_data_are_refused_with_the_difference() {
    let lab = Lab::new();
    let trained = lab.fine(&["run", "lab/e.yaml", "-o", "r"]);
    let input = fs::read(lab.path("r/input.json")).unwrap();
    copy(&lab.path("lab/d"), &lab.path("kept"));
    let mut messages = Vec::new();
    let mut refuse = |what: &str, arguments: &[&str]| {
        messages.push(format!("{what}: vitx {}\n{}", arguments.join(" "), lab.refused(arguments)));
        assert_eq!(fs::read(lab.path("r/input.json")).unwrap(), input);
    };
    lab.rename_class("red", "apple");
    refuse("a class renamed", &["run", "lab/e.yaml", "-o", "r"]);
    refuse("a class renamed", &["eval", "r"]);
    refuse("a class renamed", &["eval", "r", "--split", "validation"]);
    lab.unfinish("r");
    refuse("a class renamed", &["trial", "r"]);
    refuse("a class renamed", &["run", "lab/e.yaml", "-o", "r", "--resume"]);
    lab.rename_class("apple", "red");
    let [a, b] = ["red", "blue"].map(|class| lab.path("lab/d/train").join(class).join("1.png"));
    let pictures = [&a, &b].map(|path| fs::read(path).unwrap());
    fs::write(&a, &pictures[1]).unwrap();
    fs::write(&b, &pictures[0]).unwrap();
    refuse("two pictures exchanged", &["trial", "r"]);
    refuse("two pictures exchanged", &["eval", "r", "--split", "train"]);
    fs::remove_file(&a).unwrap();
    fs::write(&b, &pictures[1]).unwrap();
    refuse("a picture removed", &["trial", "r"]);
    fs::write(a.with_file_name("9.png"), &pictures[0]).unwrap();
    refuse("a picture renamed", &["trial", "r"]);
    fs::remove_dir_all(lab.path("lab/d/train/green")).unwrap();
    fs::remove_dir_all(lab.path("lab/d/test/green")).unwrap();
    refuse("a class removed, a picture renamed", &["trial", "r"]);
    insta::assert_snapshot!(messages.join("\n\n"));
    // What is the same goes on, wherever it lies and whenever it was touched.
    let resumed = lab.fine(&["trial", "r", "--path", "kept"]);
    assert_eq!(accuracy(&resumed), accuracy(&trained));
    assert_eq!(fs::read(lab.path("r/input.json")).unwrap(), input);
}

/// What lies in the folder is part of a run's name; where it lies is not.
#[test]
fn the_data_are_part_of_the_identity() {
    let lab = Lab::new();
    let first = lab.fine(&["run", "lab/e.yaml"]);
    let again = lab.fine(&["run", "lab/e.yaml"]);
    assert!(
        again.contains("was finished before, on 20") && again.contains("remove the folder to train again"),
        "{again}"
    );
    assert!(!again.contains("epoch 1/2") && accuracy(&again) == accuracy(&first));
    assert_eq!(lab.directories().len(), 1);
    // Moved, copied, linked, touched.
    copy(&lab.path("lab"), &lab.path("copied"));
    fs::remove_dir_all(lab.path("lab/d")).unwrap();
    assert!(lab.fine(&["run", "copied/e.yaml"]).contains("finished before"));
    lab.fine(&["run", "lab/e.yaml", "--path", "copied/d", "-o", "other"]);
    let run = lab.directories().remove(0);
    // The run knows where its data lie now.
    lab.fine(&["eval", &format!("runs/{run}"), "--split", "train"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(lab.path("copied/d"), lab.path("lab/d")).unwrap();
        assert!(lab.fine(&["run", "lab/e.yaml"]).contains("finished before"));
        fs::remove_file(lab.path("lab/d")).unwrap();
    }
    let digest = fs::read_to_string(lab.path("runs").join(&run).join("config.yaml")).unwrap();
    let digest = digest.lines().find_map(|line| line.trim().strip_prefix("digest: ")).unwrap().to_owned();
    lab.fine(&["run", "copied/e.yaml", "--set", &format!("data.digest={digest}")]);
    assert_eq!(lab.directories().len(), 1);
    // Other pictures are another run.
    fs::remove_file(lab.path("copied/d/test/red/1.png")).unwrap();
    // Of a run that is to be continued it is said, where another one would begin.
    let result = fs::read(lab.path("runs").join(&run).join("result.json")).unwrap();
    lab.unfinish(&format!("runs/{run}"));
    let refused = lab.refused(&["run", "copied/e.yaml", "--resume"]);
    assert!(refused.contains("began with: test: `red` had 2 images, has 1"), "{refused}");
    fs::write(lab.path("runs").join(&run).join("result.json"), result).unwrap();
    let changed = lab.fine(&["run", "copied/e.yaml", "--resume"]);
    assert!(changed.contains("epoch 1/2"), "{changed}");
    let runs = lab.directories();
    assert_eq!(runs.len(), 2);
    let [one, other] = [0, 1].map(|at| format!("runs/{}", runs[at]));
    let compared = lab.fine(&["compare", &one, &other]);
    assert!(compared.contains("\nData\nfrom ") && compared.contains("test: `red` "), "{compared}");
    assert!(lab.fine(&["compare", &one, &one]).contains("The data are the same."));
    let refused = lab.refused(&["run", "copied/e.yaml", "--set", "data.digest=00"]);
    assert!(refused.contains("`data.digest` asks for: it is ") && refused.contains(", not 00"), "{refused}");
}

/// Trials of a sweep are of its data, too.
#[test]
fn a_sweep_keeps_to_its_data() {
    let lab = Lab::new();
    let arguments = ["sweep", "lab/e.yaml", "-p", "dim=4,8"];
    lab.fine(&arguments);
    let again = lab.fine(&arguments);
    assert!(!again.contains("started"), "{again}");
    lab.rename_class("red", "apple");
    let changed = lab.fine(&arguments);
    assert_eq!(changed.matches("started").count(), 2, "{changed}");
    assert_eq!(fs::read_dir(lab.path("runs/sweeps")).unwrap().count(), 2);
    // Paths can be values: each has its own digest, relative ones lie beside the experiment.
    copy(&lab.path("lab/d"), &lab.path("lab/same"));
    fs::remove_file(lab.path("lab/same/train/blue/0.png")).unwrap();
    lab.fine(&["sweep", "lab/e.yaml", "-p", "data.path=d,same", "-o", "paths"]);
    assert_eq!(fs::read_dir(lab.path("paths/trials")).unwrap().count(), 2);
    for trial in fs::read_dir(lab.path("paths/trials")).unwrap() {
        let config = fs::read_to_string(trial.unwrap().path().join("config.yaml")).unwrap();
        assert!(config.contains("path: /") && config.contains("digest: "), "{config}");
    }
}

/// A run of a former version has neither digest nor absolute path.
#[test]
fn runs_of_former_versions_go_on() {
    let lab = Lab::new();
    let trained = lab.fine(&["run", "lab/e.yaml", "-o", "r"]);
    let config = fs::read_to_string(lab.path("r/config.yaml")).unwrap();
    let old = config.lines().filter(|line| !line.contains("digest:")).map(|line| match line.contains("path: /") {
        true => "  path: lab/d",
        false => line,
    });
    let old = old.collect::<Vec<_>>().join("\n") + "\n";
    fs::write(lab.path("r/config.yaml"), &old).unwrap();
    let mut input: serde_json::Value = serde_json::from_slice(&fs::read(lab.path("r/input.json")).unwrap()).unwrap();
    input.as_object_mut().unwrap().remove("fingerprint");
    fs::write(lab.path("r/input.json"), input.to_string()).unwrap();
    assert_eq!(accuracy(&lab.fine(&["eval", "r"])), accuracy(&trained));
    lab.fine(&["eval", "r", "--split", "validation"]);
    assert!(lab.fine(&["run", "lab/e.yaml", "-o", "r"]).contains("finished before"));
    lab.unfinish("r");
    lab.fine(&["trial", "r"]);
    lab.unfinish("r");
    lab.fine(&["run", "lab/e.yaml", "-o", "r", "--resume"]);
    assert_eq!(fs::read_to_string(lab.path("r/config.yaml")).unwrap(), old);
    assert_eq!(fs::read_to_string(lab.path("r/input.json")).unwrap(), input.to_string());
    lab.rename_class("red", "apple");
    let refused = lab.refused(&["run", "lab/e.yaml", "-o", "r"]);
    assert!(refused.contains("the classes were blue, green, red, are apple, blue, green"), "{refused}");
    lab.unfinish("r");
    assert!(lab.refused(&["trial", "r"]).contains("the classes were blue, green, red"));
    lab.rename_class("apple", "red");
    fs::remove_file(lab.path("lab/d/train/red/1.png")).unwrap();
    assert!(lab.refused(&["trial", "r"]).contains("the training images have another mean and variance"));
}

/// Whatever has become of the files of a run, it is said with their names.
#[test]
fn damaged_runs_are_refused() {
    let lab = Lab::new();
    lab.fine(&["run", "lab/e.yaml", "-o", "r"]);
    let picture = "lab/d/test/red/0.png";
    let mut messages = Vec::new();
    let mut refuse = |file: &str, text: Option<&str>, arguments: &[&str]| {
        let path = lab.path("r").join(file);
        let whole = fs::read(&path).unwrap();
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        messages.push(format!("{file}: {}\n{}", arguments[0], lab.refused(arguments)));
        fs::write(&path, whole).unwrap();
    };
    let input = fs::read_to_string(lab.path("r/input.json")).unwrap();
    let wrong_size = input.replace("\"height\": 8", "\"height\": 0");
    for arguments in [&["predict", "r", picture][..], &["eval", "r"]] {
        refuse("input.json", Some(&wrong_size), arguments);
        refuse("input.json", Some(&input[..input.find("\"channels\"").unwrap()]), arguments);
        refuse("input.json", None, arguments);
        refuse("best.safetensors", None, arguments);
    }
    refuse("input.json", Some(&input.replace("\"digest\": \"", "\"digest\": \"0")), &["predict", "r", picture]);
    refuse("result.json", Some("{}"), &["trial", "r"]);
    refuse("metrics.jsonl", Some("{\"epoch\": 1}\n"), &["compare", "r", "r"]);
    lab.unfinish("r");
    refuse("metrics.jsonl", Some(""), &["trial", "r"]);
    fs::write(lab.path("r/until.json"), "{\"epochs\": 1}").unwrap();
    refuse("until.json", Some("{\"epochs\": -1}"), &["trial", "r"]);
    refuse("input.json", None, &["trial", "r"]);
    insta::assert_snapshot!(messages.join("\n\n"));
}

/// A checkpoint's tensors are all that the network has, and its counts are of the run.
#[test]
fn checkpoints_are_held_to_the_network() {
    use vitx::trial::checkpoint::{Progress, load, save};
    let lab = Lab::new();
    lab.fine(&["run", "lab/e.yaml", "-o", "r"]);
    lab.unfinish("r");
    let mut messages = Vec::new();
    let mut refuse = |what: &str, file: &str, change: &dyn Fn(&mut Progress, &mut Vec<vitx::backend::StateTensor>)| {
        let path = lab.path("r").join(file);
        let whole = fs::read(&path).unwrap();
        let (mut progress, mut tensors) = load(&path).unwrap();
        change(&mut progress, &mut tensors);
        save(&path, &progress, &tensors).unwrap();
        let picture = "lab/d/test/red/0.png";
        let commands: &[&[&str]] = match file {
            "last.safetensors" => &[&["trial", "r"]],
            _ => &[&["eval", "r"], &["predict", "r", picture]],
        };
        for arguments in commands {
            messages.push(format!("{what}: {}\n{}", arguments[0], lab.refused(arguments)));
        }
        fs::write(&path, whole).unwrap();
    };
    refuse("all are gone", "best.safetensors", &|_, tensors| tensors.clear());
    refuse("the head is gone", "best.safetensors", &|_, tensors| tensors.retain(|t| !t.name.starts_with("classify")));
    refuse("one too many", "best.safetensors", &|_, tensors| {
        tensors.push(vitx::backend::StateTensor { name: "extra".into(), shape: vec![1], data: vec![1.0] });
    });
    refuse("another shape", "best.safetensors", &|_, tensors| {
        let bias = tensors.iter_mut().find(|tensor| tensor.name == "classify/bias").unwrap();
        (bias.shape, bias.data) = (vec![4], vec![0.0; 4]);
    });
    refuse("not a number", "best.safetensors", &|_, tensors| tensors[0].data[0] = f32::NAN);
    refuse("huge", "best.safetensors", &|_, tensors| {
        tensors.iter_mut().for_each(|tensor| tensor.data.fill(f32::MAX));
    });
    refuse("no moments", "last.safetensors", &|_, tensors| tensors.retain(|t| !t.name.starts_with("optimizer/")));
    refuse("counts near 2^64", "last.safetensors", &|progress, _| progress.totals.images = u64::MAX);
    refuse("another step", "last.safetensors", &|progress, _| progress.step = 2);
    insta::assert_snapshot!(messages.join("\n\n"));
}

/// Few validation images are soon all right: the loss tells which epoch is the best.
#[test]
fn the_best_weights_are_the_best() {
    let lab = Lab::new();
    let figures = |run: &str| -> (u32, Vec<(f64, f64)>) {
        let text = |file: &str| fs::read_to_string(lab.path(run).join(file)).unwrap();
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let epochs = text("metrics.jsonl");
        let epochs =
            epochs.lines().map(json).map(|e| (e["val_accuracy"].as_f64().unwrap(), e["val_loss"].as_f64().unwrap()));
        (json(&text("result.json"))["best_epoch"].as_u64().unwrap() as u32, epochs.collect())
    };
    let run = |name: &str, monitor: &str| {
        let monitor = format!("train.monitor={monitor}");
        lab.fine(&["run", "lab/e.yaml", "-o", name, "--set", "train.epochs=6", "--set", &monitor]);
        figures(name)
    };
    let (best, epochs) = run("accuracy", "val_accuracy");
    let most = epochs.iter().map(|epoch| epoch.0).fold(0.0, f64::max);
    let equal: Vec<usize> = (0..epochs.len()).filter(|&at| epochs[at].0 == most).collect();
    let least = equal.iter().copied().min_by(|&a, &b| epochs[a].1.total_cmp(&epochs[b].1)).unwrap();
    assert!(equal.len() > 1 && least > equal[0], "no tie that the loss decides: {epochs:?}");
    assert_eq!(best as usize, least + 1);
    let (best, epochs) = run("loss", "val_loss");
    let least = (0..epochs.len()).min_by(|&a, &b| epochs[a].1.total_cmp(&epochs[b].1)).unwrap();
    assert_eq!(best as usize, least + 1);
    // The default changes no identity, and what is evaluated is what was kept.
    let config = |run: &str| fs::read_to_string(lab.path(run).join("config.yaml")).unwrap();
    assert!(!config("accuracy").contains("monitor") && config("loss").contains("monitor: val_loss"));
    assert!(lab.refused(&["run", "lab/e.yaml", "--set", "train.monitor=accuracy"]).contains("val_accuracy"));
    // Weights of another epoch are not taken for the best.
    lab.unfinish("accuracy");
    let path = lab.path("accuracy/best.safetensors");
    let (mut progress, tensors) = vitx::trial::checkpoint::load(&path).unwrap();
    progress.epoch -= 1;
    vitx::trial::checkpoint::save(&path, &progress, &tensors).unwrap();
    let refused = lab.refused(&["trial", "accuracy"]);
    assert!(refused.contains(&format!("has the weights of epoch {}; the best epoch", progress.epoch)), "{refused}");
}

/// Classes that the data do not have would be predicted without a name.
#[test]
fn a_model_has_as_many_classes_as_its_data() {
    let lab = Lab::new();
    fs::write(lab.path("lab/m.vitx"), MODEL.replace("dim = 8", "dim = 8, num_classes = 3")).unwrap();
    lab.fine(&["run", "lab/e.yaml", "-o", "r"]);
    insta::assert_snapshot!(lab.refused(&["run", "lab/e.yaml", "-o", "more", "--param", "num_classes=5"]));
    assert!(!lab.path("more").exists());
}
