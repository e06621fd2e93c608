//! kill -9 of a sweep, of a trial, or of both, at any moment: the table is the same, bit for bit.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{end, learnt, ran, shown, sweep, table, wait::until};
use rustix::process::{Pid, Signal, kill_process};

/// Moments of one test; `VITX_KILLS` makes it more.
const KILLS: u64 = 50;

/// The longest a sweep is left in peace, in milliseconds, where it begins a trial in half of that: on a busy machine, every kill
/// would meet a sweep that plans.
const PEACE: u64 = 300;

pub const TINY: [&str; 6] = ["--set", "data.train_limit=100", "--set", "train.epochs=4", "--jobs", "2"];

const GRID: &[&str] = &["-p", "depth=1", "-p", "patch_size=2,4", "--seeds", "2"];

pub const HALVING: &[&str] =
    &["-p", "train.optimizer.learning_rate=log(1e-5, 1e-2, 6)", "--stop", "halving", "--factor", "2"];

pub const SEARCH: &[&str] = &[
    "-p",
    "depth=int(1, 3)",
    "-p",
    "train.optimizer.learning_rate=loguniform(1e-4, 1e-2)",
    "--strategy",
    "tpe",
    "--trials",
    "7",
    "--stop",
    "asha",
    "--factor",
    "2",
];

/// Numbers that look random and come again (Steele, Lea, Flood: SplitMix).
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The processes that train in a folder.
pub fn trials(folder: &Path) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Processes that end meanwhile cannot be read.
        let here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder);
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if here && line.split(|byte| *byte == 0).nth(1) == Some(b"trial") {
            found.push(pid);
        }
    }
    found
}

fn begin(folder: &Path, kind: &[&str]) -> Child {
    let mut command = sweep(folder, &TINY);
    command.args(kind).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

pub fn kill(pid: Pid) {
    // It may have just ended.
    let _ = kill_process(pid, Signal::KILL);
}

/// Waits for a sweep that nobody kills, and gives how long such a one is left in peace at least, in milliseconds, for kills to meet
/// trials too: twice as long as it took to begin one.
pub fn calm_sweep(folder: &Path, mut sweep: Child) -> u64 {
    let (began, here) = (Instant::now(), folder.canonicalize().unwrap());
    until("a trial begins", || !trials(&here).is_empty() || sweep.try_wait().unwrap().is_some());
    let peace = 2 * began.elapsed().as_millis() as u64;
    assert!(end(&mut sweep, String::new).success());
    peace
}

#[test]
fn kill_9_loses_nothing() {
    let kinds = [GRID, HALVING, SEARCH];
    let calm: Vec<tempfile::TempDir> = kinds.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let mut peace = PEACE;
    for (kind, folder) in kinds.iter().zip(&calm) {
        peace = peace.max(calm_sweep(folder.path(), begin(folder.path(), kind)));
    }
    let same = |folder: &Path, kind: usize| {
        assert_eq!(learnt(folder), learnt(calm[kind].path()), "{:?}", kinds[kind]);
        assert_eq!(table(folder), table(calm[kind].path()), "{:?}", kinds[kind]);
    };
    let kills = std::env::var("VITX_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let (mut seed, mut done, mut of_trials, mut sweeps) = (2026, 0, 0, 0);
    // On a busy machine, more of them: some must meet a trial.
    let enough = |done: u64, of_trials: usize| done >= kills && (of_trials > 5 || done >= 20 * kills);
    while !enough(done, of_trials) {
        let kind = sweeps % kinds.len();
        sweeps += 1;
        let stormy = tempfile::tempdir().unwrap();
        let folder = stormy.path().canonicalize().unwrap();
        let mut parent = begin(&folder, kinds[kind]);
        while !enough(done, of_trials) {
            let until = Instant::now() + Duration::from_millis(random(&mut seed) % peace);
            while Instant::now() < until && parent.try_wait().unwrap().is_none() {
                thread::sleep(Duration::from_millis(2));
            }
            if parent.try_wait().unwrap().is_some() {
                break;
            }
            done += 1;
            let (what, running) = (random(&mut seed) % 3, trials(&folder));
            if what != 0 {
                of_trials += running.len().min(1);
                if running.is_empty() && of_trials <= 5 {
                    peace += peace / 8;
                }
                running.iter().take(if what == 1 { 1 } else { running.len() }).for_each(|pid| kill(*pid));
            }
            if what != 1 {
                parent.kill().unwrap();
                parent.wait().unwrap();
                parent = begin(&folder, kinds[kind]);
            }
        }
        end(&mut parent, || format!("{:?}", kinds[kind]));
        // A trial that was killed before it began, again and again, has failed; it gets another chance.
        let mut command = sweep(&folder, &TINY);
        let output = ran(command.args(kinds[kind]));
        assert!(output.status.success(), "{}", shown(&output));
        same(&folder, kind);
    }
    assert!(of_trials > 5, "only {of_trials} of {done} kills met a trial");
}
