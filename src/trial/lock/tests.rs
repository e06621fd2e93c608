#![cfg(unix)]

use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime},
};

use super::{around::patience, owner::Owner, process::Process, *};
use crate::{
    files::{PART, replace},
    trial::names::{CLAIM, OWNER},
    wait::{PATIENCE, until},
};

/// A machine whose file systems know no locks. It is given up after half a second of silence, which a machine that does
/// much else may keep: it is no holder that others are to wait for.
fn host(name: &str) -> Around {
    let process = Process { host: name.into(), ..Process::this() };
    let flock = |_: &File| Err(TryLockError::Error(rustix::io::Errno::NOSYS.into()));
    Around { process, flock, distrust: false, beat: Duration::from_millis(40), seen: Arc::default() }
}

/// One that is given up after twelve seconds of silence.
fn steady(name: &str) -> Around {
    Around { beat: Duration::from_secs(1), ..host(name) }
}

fn owner(folder: &Path) -> Owner {
    serde_json::from_slice(&fs::read(folder.join(OWNER)).unwrap()).unwrap()
}

/// What a process of a host left that died without a word, counting every `every` milliseconds.
fn leave(folder: &Path, around: &Around, every: u64) {
    let lock = Lock::take_in(folder, around).unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(folder.join(OWNER)).unwrap()).unwrap();
    drop(lock);
    record["every"] = every.into();
    fs::write(folder.join(OWNER), record.to_string()).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn where_the_system_has_no_locks_a_file_tells_who_holds_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let b = host("b");
    // On its own machine it is told at once, also of one that gives no sign of life for long; elsewhere after one.
    let rare = Around { beat: Duration::from_secs(24 * 3600), ..host("a") };
    for (a, around) in [(&rare, host("a")), (&steady("a"), b.clone())] {
        let lock = Lock::take_in(folder.path(), a).unwrap();
        assert_eq!(names(folder.path()), ["lock", "lock.json"]);
        assert!(!Lock::is_free_in(folder.path(), a).unwrap() && !Lock::is_free_in(folder.path(), &b).unwrap());
        let before = owner(folder.path());
        let error = Lock::take_in(folder.path(), &around).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("in use by another vitx process: process {} on a", std::process::id())),
            "{error}"
        );
        assert_eq!(before == owner(folder.path()), a.beat == rare.beat);
        drop(lock);
    }
    assert_eq!(names(folder.path()), ["lock"]);
    assert!(Lock::is_free_in(folder.path(), &b).unwrap());
    drop(Lock::take_in(folder.path(), &b).unwrap());
}

#[test]
fn where_locks_work_there_is_no_file_but_that_of_another_machine_counts() {
    let folder = tempfile::tempdir().unwrap();
    let local = Around { flock: File::try_lock, ..host("a") };
    let lock = Lock::take_in(folder.path(), &local).unwrap();
    assert_eq!(names(folder.path()), ["lock"]);
    assert!(!Lock::is_free_in(folder.path(), &local).unwrap());
    drop(lock);
    let other = Lock::take_in(folder.path(), &steady("b")).unwrap();
    assert!(!Lock::is_free_in(folder.path(), &local).unwrap());
    assert!(matches!(Lock::take_in(folder.path(), &local), Err(TrialError::Locked { .. })));
    drop(other);
    // Where they are not trusted, there are both.
    let both = Around { distrust: true, ..local.clone() };
    let lock = Lock::take_in(folder.path(), &both).unwrap();
    assert_eq!(names(folder.path()), ["lock", "lock.json"]);
    assert!(!Lock::is_free_in(folder.path(), &local).unwrap());
    drop(lock);
    // A disk that fails has locks, and the error is told.
    let fails = |_: &File| Err(TryLockError::Error(rustix::io::Errno::IO.into()));
    let error = Lock::take_in(folder.path(), &Around { flock: fails, ..local }).unwrap_err();
    assert!(error.to_string().starts_with("cannot lock"), "{error}");
}

