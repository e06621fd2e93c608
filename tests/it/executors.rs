//! Sweeps whose trials are jobs of an engine: a toy made of shell scripts, a real Slurm, a real Ray. Whatever is killed, the
//! table is that of a sweep on this machine.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use crate::support::{end, learnt, ran, shown, skipped, succeed, suspended::suspend, sweep, table, vitx, wait::until};

const GRID: [&str; 10] = [
    "-p",
    "depth=1",
    "-p",
    "patch_size=2,4",
    "--seeds",
    "2",
    "--set",
    "data.train_limit=200",
    "--set",
    "train.epochs=6",
];

const HALVING: [&str; 8] = [
    "-p",
    "train.optimizer.learning_rate=log(1e-5, 1e-2, 4)",
    "--stop",
    "halving",
    "--factor",
    "2",
    "--set",
    "data.train_limit=100",
];

/// A sweep of this machine with the same arguments, for comparison.
fn calm(arguments: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    succeed(sweep(folder.path(), arguments));
    folder
}

fn same(one: &Path, other: &Path) {
    assert_eq!(learnt(one), learnt(other));
    assert_eq!(table(one), table(other));
}

fn trials(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder.join("out/trials")).map_or_else(|_| Vec::new(), |all| all.flatten().map(|e| e.path()).collect())
}

/// `job.json` of all trials that have one.
fn jobs(folder: &Path) -> Vec<Json> {
    let read = |trial: &PathBuf| serde_json::from_str(&fs::read_to_string(trial.join("job.json")).ok()?).ok();
    trials(folder).iter().filter_map(read).collect()
}

fn attempts(folder: &Path) -> u64 {
    jobs(folder).iter().map(|job| job["attempt"].as_u64().unwrap()).sum()
}

fn epochs(folder: &Path) -> usize {
    let lines = |trial: &PathBuf| fs::read_to_string(trial.join("metrics.jsonl")).unwrap_or_default().lines().count();
    trials(folder).iter().map(lines).sum()
}

/// The processes that train in a folder.
fn training(folder: &Path) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Processes that end meanwhile cannot be read.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let of_folder = |word: &&[u8]| word.starts_with(folder.to_string_lossy().as_bytes());
        if words.get(1) == Some(&&b"trial"[..]) && words.iter().skip(2).any(of_folder) {
            found.push(pid);
        }
    }
    found
}

fn kill(pid: Pid) {
    // It may have just ended.
    let _ = kill_process(pid, Signal::KILL);
}

/// Kills a trial that trains, unless it has all that it was to learn.
fn killed_before_its_end(pid: Pid) -> bool {
    // Suspended, it cannot end after the look; it may have ended before.
    suspend(pid);
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    let trial = PathBuf::from(line.trim_end_matches('\0').rsplit('\0').next().unwrap_or_default());
    let before = trial.join("metrics.jsonl").exists() && !trial.join("result.json").exists();
    if before {
        kill(pid);
    }
    let _ = kill_process(pid, Signal::CONT);
    before
}

fn begin(mut command: Command, folder: &Path, log: &str) -> Child {
    let log = fs::File::create(folder.join(log)).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap()
}

fn said(folder: &Path, log: &str) -> String {
    fs::read_to_string(folder.join(log)).unwrap_or_default()
}

/// A sweep by the toy engine in a folder.
fn toy(folder: &Path, arguments: &[&str]) -> Command {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/toy_engine");
    fs::create_dir_all(folder.join("toy")).unwrap();
    let mut command = sweep(folder, arguments);
    let script = |name: &str| engine.join(name).display().to_string();
    command.args(["--executor", "command", "--submit", &format!("{} {{name}} {{script}}", script("submit"))]);
    command.args([
        "--poll",
        &format!("{} {{ids}}", script("poll")),
        "--cancel",
        &format!("{} {{ids}}", script("cancel")),
    ]);
    command.env("TOY", folder.join("toy"));
    command
}

