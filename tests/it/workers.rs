//! Several processes that work on one sweep: the table is that of one, bit for bit.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    support::{end, learnt, ran, shown, succeed, sweep, table, vitx, wait::until},
    sweep_kills::{HALVING, SEARCH, TINY, calm_sweep, kill, random, trials},
};

/// The longest that all of them are left in peace, in milliseconds, where a trial begins in half of that.
const PEACE: u64 = 400;

/// How many kills there are of each sweep in the long form; `VITX_KILLS` makes it more.
const KILLS: u64 = 60;

fn worker(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = vitx(folder, &["worker", "out", "--backend", "cpu", "--threads", "1"]);
    command.args(arguments);
    command
}

fn quiet(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn begin(folder: &Path, kind: &[&str], jobs: &str) -> Child {
    let mut command = sweep(folder, &TINY[..4]);
    command.args(kind).args(["--jobs", jobs]);
    quiet(command)
}

/// Several workers, the sweep itself, and nobody, one after the other, until it is done.
fn storm(kind: &[&str], kills: u64, seed: &mut u64) {
    let calm = tempfile::tempdir().unwrap();
    let peace = PEACE.max(calm_sweep(calm.path(), begin(calm.path(), kind, "2")));
    let mut done = 0;
    while done < kills {
        let stormy = tempfile::tempdir().unwrap();
        let folder = stormy.path().canonicalize().unwrap();
        let mut processes = vec![begin(&folder, kind, "1")];
        wait_for_sweep(&folder);
        processes.extend((0..2).map(|_| quiet(worker(&folder, &[]))));
        while done < kills {
            let until = Instant::now() + Duration::from_millis(random(seed) % peace);
            while Instant::now() < until && !all_ended(&mut processes) {
                thread::sleep(Duration::from_millis(2));
            }
            if all_ended(&mut processes) {
                break;
            }
            done += 1;
            let (what, running) = (random(seed) % 4, trials(&folder));
            if what != 0 {
                let which = random(seed) as usize % running.len().max(1);
                running
                    .iter()
                    .skip(if what == 1 { which } else { 0 })
                    .take(if what == 1 { 1 } else { usize::MAX })
                    .for_each(|pid| kill(*pid));
            }
            if what != 1 {
                // The sweep, or a worker; all of them now and then.
                let which = random(seed) as usize % processes.len();
                for (index, process) in processes.iter_mut().enumerate() {
                    if what == 3 || index == which {
                        let _ = process.kill();
                        process.wait().unwrap();
                        *process = match random(seed) % 3 {
                            0 => begin(&folder, kind, "1"),
                            _ => quiet(worker(&folder, &[])),
                        };
                    }
                }
            }
        }
        for process in &mut processes {
            end(process, || format!("{kind:?}"));
        }
        // A trial that was killed before it began, again and again, has failed; it gets another chance.
        let mut last = sweep(&folder, &TINY[..4]);
        last.args(kind).args(["--jobs", "2"]);
        succeed(last);
        assert_eq!(learnt(&folder), learnt(calm.path()), "{kind:?}");
        assert_eq!(table(&folder), table(calm.path()), "{kind:?}");
    }
}

fn all_ended(processes: &mut [Child]) -> bool {
    processes.iter_mut().all(|process| process.try_wait().unwrap().is_some())
}

fn wait_for_sweep(folder: &Path) {
    until("a sweep", || folder.join("out/sweep/config.yaml").exists());
}

#[test]
fn workers_and_a_sweep_that_are_killed_at_random_end_with_the_table_of_one() {
    storm(HALVING, 4, &mut 5);
}

#[test]
#[ignore = "takes minutes"]
fn workers_and_a_sweep_that_are_killed_at_random_end_with_the_table_of_one_again_and_again() {
    let kills = std::env::var("VITX_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let mut seed = 2027;
    for kind in [HALVING, SEARCH] {
        storm(kind, kills, &mut seed);
    }
}

#[test]
fn workers_train_what_a_sweep_without_jobs_has_planned() {
    let (calm, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(end(&mut begin(calm.path(), SEARCH, "2"), String::new).success());
    let mut plans = sweep(folder.path(), &TINY[..4]);
    plans.args(SEARCH).args(["--jobs", "0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut plans = plans.spawn().unwrap();
    wait_for_sweep(folder.path());
    let workers: Vec<Child> = ["1", "2"].map(|jobs| quiet(worker(folder.path(), &["--jobs", jobs]))).into();
    for mut worker in workers {
        assert!(end(&mut worker, String::new).success());
    }
    end(&mut plans, String::new);
    let output = plans.wait_with_output().unwrap();
    let text = shown(&output);
    // It trains nothing, tells what others do, and ends with the table.
    assert!(output.status.success() && !text.contains("\nstarted") && text.contains("\nfinished"), "{text}");
    assert!(text.contains("`vitx worker` trains") && text.contains("┆ finished "), "{text}");
    assert_eq!(table(folder.path()), table(calm.path()));
    // Afterwards there is nothing to do.
    let text = succeed(worker(folder.path(), &[]));
    assert!(text.starts_with("Every trial has ended.") && !text.contains("started"), "{text}");
}

/// What cannot be is refused before a worker waits for a sweep.
#[test]
fn packs_without_a_device_for_them_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let output = ran(&mut worker(folder.path(), &["--pack", "4", "--until-idle", "1h"]));
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(shown(&output).trim());
}

#[test]
fn a_worker_has_a_time_budget_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let text = succeed(worker(folder.path(), &["--until-idle", "1h", "--time-budget", "0s"]));
    assert!(text.contains("No sweep has begun in out."), "{text}");
    let arguments = ["-p", "depth=1", "-p", "num_heads=2,4", "--set", "data.train_limit=50"];
    let planned = ran(&mut sweep(folder.path(), &[&arguments[..], &["--time-budget", "0s"]].concat()));
    assert_eq!(planned.status.code(), Some(130), "{}", shown(&planned));
    let over = ran(&mut worker(folder.path(), &["--time-budget", "0s"]));
    let text = shown(&over);
    assert!(over.status.code() == Some(130) && !text.contains("started"), "{text}");
    assert!(text.contains("The time budget is used up: 2 trials have not ended. Other workers go on"), "{text}");
    // The budget of the sweep is the sweep's alone.
    let text = succeed(worker(folder.path(), &[]));
    assert!(text.contains("Every trial has ended."), "{text}");
    let done = ran(&mut worker(folder.path(), &["--time-budget", "0s"]));
    assert!(done.status.success(), "{}", shown(&done));
}

#[test]
fn a_worker_needs_a_sweep_and_says_what_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let none = ran(&mut worker(folder.path(), &[]));
    assert!(none.status.code() == Some(1) && shown(&none).contains("no sweep has begun in `out`"), "{}", shown(&none));
    let text = succeed(worker(folder.path(), &["--until-idle", "0.2s"]));
    assert!(text.contains("No sweep has begun in out."), "{text}");
    let mut run = vitx(folder.path(), &["run", "digits_vit.yaml", "-o", "run", "--threads", "1"]);
    run.args(["--set", "train.epochs=1", "--set", "data.train_limit=100", "--set", "data.test_limit=50"]);
    succeed(run);
    let of_run = ran(&mut vitx(folder.path(), &["worker", "run"]));
    assert!(
        of_run.status.code() == Some(1) && shown(&of_run).contains("is no directory of a sweep"),
        "{}",
        shown(&of_run)
    );

    // What failed for good is not tried again by a worker, and makes its exit code.
    let rates = "train.optimizer.learning_rate=1e-3,1e30";
    let failing = ran(&mut sweep(folder.path(), &["-p", rates, "--retries", "1"]));
    assert_eq!(failing.status.code(), Some(1), "{}", shown(&failing));
    let agreed = fs::read_to_string(folder.path().join("out/sweep/policy.json")).unwrap();
    assert!(agreed.contains("\"retries\": 1"), "{agreed}");
    let output = ran(&mut worker(folder.path(), &[]));
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("some have failed") && !text.contains("started"), "{text}");
    // Nor is it found idle where another one trains.
    let arguments = ["sweep", "digits_vit.yaml", "-o", "long", "-p", "depth=1", "--set", "train.epochs=100000"];
    let mut long = vitx(folder.path(), &arguments);
    long.args(["--threads", "1", "--backend", "cpu", "--set", "data.train_limit=100"]);
    let mut long = quiet(long);
    let begun = || {
        fs::read_dir(folder.path().join("long/trials")).is_ok_and(|mut trials| {
            trials.next().is_some_and(|trial| trial.unwrap().path().join("metrics.jsonl").exists())
        })
    };
    until("an epoch", begun);
    let text = succeed(vitx(folder.path(), &["worker", "long", "--until-idle", "1", "--threads", "1"]));
    assert!(text.contains("waiting  depth=1") && text.contains("Nothing was free"), "{text}");
    kill(rustix::process::Pid::from_child(&long));
    long.wait().unwrap();
    trials(&folder.path().canonicalize().unwrap()).into_iter().for_each(kill);
}

#[test]
fn a_trial_that_lingers_is_the_same_as_one_that_begins_again() {
    // All have a place: each waits in memory at its rungs. With one place, each makes room there.
    let folders = ["6", "1"].map(|jobs| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = sweep(folder.path(), &TINY[..4]);
        command.args(HALVING).args(["--jobs", jobs]);
        (succeed(command), folder)
    });
    let [(lingering, one), (beginning, other)] = &folders;
    assert!(lingering.contains("\ngoes on  ") && !lingering.contains("\npaused"), "{lingering}");
    assert!(beginning.contains("\npaused"), "{beginning}");
    assert_eq!(learnt(one.path()), learnt(other.path()));
    let mut compared = 0;
    for trial in fs::read_dir(one.path().join("out/trials")).unwrap() {
        let trial = trial.unwrap();
        for name in ["last.safetensors", "best.safetensors"] {
            let read = |path: &Path| fs::read(path.join(name)).unwrap();
            let same = read(&trial.path()) == read(&other.path().join("out/trials").join(trial.file_name()));
            assert!(same, "{name} of {:?}", trial.file_name());
            compared += 1;
        }
    }
    assert_eq!(compared, 12);
}