#[test]
fn the_dead_of_the_same_machine_are_given_up_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let mut dead = host("a");
    (dead.process.pid, dead.process.started) = (child.id(), Some(1));
    child.wait().unwrap();
    // By waiting, nobody would have it for two hours.
    for _ in 0..3 {
        leave(folder.path(), &dead, 600_000);
        assert!(Lock::is_free_in(folder.path(), &host("a")).unwrap());
        leave(folder.path(), &dead, 600_000);
        drop(Lock::take_in(folder.path(), &host("a")).unwrap());
        // In another container, numbers of processes say nothing.
        leave(folder.path(), &dead, 600_000);
        let mut container = host("a");
        container.process.boot = Some("another".into());
        assert!(!Lock::is_free_in(folder.path(), &container).unwrap());
        fs::remove_file(folder.path().join(OWNER)).unwrap();
    }
    assert_eq!(names(folder.path()), ["lock"]);
}

/// Who takes a dead one's lock away may stand still as it does so: the others look at it now and then.
#[test]
fn who_waits_for_another_to_break_a_lock_does_so_in_pauses() {
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let mut dead = host("a");
    (dead.process.pid, dead.process.started) = (child.id(), Some(1));
    child.wait().unwrap();
    leave(folder.path(), &dead, 600_000);
    let breaks = Lock::take_in(other.path(), &host("a")).unwrap();
    fs::copy(other.path().join(OWNER), folder.path().join(CLAIM)).unwrap();
    let path = folder.path().to_owned();
    // It pauses for half a second.
    let around = Around { beat: Duration::from_secs(3600), ..host("a") };
    let waits = thread::spawn(move || drop(Lock::take_in(&path, &around).unwrap()));
    let (begin, mut tries) = (Instant::now(), HashSet::new());
    while begin.elapsed() < Duration::from_secs(1) {
        tries.extend(names(folder.path()).into_iter().filter(|name| name.starts_with(PART)));
    }
    let most = 2 * begin.elapsed().as_secs() as usize + 4;
    assert!(tries.len() <= most, "{} tries", tries.len());
    fs::remove_file(folder.path().join(CLAIM)).unwrap();
    waits.join().unwrap();
    drop(breaks);
    assert_eq!(names(folder.path()), ["lock"]);
}