#[test]
fn commands_run_a_sweep_whatever_is_killed() {
    let expected = calm(&GRID);
    let stormy = tempfile::tempdir().unwrap();
    let folder = stormy.path().canonicalize().unwrap();
    let begun = Instant::now();
    let start = |log| begin(toy(&folder, &[&GRID[..], &["--jobs", "2"]].concat()), &folder, log);
    let held = folder.join("toy/held");
    fs::create_dir(folder.join("toy")).unwrap();
    fs::write(&held, "").unwrap();
    let mut first = start("first.txt");
    until("two jobs", || jobs(&folder).len() == 2);
    first.kill().unwrap();
    first.wait().unwrap();
    // Its jobs go on, and the next sweep has them.
    assert_eq!(attempts(&folder), 2);
    let mut second = start("second.txt");
    until("they are taken over", || said(&folder, "second.txt").contains("are taken over"));
    fs::remove_file(&held).unwrap();
    until("a trial that is killed before its end", || training(&folder).into_iter().any(killed_before_its_end));
    // The sweep does not end while the engine is away for a while.
    fs::write(&held, "").unwrap();
    until("another attempt", || attempts(&folder) > jobs(&folder).len() as u64);
    fs::write(folder.join("toy/away"), "").unwrap();
    until("a word of it", || said(&folder, "second.txt").contains("does not answer"));
    fs::remove_file(folder.join("toy/away")).unwrap();
    fs::remove_file(&held).unwrap();
    let status = end(&mut second, || said(&folder, "second.txt"));
    assert!(status.success(), "{}", said(&folder, "second.txt"));
    let text = said(&folder, "second.txt");
    assert!(text.contains("2 jobs of command from before have not ended, and are taken over"), "{text}");
    assert!(text.contains("command answers again") && text.contains("as a job of command"), "{text}");
    assert!(attempts(&folder) <= 6, "{:?}", jobs(&folder));
    same(&folder, expected.path());
    // Every two seconds at most, but for what each sweep asks as it begins and as an attempt is in doubt.
    let (polls, most) = (said(&folder, "toy/polls").lines().count(), begun.elapsed().as_secs() / 2 + 10);
    assert!(polls as u64 <= most, "{polls} of {most} polls");
}

#[test]
fn rungs_are_reached_by_jobs_as_by_processes() {
    let expected = calm(&HALVING);
    let folder = tempfile::tempdir().unwrap();
    let text = succeed(toy(folder.path(), &[&HALVING[..], &["--jobs", "4"]].concat()));
    same(folder.path(), expected.path());
    assert!(text.contains("how long they take is not told here, for they run elsewhere"), "{text}");
}

#[test]
fn an_interrupted_sweep_has_its_jobs_save_and_a_closed_queue_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let arguments = ["-p", "depth=1", "--set", "data.train_limit=200", "--set", "train.epochs=100000"];
    let mut child = begin(toy(&path, &arguments), &path, "first.txt");
    until("an epoch", || epochs(&path) > 0);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = end(&mut child, || said(&path, "first.txt"));
    assert_eq!(status.code(), Some(130), "{}", said(&path, "first.txt"));
    assert!(training(&path).is_empty());
    assert!(trials(&path)[0].join("last.safetensors").exists());
    fs::write(path.join("toy/closed"), "").unwrap();
    let output = ran(&mut toy(&path, &arguments));
    assert_eq!(output.status.code(), Some(1));
    let text = shown(&output);
    assert!(text.contains("the executor command refuses") && text.contains("is closed"), "{text}");
    assert!(text.contains("vitx::sweep::executor"), "{text}");
}

#[test]
fn the_executor_stands_in_the_experiment_and_is_no_part_of_what_the_sweep_is() {
    let folder = tempfile::tempdir().unwrap();
    let text = "model: digits_vit.vitx\ndata: { name: digits }\nsweep:\n  params: { depth: [1, 2] }\n";
    fs::write(folder.path().join("digits_vit.vitx"), include_str!("../../experiments/digits_vit.vitx")).unwrap();
    fs::write(folder.path().join("a.yaml"), text).unwrap();
    let with = |executor: &str| {
        fs::write(folder.path().join("b.yaml"), format!("{text}  executor: {executor}\n")).unwrap();
        shown(&ran(&mut vitx(folder.path(), &["sweep", "b.yaml", "--dry-run", "--output", "o"])))
    };
    let planned = with("{ name: slurm, cpus: 2, gpus: 1, memory: 2G, time: 2h }");
    assert!(planned.contains("2 trials; how long they take is not told here"), "{planned}");
    assert!(!planned.contains("backend:"), "{planned}");
    // What is given goes first.
    let local = ran(&mut vitx(folder.path(), &["sweep", "b.yaml", "--dry-run", "--executor", "local"]));
    assert!(shown(&local).contains("of training"), "{}", shown(&local));
    let mut refusals: Vec<String> =
        ["slrum", "{ name: slurm, memory: much }", "{ name: local, gpus: 1 }", "{ name: command }"].map(with).to_vec();
    let given: [&[&str]; 3] = [
        &["--executor", "slrum"],
        &["--cpus", "2"],
        &["--executor", "ray", "--time", "2h", "--address", "http://127.0.0.1:1"],
    ];
    for more in given {
        let arguments = [&["sweep", "a.yaml", "--dry-run", "--output", "o"], more].concat();
        refusals.push(shown(&ran(&mut vitx(folder.path(), &arguments))));
    }
    insta::assert_snapshot!(refusals.join("\n"));
    // The directory of a sweep is the same, whoever runs it.
    fs::write(folder.path().join("b.yaml"), format!("{text}  executor: slurm\n")).unwrap();
    let quick = ["--set", "data.train_limit=50", "--set", "train.epochs=1", "--backend", "cpu", "--output", "same"];
    succeed(vitx(folder.path(), &[&["sweep", "a.yaml"], &quick[..]].concat()));
    let again = succeed(vitx(folder.path(), &[&["sweep", "b.yaml", "--executor", "local"], &quick[..]].concat()));
    assert!(again.contains("2 trials, all of them finished"), "{again}");
}

