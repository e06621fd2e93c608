//! kill -9 of a process of a pack, of the sweep that has started it, of a worker, in the middle: started again, the table and every
//! record are those of trials alone, bit for bit.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
    process::Child,
    slice,
    time::{Duration, Instant},
};

use rustix::process::Pid;

use self::processes::{ALL, GRID, HALVING, PLANNER, WORKER, begin, kill, lives, packs, place};
use super::{
    tests::{Left, left},
    *,
};
use crate::{
    report::{Format, Record, View, render},
    trial::{Failure, FailureKind, RunResult, history},
};

mod processes;

/// How long a whole sweep may take on a busy machine, and anything of it.
const PATIENCE: Duration = Duration::from_secs(900);

fn epochs(folders: &[PathBuf]) -> usize {
    // A line may be half written.
    folders.iter().map(|folder| fs::read(history::path(folder)).map_or(0, |bytes| bytes.len())).sum()
}

/// Trials that have neither ended nor failed.
fn underway(folders: &[PathBuf]) -> usize {
    let ends =
        |folder: &PathBuf| RunResult::read(folder).unwrap().is_some() || Failure::read(folder).unwrap().is_some();
    folders.iter().filter(|folder| !ends(folder)).count()
}

/// Waits for something.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "there is never {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a process that was not seen before has trained an epoch of one of its trials; nothing where all that start
/// such processes end first.
fn in_the_middle(folder: &Path, starting: &mut [Child], seen: &mut HashSet<i32>) -> Option<(Pid, Vec<PathBuf>)> {
    let begin = Instant::now();
    // What was there when a process was first seen.
    let mut there: BTreeMap<i32, usize> = BTreeMap::new();
    while starting.iter_mut().any(|process| process.try_wait().unwrap().is_none()) {
        assert!(begin.elapsed() < PATIENCE, "nothing is trained");
        for (pid, folders) in packs(folder) {
            let number = pid.as_raw_nonzero().get();
            let epochs = epochs(&folders);
            let before = there.entry(number).or_insert(epochs);
            // What was trained after the last checkpoint is taken back.
            *before = epochs.min(*before);
            if !seen.contains(&number) && epochs > *before {
                seen.insert(number);
                return Some((pid, folders));
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
    None
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Pack,
    Sweep,
    Both,
}

/// What a sweep has left: the table but for times, and of each trial its records, how it failed, its weights.
#[derive(Debug, PartialEq)]
struct Table {
    lines: Vec<Vec<String>>,
    trials: BTreeMap<String, OfTrial>,
}

#[derive(Debug, PartialEq)]
struct OfTrial {
    left: Left,
    failure: Option<(FailureKind, String)>,
    best: Vec<u8>,
}

fn table(folder: &Path) -> Table {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(folder.join("out/trials")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let records: Vec<Record> = folders.iter().map(|folder| Record::read_or_damaged(folder)).collect();
    let text = render(&records, &View { format: Format::Csv, ..View::default() }).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let measured = ["time", "predicted time", "img/s", "memory", "predicted memory"];
    let kept: Vec<bool> = reader.headers().unwrap().iter().map(|name| !measured.contains(&name)).collect();
    let line = |row: csv::StringRecord| {
        row.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(cell, _)| cell.to_owned()).collect()
    };
    let lines = reader.records().map(|row| line(row.unwrap())).collect();
    let of = |folder: &PathBuf| {
        let failure = Failure::read(folder).unwrap().map(|failure| (failure.kind, failure.reason));
        let best = fs::read(Directory::new(folder).best()).unwrap_or_default();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        (name, OfTrial { left: left(folder), failure, best })
    };
    Table { lines, trials: folders.iter().map(of).collect() }
}

fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join("said")).unwrap()
}

/// Waits for the end of a process, and gives its code.
fn ended(what: &str, folder: &Path, process: &mut Child) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status.code();
        }
        if begin.elapsed() >= PATIENCE {
            let _ = process.kill();
            panic!("there is never {what}: {}", said(folder));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a sweep to its end, and gives what it leaves.
fn to_the_end(folder: &Path, kind: &str, size: u32) -> Table {
    let mut sweep = begin(folder, kind, size, ALL);
    let code = ended("the end of the sweep", folder, &mut sweep);
    assert_eq!(code, Some(i32::from(kind == GRID)), "{}", said(folder));
    table(folder)
}

fn assert_same(left: &Table, expected: &Table) {
    assert_eq!(left.lines, expected.lines);
    assert_eq!(left.trials.len(), expected.trials.len());
    for (name, expected) in &expected.trials {
        let own = &left.trials[name];
        let records = |of: &OfTrial| (of.left.0.clone(), of.left.1.clone(), of.failure.clone());
        assert_eq!(records(own), records(expected), "{name}");
        // One that was killed between its record and its checkpoint, and is then stopped for what the record says, has none.
        if own.left.0.is_none() {
            continue;
        }
        assert!(own.left.2 == expected.left.2, "last weights of {name}");
        assert!(own.best == expected.best, "best weights of {name}");
    }
}

/// Trials alone, and packed ones that are killed so often: both leave the same.
fn kills(kind: &str, victims: &[Victim]) {
    let (calm, stormy) = (place(), place());
    let expected = to_the_end(calm.path(), kind, 1);
    let folder = stormy.path().canonicalize().unwrap();
    let (mut seen, mut met, mut orphans) = (HashSet::new(), 0, 0);
    let mut sweep = begin(&folder, kind, 3, ALL);
    let mut left = victims.iter().copied().peekable();
    while let Some(&victim) = left.peek()
        && let Some((pid, folders)) = in_the_middle(&folder, slice::from_mut(&mut sweep), &mut seen)
    {
        if victim != Victim::Sweep {
            kill(pid);
        }
        if victim != Victim::Pack {
            sweep.kill().unwrap();
            sweep.wait().unwrap();
        }
        let orphan = victim == Victim::Sweep && lives(pid);
        if victim != Victim::Pack {
            sweep = begin(&folder, kind, 3, ALL);
        }
        orphans += usize::from(orphan);
        met += usize::from(folders.len() > 1 && underway(&folders) > 0);
        // Where the pack has ended before its sweep was killed, the next one is to be left alone.
        if orphan || victim != Victim::Sweep {
            left.next();
        }
    }
    ended("the end of a sweep that was killed", &folder, &mut sweep);
    // What was killed again and again before it was saved has failed; it gets another chance.
    assert_same(&to_the_end(&folder, kind, 3), &expected);
    assert!(met > 0, "none of the kills met a pack: {}", said(&folder));
    // A sweep that is started again waits for the device that a pack still has. At rungs there may be none that lives so long.
    if kind == GRID && victims.contains(&Victim::Sweep) {
        assert!(orphans > 0, "{}", said(&folder));
    }
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn packs_and_sweeps_that_are_killed_leave_what_trials_alone_leave() {
    kills(GRID, &[Victim::Sweep, Victim::Pack, Victim::Both]);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn packs_that_are_killed_at_rungs_go_on_from_there() {
    kills(HALVING, &[Victim::Both, Victim::Pack, Victim::Sweep, Victim::Both]);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn workers_that_are_killed_with_their_packs_leave_the_same() {
    let (calm, stormy) = (place(), place());
    let expected = to_the_end(calm.path(), HALVING, 1);
    let folder = stormy.path().canonicalize().unwrap();
    let mut sweep = begin(&folder, HALVING, 2, PLANNER);
    let mut workers = [(); 2].map(|()| begin(&folder, HALVING, 2, WORKER));
    let (mut seen, mut met) = (HashSet::new(), 0);
    for number in 0..3 {
        let Some((pid, folders)) = in_the_middle(&folder, &mut workers, &mut seen) else { break };
        kill(pid);
        met += usize::from(underway(&folders) > 0);
        let worker = &mut workers[number % 2];
        worker.kill().unwrap();
        worker.wait().unwrap();
        *worker = begin(&folder, HALVING, 2, WORKER);
    }
    for worker in &mut workers {
        ended("the end of a worker", &folder, worker);
    }
    // Where something has failed for good, it waits for what nobody does.
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    assert!(met > 0, "{}", said(&folder));
    assert_same(&to_the_end(&folder, HALVING, 2), &expected);
}
