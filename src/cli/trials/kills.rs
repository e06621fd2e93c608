//! kill -9 of a process of a pack, of the sweep that has started it, or of both, in the middle: started again, the table and
//! every record are those of trials alone, bit for bit. The processes are this program of tests, on emulated devices.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{
    tests::{Left, left},
    *,
};
use crate::{
    backend::{
        Device, DeviceLocks,
        cuda::{Pack, emulated::Emulated},
    },
    experiment::{
        Definition, Overrides,
        sweep::{
            Event, Given, Plan, Planning, Policy, Pool, Rule, Running, SpaceArguments, Stopping, Sweep, Watch,
            executors::{PackSize, Packed},
        },
    },
    report::{Format, Record, View, render},
    train::Interrupt,
    trial::{Failure, FailureKind, RunResult, history},
};

/// The tests that are processes of the others, as this program knows them.
const PACK: &str = "cli::trials::kills::process_of_a_pack";
const SWEEP: &str = "cli::trials::kills::process_of_a_sweep";

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Six trials of one shape, two of which meet a NaN.
const GRID: &str = "grid";
/// Four, of which one comes to its end: all are saved at each rung, and go on from there in other packs.
const HALVING: &str = "halving";

fn sweep(kind: &str) -> Sweep {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/digits_vit.yaml");
    let set = [
        "params.projection_dim=8",
        "params.depth=1",
        "params.num_heads=1",
        "train.epochs=4",
        "train.batch_size=8",
        "data.train_limit=22",
        "data.test_limit=6",
        "data.validation_split=0.3",
    ];
    let set = set.map(str::to_owned).to_vec();
    let definition = Definition::read(&file, &Overrides { set: set.clone(), ..Overrides::default() }).unwrap();
    let (rates, seeds) = if kind == GRID { ("1e-3,1e-2,1e30", Some(2)) } else { ("log(1e-4,1e-2,4)", None) };
    let params = vec![format!("train.optimizer.learning_rate={rates}")];
    let halving = Stopping { rule: Rule::Halving, min_epochs: 1, factor: 2 };
    let given = Given {
        space: SpaceArguments { params, seeds, ..SpaceArguments::default() },
        stopping: (kind == HALVING).then_some(halving),
        jobs: 1,
        set,
        ..Given::default()
    };
    Sweep::new(&definition.settled().unwrap(), &given).unwrap()
}

/// What was given to this process behind the name of its test.
fn given_behind(name: &str) -> Vec<String> {
    std::env::args().skip_while(|argument| argument != name).skip(1).collect()
}

/// No test, but `vitx trial` of a pack, with the directories behind its name.
#[test]
#[ignore = "is a process of other tests"]
fn process_of_a_pack() {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let given = given_behind(PACK);
    if given.is_empty() {
        return;
    }
    // Behind what the program of tests has written.
    out::line("");
    let options = ["trial", "--report-ends", "--threads", "2", "--backend", "cpu", "--"].map(str::to_owned);
    let line = Line::parse_from(options.into_iter().chain(given));
    let interrupt = Interrupt::default();
    handle_interrupts(&interrupt, AFTER_THIS_STEP).unwrap();
    let options = Options { backend: Backend::Cuda, ..line.args.engine.options(interrupt).unwrap() };
    let pack = Pack::start(|| Ok(Emulated::default()), Duration::from_millis(20)).unwrap();
    let shared: Arc<dyn SharedDevice> = Arc::new(pack);
    run_on(&shared, &line.args, options, None).unwrap();
    // Each directory tells of its own end; a code is that of a process that was not killed.
    std::process::exit(0);
}

/// No test, but `vitx sweep` in the folder that it is in, of a kind and with as many trials to a pack as the words behind its
/// name say.
#[test]
#[ignore = "is a process of other tests"]
fn process_of_a_sweep() {
    let given = given_behind(SWEEP);
    let [kind, size] = &given[..] else { return };
    let folder = std::env::current_dir().unwrap();
    let device = Device {
        ordinal: 0,
        name: "emulated".into(),
        uuid: "GPU-00000000-0000-0000-0000-000000000000".into(),
        compute_capability: (9, 0),
        bytes: 1 << 30,
    };
    let locks = DeviceLocks::in_folder(&folder.join("locks"));
    let pool = Some(Pool::new(vec![device], locks, 1, "vitx sweep".into()));
    let size: u32 = size.parse().unwrap();
    let measure = |_: &Path, _| panic!("nothing is to be measured");
    let mut packed = Packed::of(folder.join("program"), Vec::new(), pool, PackSize::Of(size), Box::new(measure));
    let mut sweep = sweep(kind);
    let (out, _) = sweep.settle(Some(&folder.join("out")), |_| unreachable!("the folder is given")).unwrap();
    // What is planned is timed on the cpu.
    let options = Options { backend: Backend::Cpu, threads: Some(1), ..Options::default() };
    let policy =
        Policy { jobs: size as usize, retries: 0, fail_fast: false, worker: false, until_idle: None, deadline: None };
    let running = Running { folder: &out, options, policy, skip_invalid: false, dry_run: false, former: None };
    let ended = sweep.run(&running, &mut packed, &mut Told).unwrap();
    // As the command does.
    let failed = ended.failed || !ended.unfinished.is_empty();
    std::process::exit(i32::from(failed));
}

