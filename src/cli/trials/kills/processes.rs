//! The processes of the tests of kills: `vitx trial` of a pack, `vitx sweep`, `vitx worker`, as tests of this very program, on emulated
//! devices.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{
    super::{AFTER_THIS_STEP, Args, handle_interrupts, out, run_on},
    wait_for,
};
use crate::{
    backend::{
        Backend, Device, DeviceLocks, SharedDevice,
        cuda::{Pack, emulated::Emulated},
    },
    experiment::{
        Definition, ExperimentError, Overrides,
        sweep::{
            Event, Given, Plan, Planning, Policy, Pool, Rule, Running, SpaceArguments, Stopping, Sweep, Watch,
            executors::{PackSize, Packed, Room, Scales},
        },
        training::Options,
    },
    train::Interrupt,
};

/// The tests that are processes of the others, as this program knows them.
const PACK: &str = "cli::trials::kills::processes::process_of_a_pack";
const SWEEP: &str = "cli::trials::kills::processes::process_of_a_sweep";

/// Six trials of one shape, two of which meet a NaN.
pub const GRID: &str = "grid";
/// Four, of which one comes to its end: all are saved at each rung, and go on from there in other packs.
pub const HALVING: &str = "halving";

/// `vitx sweep`, the same with `--jobs 0`, `vitx worker`.
pub const ALL: &str = "sweep";
pub const PLANNER: &str = "planner";
pub const WORKER: &str = "worker";

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

/// No test, but `vitx sweep` or `vitx worker` in the folder that it is in: of a kind, with as many trials to a pack, and in the
/// role that the words behind its name say.
#[test]
#[ignore = "is a process of other tests"]
fn process_of_a_sweep() {
    let given = given_behind(SWEEP);
    let [kind, size, role] = &given[..] else { return };
    let folder = std::env::current_dir().unwrap();
    // Two workers have a device each; a sweep has to wait for what an earlier one has left there.
    let devices = (0..if role == WORKER { 2 } else { 1 }).map(|ordinal| Device {
        ordinal,
        name: "emulated".into(),
        uuid: format!("GPU-0000000{ordinal}-0000-0000-0000-000000000000"),
        compute_capability: (9, 0),
        bytes: 1 << 30,
    });
    let locks = DeviceLocks::in_folder(&folder.join("locks"));
    let pool = Some(Pool::new(devices.collect(), locks, 1, "vitx sweep".into()));
    let size: u32 = size.parse().unwrap();
    let mut packed = Packed::of(folder.join("program"), Vec::new(), pool, PackSize::Of(size), Box::new(NoScales));
    let out = folder.join("out");
    let sweep = if role == WORKER {
        wait_for("a sweep", || Sweep::of_directory(&out).unwrap()).0
    } else {
        let mut sweep = sweep(kind);
        sweep.settle(Some(&out), |_| unreachable!("the folder is given")).unwrap();
        sweep
    };
    // What is planned is timed on the cpu.
    let options = Options { backend: Backend::Cpu, threads: Some(1), ..Options::default() };
    let (jobs, worker) = (if role == PLANNER { 0 } else { size as usize }, role == WORKER);
    let policy = Policy { jobs, retries: 0, fail_fast: false, worker, until_idle: None, deadline: None };
    let running = Running { folder: &out, options, policy, skip_invalid: false, dry_run: false, former: None };
    let ended = sweep.run(&running, &mut packed, &mut Told).unwrap();
    // As the command does.
    let failed = ended.failed || !ended.unfinished.is_empty();
    std::process::exit(i32::from(failed));
}

/// A device that does not say what it has.
struct NoScales;

impl Scales for NoScales {
    fn room(&self, _: &Path, _: usize, _: usize) -> Result<Option<Room>, ExperimentError> {
        Ok(None)
    }

    fn steps(&self, _: &Path, _: usize, _: usize) -> Result<f64, ExperimentError> {
        unreachable!("nothing is to be measured")
    }
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
pub fn place() -> tempfile::TempDir {
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

pub fn begin(folder: &Path, kind: &str, size: u32, role: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", SWEEP, kind, &size.to_string(), role]).current_dir(folder);
    let output = fs::File::options().create(true).append(true).open(folder.join("said")).unwrap();
    command.stdout(output.try_clone().unwrap()).stderr(output).stdin(Stdio::null()).spawn().unwrap()
}

/// The processes of packs in a folder that live, with the directories of each.
pub fn packs(folder: &Path) -> Vec<(Pid, Vec<PathBuf>)> {
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

pub fn kill(pid: Pid) {
    // It may have just ended.
    let _ = kill_process(pid, Signal::KILL);
}

pub fn lives(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !state.contains(") Z ")
}