/// A Slurm of the test's own, which ends with it.
struct Slurm {
    folder: tempfile::TempDir,
}

impl Slurm {
    /// Where `VITX_SLURM` says that Slurm is installed, and may be started.
    fn start() -> Option<Self> {
        if std::env::var_os("VITX_SLURM").is_none() {
            skipped("no Slurm: VITX_SLURM=1 says that slurm-wlm and munge are installed, and that this is root");
            return None;
        }
        let slurm = Self { folder: tempfile::Builder::new().prefix("vs").tempdir_in("/tmp").unwrap() };
        let output = slurm.run(&["start"]);
        assert!(output.status.success(), "{}", shown(&output));
        Some(slurm)
    }

    fn run(&self, what: &[&str]) -> std::process::Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/slurm.sh");
        let mut command = Command::new(script);
        ran(command.arg(what[0]).arg(self.folder.path()).args(&what[1..]))
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).env("SLURM_CONF", self.folder.path().join("slurm.conf"));
        shown(&ran(&mut command))
    }

    fn sweep(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = sweep(folder, arguments);
        command.args(["--executor", "slurm"]).env("SLURM_CONF", self.folder.path().join("slurm.conf"));
        command
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        self.ask("scancel", &["--me"]);
        self.run(&["stop"]);
    }
}

#[test]
fn slurm_runs_a_sweep_whatever_is_killed() {
    let Some(slurm) = Slurm::start() else { return };
    let expected = calm(&GRID);
    let stormy = tempfile::tempdir().unwrap();
    let folder = stormy.path().canonicalize().unwrap();
    let more = ["--jobs", "4", "--gpus", "1", "--memory", "500M", "--time", "10m", "--partition", "main"];
    let start = |log| begin(slurm.sweep(&folder, &[&GRID[..], &more].concat()), &folder, log);
    let mut first = start("first.txt");
    until("four jobs", || jobs(&folder).len() == 4);
    first.kill().unwrap();
    first.wait().unwrap();
    // The first wave is one array, and has a device each.
    assert!(jobs(&folder).iter().all(|job| job["id"].as_str().unwrap().contains('_')), "{:?}", jobs(&folder));
    until("a trial", || !training(&folder).is_empty() || epochs(&folder) > 0);
    let devices: Vec<String> = training(&folder)
        .iter()
        .filter_map(|pid| fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok())
        .filter_map(|all| {
            let all = String::from_utf8_lossy(&all).into_owned();
            all.split('\0').find(|v| v.starts_with("CUDA_VISIBLE_DEVICES=")).map(str::to_owned)
        })
        .collect();
    assert!(devices.iter().all(|device| device.len() > "CUDA_VISIBLE_DEVICES=".len()), "{devices:?}");
    // A sweep that is typed again takes its jobs over; one trial is killed, one job is cancelled, one node dies.
    let mut second = start("second.txt");
    until("epochs", || epochs(&folder) > 0);
    if let Some(pid) = training(&folder).first() {
        kill(*pid);
    }
    if let Some(id) = jobs(&folder).last().and_then(|job| job["id"].as_str().map(str::to_owned)) {
        slurm.ask("scancel", &[&id]);
    }
    let pid = fs::read_to_string(slurm.folder.path().join("slurmd.vitx1.pid")).unwrap();
    kill(Pid::from_raw(pid.trim().parse().unwrap()).unwrap());
    let node = slurm.run(&["node", "1"]);
    assert!(node.status.success(), "{}", shown(&node));
    let status = end(&mut second, || said(&folder, "second.txt"));
    assert!(status.success(), "{}", said(&folder, "second.txt"));
    same(&folder, expected.path());
    assert!(attempts(&folder) <= 8, "{:?}", jobs(&folder));
    let text = said(&folder, "second.txt");
    assert!(
        text.contains("of slurm from before have not ended, and are taken over") || text.contains("finished"),
        "{text}"
    );
}

