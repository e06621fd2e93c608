//! `vitx sweep .. --extend DIR`: a wider sweep, in which nothing is trained twice.

use std::{fs, path::Path, process::Stdio, thread, time::Duration};

use crate::support::{learnt, shown, succeed, sweep, table};

const TINY: [&str; 6] = ["--set", "data.train_limit=100", "--set", "train.epochs=2", "--jobs", "2"];
const RATES: &str = "train.optimizer.learning_rate=loguniform(1e-4, 1e-2)";

/// A sweep in the folder `out` of a new folder, with the same sweep at once beside it.
struct Wide {
    folder: tempfile::TempDir,
    at_once: tempfile::TempDir,
}

impl Wide {
    /// Trains the narrow sweep in `narrow`.
    fn new(narrow: &[&str]) -> Self {
        let [folder, at_once] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut command = sweep(folder.path(), &TINY);
        command.args(narrow);
        succeed(command);
        fs::rename(folder.path().join("out"), folder.path().join("narrow")).unwrap();
        Self { folder, at_once }
    }

    /// Trains the wide one; says what it said.
    fn extend(&self, wide: &[&str]) -> String {
        let text = succeed(sweep(self.folder.path(), &[&TINY, wide, &["--extend", "narrow"]].concat()));
        succeed(sweep(self.at_once.path(), &[&TINY, wide].concat()));
        self.same();
        text
    }

    fn same(&self) {
        assert_eq!(table(self.folder.path()), table(self.at_once.path()));
        assert_eq!(learnt(self.folder.path()), learnt(self.at_once.path()));
    }
}

/// All files below a folder with their bytes, but for locks, which come and go.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false if path.file_name().is_some_and(|name| name == "lock") => {}
            false => all.push((path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn more_values_and_seeds_are_the_sweep_at_once() {
    let wide = Wide::new(&["-p", "depth=1", "-p", "patch_size=2,4"]);
    let before = files(&wide.folder.path().join("narrow"));
    let text = wide.extend(&["-p", "depth=1,2", "-p", "patch_size=2,4", "--seeds", "2"]);
    assert!(text.contains("Of 8 trials, narrow has 2 finished: they are taken over, not trained twice"), "{text}");
    assert_eq!(text.matches("started").count(), 6, "{text}");
    assert!(files(&wide.folder.path().join("narrow")) == before, "the former sweep is as it was");
    // What lies in the wide one is as if it had been trained there.
    let again = succeed(sweep(
        wide.folder.path(),
        &[&TINY[..], &["-p", "depth=1,2", "-p", "patch_size=2,4", "--seeds", "2"]].concat(),
    ));
    assert!(!again.contains("started"), "{again}");
}

#[test]
fn more_trials_of_a_search_are_the_search_at_once() {
    let search =
        ["-p", "depth=int(1, 2)", "-p", RATES, "--strategy", "multivariate_tpe", "--stop", "asha", "--factor", "2"];
    let wide = Wide::new(&[&search[..], &["--trials", "6"]].concat());
    let text = wide.extend(&[&search[..], &["--trials", "11"]].concat());
    assert!(text.contains("are taken over, not trained twice"), "{text}");
}

#[test]
fn more_epochs_go_on_where_the_rates_allow_it() {
    let grid = ["-p", "depth=1", "-p", "patch_size=2,4"];
    let wide = Wide::new(&grid);
    let text = wide.extend(&[&grid[..], &["--set", "train.epochs=4"]].concat());
    assert!(text.contains("Of 2 trials, narrow has 2 finished with fewer epochs"), "{text}");
    for trial in fs::read_dir(wide.folder.path().join("out/trials")).unwrap() {
        let log = fs::read_to_string(trial.unwrap().path().join("log.txt")).unwrap();
        assert!(!log.contains("epoch 2/4") && log.contains("epoch 3/4") && log.contains("epoch 4/4"), "{log}");
    }
    // A schedule that looks ahead had other rates.
    let cosine = [&grid[..], &["--set", "train.schedule.kind=cosine"]].concat();
    let wide = Wide::new(&cosine);
    let arguments = [&TINY[..], &cosine, &["--set", "train.epochs=4", "--extend", "narrow"]].concat();
    let refused = sweep(wide.folder.path(), &arguments).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let text = shown(&refused);
    assert!(text.contains("has another learning rate in epoch 1, which"), "{text}");
    assert!(!wide.folder.path().join("out/trials.json").exists(), "{text}");
    wide.extend(&[&cosine[..], &["--set", "train.epochs=4", "--set", "train.schedule.restarts=[2]"]].concat());
}

#[test]
fn what_is_no_sweep_is_not_extended() {
    let folder = tempfile::tempdir().unwrap();
    let refused = sweep(folder.path(), &["-p", "depth=1", "--extend", "nowhere"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(shown(&refused).contains("`nowhere` is no sweep that could be extended"), "{}", shown(&refused));
    assert!(!folder.path().join("out").exists());
}

/// kill -9 while it takes over and trains, and while the former one trained: the same table.
#[test]
fn kill_9_in_between_loses_nothing() {
    let search = ["-p", "depth=1", "-p", RATES, "--strategy", "multivariate_tpe", "--set", "train.epochs=3"];
    let narrow = [&search[..], &["--trials", "6"]].concat();
    let wide = [&search[..], &["--trials", "10"]].concat();
    let [folder, at_once] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let begin = |arguments: &[&str], peace: u64, there: &str| {
        let mut command = sweep(folder.path(), &[&TINY, arguments].concat());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !folder.path().join(there).exists() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(peace));
        // It may have just ended.
        let _ = child.kill();
        child.wait().unwrap();
    };
    begin(&narrow, 500, "out/trials.json");
    fs::rename(folder.path().join("out"), folder.path().join("narrow")).unwrap();
    let wide_extended = [&wide[..], &["--extend", "narrow"]].concat();
    for peace in [30, 120, 250, 400, 600, 800] {
        begin(&wide_extended, peace, "narrow");
    }
    let mut command = sweep(folder.path(), &[&TINY, &wide_extended[..]].concat());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    succeed(sweep(at_once.path(), &[&TINY, &wide[..]].concat()));
    assert_eq!(table(folder.path()), table(at_once.path()));
    assert_eq!(learnt(folder.path()), learnt(at_once.path()));
}