/// Prints what happens, for whoever looks for a mistake.
struct Told;

impl Watch for Told {
    fn planning(&mut self, _: Planning) {}

    fn plan(&mut self, _: &Plan) {}

    fn event(&mut self, event: &Event) {
        match event {
            Event::Started(planned, ..) => out::line(&format!("started {}", planned.folder.display())),
            Event::Note(note) => out::line(note),
            _ => {}
        }
    }
}

/// A folder for sweeps: its `program` is what they take for this very program.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tests = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\n\
         exec '{}' --exact --ignored --nocapture {PACK} \"$@\"\n",
        tests.display()
    );
    let program = folder.path().join("program");
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn begin(folder: &Path, kind: &str, size: u32) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", SWEEP, kind, &size.to_string()]).current_dir(folder);
    let output = fs::File::options().create(true).append(true).open(folder.join("said")).unwrap();
    command.stdout(output.try_clone().unwrap()).stderr(output).stdin(Stdio::null()).spawn().unwrap()
}

/// The processes of packs in a folder that live, with the directories of each.
fn packs(folder: &Path) -> Vec<(Pid, Vec<PathBuf>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Processes that end meanwhile cannot be read.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
        // The script has not begun the program yet, or it is of another test.
        let Some(name) = words.iter().position(|word| *word == PACK.as_bytes()) else { continue };
        let folders: Vec<PathBuf> = words[name + 1..].iter().map(|word| OsStr::from_bytes(word).into()).collect();
        if folders.iter().all(|own| own.starts_with(folder)) && !folders.is_empty() {
            found.push((pid, folders));
        }
    }
    found
}

fn kill(pid: Pid) {
    // It may have just ended.
    let _ = kill_process(pid, Signal::KILL);
}

fn lives(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !state.contains(") Z ")
}

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

/// Waits until a process that was not seen before has trained an epoch of one of its trials; nothing where the sweep ends
/// first.
fn in_the_middle(folder: &Path, sweep: &mut Child, seen: &mut HashSet<i32>) -> Option<(Pid, Vec<PathBuf>)> {
    let begin = Instant::now();
    // What was there when a process was first seen.
    let mut there: BTreeMap<i32, usize> = BTreeMap::new();
    while sweep.try_wait().unwrap().is_none() {
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
    trials: BTreeMap<String, (Left, Option<(FailureKind, String)>, Vec<u8>)>,
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
        (folder.file_name().unwrap().to_string_lossy().into_owned(), (left(folder), failure, best))
    };
    Table { lines, trials: folders.iter().map(of).collect() }
}

fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join("said")).unwrap()
}

/// Trials alone, and packed ones that are killed so often: both leave the same.
fn kills(kind: &str, victims: &[Victim]) {
    let (calm, stormy) = (place(), place());
    let code = begin(calm.path(), kind, 1).wait().unwrap().code();
    assert_eq!(code, Some(i32::from(kind == GRID)), "{}", said(calm.path()));
    let expected = table(calm.path());

    let folder = stormy.path().canonicalize().unwrap();
    let (mut seen, mut met, mut orphans) = (HashSet::new(), 0, 0);
    let mut sweep = begin(&folder, kind, 3);
    for victim in victims {
        let Some((pid, folders)) = in_the_middle(&folder, &mut sweep, &mut seen) else { break };
        if *victim != Victim::Sweep {
            kill(pid);
        }
        if *victim != Victim::Pack {
            sweep.kill().unwrap();
            sweep.wait().unwrap();
            orphans += usize::from(*victim == Victim::Sweep && lives(pid));
            sweep = begin(&folder, kind, 3);
        }
        met += usize::from(folders.len() > 1 && underway(&folders) > 0);
    }
    sweep.wait().unwrap();
    // What was killed again and again before it was saved has failed; it gets another chance.
    let code = begin(&folder, kind, 3).wait().unwrap().code();
    assert_eq!(code, Some(i32::from(kind == GRID)), "{}", said(&folder));
    let left = table(&folder);
    assert_eq!(left.lines, expected.lines, "{}", said(&folder));
    for (name, expected) in &expected.trials {
        let (own, failure, best) = &left.trials[name];
        assert_eq!((&own.0, &own.1, failure), (&expected.0.0, &expected.0.1, &expected.1), "{name}");
        // One that was killed between its record and its checkpoint, and is then stopped for what the record says, has none.
        if own.0.is_none() {
            continue;
        }
        assert!(own.2 == expected.0.2, "last weights of {name}");
        assert!(*best == expected.2, "best weights of {name}");
    }
    assert_eq!(left.trials.len(), expected.trials.len());
    assert!(met > 1, "only {met} of the kills met a pack: {}", said(&folder));
    // A sweep that is started again waits for the device that a pack still has.
    if victims.contains(&Victim::Sweep) {
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