/// Many kills, at moments that look random: `VITX_KILLS` says how many.
#[test]
#[ignore = "takes minutes"]
fn slurm_at_random() {
    let Some(slurm) = Slurm::start() else { return };
    let kinds = [&GRID[..], &HALVING[..]];
    let kills: u32 = std::env::var("VITX_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mut seed = 2026_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut done = 0;
    for kind in kinds.iter().cycle() {
        let expected = calm(kind);
        let stormy = tempfile::tempdir().unwrap();
        let folder = stormy.path().canonicalize().unwrap();
        let start = || begin(slurm.sweep(&folder, &[kind, &["--jobs", "3"][..]].concat()), &folder, "log.txt");
        let mut sweep = start();
        while sweep.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(random(4000)));
            done += 1;
            match random(5) {
                0 | 1 => {
                    sweep.kill().unwrap();
                    sweep.wait().unwrap();
                    sweep = start();
                }
                2 => training(&folder).iter().take(1).for_each(|pid| kill(*pid)),
                3 => drop(slurm.ask("scancel", &["--me", "--state=running"])),
                _ => {
                    let node = (1 + random(2)).to_string();
                    let file = slurm.folder.path().join(format!("slurmd.vitx{node}.pid"));
                    let pid = fs::read_to_string(file).unwrap();
                    kill(Pid::from_raw(pid.trim().parse().unwrap()).unwrap());
                    let started = slurm.run(&["node", &node]);
                    assert!(started.status.success(), "{}", shown(&started));
                }
            }
            if done >= kills {
                break;
            }
        }
        end(&mut sweep, || said(&folder, "log.txt"));
        // A trial that was killed before it began, again and again, has failed; it gets another chance.
        succeed(slurm.sweep(&folder, &[kind, &["--jobs", "3"][..]].concat()));
        same(&folder, expected.path());
        if done >= kills {
            return;
        }
    }
}

#[test]
fn slurm_refuses_in_its_own_words_and_an_interrupted_sweep_leaves_no_job() {
    let Some(slurm) = Slurm::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let output = ran(&mut slurm.sweep(&path, &["-p", "depth=1", "--partition", "nope"]));
    assert_eq!(output.status.code(), Some(1));
    let text = shown(&output);
    assert!(text.contains("the executor slurm refuses") && text.contains("invalid partition"), "{text}");
    // Ctrl-C has the job save and end, and the queue is empty afterwards.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let arguments = ["-p", "depth=1", "--set", "data.train_limit=200", "--set", "train.epochs=100000"];
    let mut child = begin(slurm.sweep(&path, &arguments), &path, "first.txt");
    until("an epoch", || epochs(&path) > 0);
    let before = epochs(&path);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = end(&mut child, || said(&path, "first.txt"));
    assert_eq!(status.code(), Some(130), "{}", said(&path, "first.txt"));
    assert_eq!(slurm.ask("squeue", &["-h", "-o", "%i %T"]), "");
    assert!(epochs(&path) >= before && trials(&path).iter().any(|trial| trial.join("last.safetensors").exists()));
}

#[test]
fn ray_runs_a_sweep_whatever_is_killed() {
    let Some(ray) = std::env::var_os("VITX_RAY") else {
        skipped("no Ray: VITX_RAY names the program `ray` of PyPI's ray[default]");
        return;
    };
    let arguments = ["-p", "depth=1,2", "--set", "data.train_limit=200", "--set", "train.epochs=6"];
    let expected = calm(&arguments);
    // A short path: Ray puts sockets below it.
    let folder = tempfile::Builder::new().prefix("vr").tempdir_in("/tmp").unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/ray_sweep.sh");
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]).arg(script).arg(ray);
    command.arg(env!("CARGO_BIN_EXE_vitx")).arg(folder.path()).env("NO_COLOR", "1");
    command.args(["--backend", "cpu", "--threads", "1", "--jobs", "2"]).args(crate::support::QUICK).args(arguments);
    let output = ran(&mut command);
    assert!(output.status.success(), "{}", shown(&output));
    same(folder.path(), expected.path());
    let text = said(folder.path(), "second.txt");
    assert!(text.contains("of ray from before have not ended, and are taken over"), "{text}");
    assert!(attempts(folder.path()) <= 4, "{:?}", jobs(folder.path()));
}