#[test]
fn the_silent_of_other_machines_are_given_up_by_the_clock_of_who_looks() {
    let folder = tempfile::tempdir().unwrap();
    let year = Duration::from_secs(365 * 24 * 3600);
    for time in [SystemTime::now() - 9 * year, SystemTime::now(), SystemTime::now() + 9 * year] {
        leave(folder.path(), &host("a"), 20);
        File::options().write(true).open(folder.path().join(OWNER)).unwrap().set_modified(time).unwrap();
        let b = host("b");
        let begin = Instant::now();
        // The first look never tells; nor do looks that were too long ago.
        assert!(!Lock::is_free_in(folder.path(), &b).unwrap());
        thread::sleep(patience(Duration::from_millis(20)));
        assert!(!Lock::is_free_in(folder.path(), &b).unwrap());
        until("given up", || Lock::is_free_in(folder.path(), &b).unwrap());
        assert!(begin.elapsed() >= patience(Duration::from_millis(20)));
        assert_eq!(names(folder.path()), ["lock"]);
    }
    // One that lives is not, whatever the clocks say. It counts between any two looks, as no thread would for sure.
    leave(folder.path(), &host("a"), 20);
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join(OWNER)).unwrap()).unwrap();
    let (b, begin) = (host("b"), Instant::now());
    for beat in 1.. {
        record["beat"] = beat.into();
        fs::write(folder.path().join(OWNER), record.to_string()).unwrap();
        let file = File::options().write(true).open(folder.path().join(OWNER)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!Lock::is_free_in(folder.path(), &b).unwrap());
        if begin.elapsed() > 2 * patience(Duration::from_millis(20)) && beat > 50 {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    fs::remove_file(folder.path().join(OWNER)).unwrap();
    // A file that says nothing is waited for as well.
    fs::write(folder.path().join(OWNER), "{").unwrap();
    assert!(!Lock::is_free_in(folder.path(), &b).unwrap());
    drop(Lock::take_in(folder.path(), &b).unwrap());
}

#[test]
fn of_those_who_break_a_lock_at_once_one_has_it() {
    const HOSTS: usize = 5;
    const ROUNDS: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<PathBuf> = Arc::new(folder.path().to_owned());
    let (holders, taken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for round in 0..ROUNDS {
        leave(&path, &host("dead"), 1);
        let threads: Vec<_> = (0..HOSTS)
            .map(|number| {
                let (path, holders, taken) = (path.clone(), holders.clone(), taken.clone());
                thread::spawn(move || {
                    let around = Around { beat: Duration::from_secs(5), ..host(&format!("h{number}")) };
                    // By who only looks as well.
                    if number == 0 {
                        until("seen", || {
                            Lock::is_free_in(&path, &around).unwrap() || taken.load(Ordering::SeqCst) > round
                        });
                        return;
                    }
                    // Those who come too late wait for a sign of life, which they are not given here.
                    let begin = Instant::now();
                    while taken.load(Ordering::SeqCst) <= round && begin.elapsed() < PATIENCE {
                        if !Lock::is_free_in(&path, &around).unwrap() {
                            continue;
                        }
                        let own = super::owner::Owned::try_take(&path, &around);
                        let Some(owned) = own.unwrap() else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                        thread::sleep(Duration::from_millis(2));
                        owned.held().check().unwrap();
                        taken.store(round + 1, Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(taken.load(Ordering::SeqCst), round + 1);
    }
    assert_eq!(names(&path), ["lock"]);
}

#[test]
fn who_has_lost_a_directory_notices_and_writes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let first = Lock::take_in(folder.path(), &host("a")).unwrap();
    let noticed = Arc::new(AtomicBool::new(false));
    let lost = noticed.clone();
    first.when_lost(move || lost.store(true, Ordering::SeqCst));
    replace(&folder.path().join("a"), b"first").unwrap();
    // It was suspended, and another one has broken its lock.
    fs::remove_file(folder.path().join(OWNER)).unwrap();
    // It is another process; the first hold of this one refuses what it writes.
    let Ok(second) = super::owner::Owned::take(folder.path(), &host("b")) else { panic!("it is not free") };
    let error = replace(&folder.path().join("a"), b"again").unwrap_err();
    assert!(matches!(error, FileError::Lost { .. }), "{error}");
    until("noticed", || noticed.load(Ordering::SeqCst));
    drop(first);
    // What the first one does at its end leaves the second one's alone, which goes on counting.
    let before = owner(folder.path());
    assert_eq!(before.process.host, "b");
    until("beat", || owner(folder.path()) != before);
    replace(&folder.path().join("a"), b"second").unwrap();
    drop(second);
    assert_eq!(names(folder.path()), ["a", "lock"]);
    // Nor may it be written when the other one is through.
    let first = Lock::take_in(folder.path(), &host("a")).unwrap();
    fs::remove_file(folder.path().join(OWNER)).unwrap();
    let error = replace(&folder.path().join("a"), b"again").unwrap_err().to_string();
    assert!(error.contains("another one has taken it over"), "{error}");
    drop(first);
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"second");
}

#[test]
fn a_file_system_without_links_has_locks_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let around = host("a");
    // As the fallback writes it, which may be met half-written.
    fs::write(folder.path().join(OWNER), "").unwrap();
    assert!(!Lock::is_free_in(folder.path(), &around).unwrap());
    let begin = Instant::now();
    drop(Lock::take_in(folder.path(), &around).unwrap());
    assert!(begin.elapsed() >= patience(around.beat) / 2);
}
