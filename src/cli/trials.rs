//! Several trials in one process, packed on one device: each in a thread of its own, with its own directory, lock,
//! checkpoints and end.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use super::{
    console::{AFTER_THIS_STEP, Console, handle_interrupts, report},
    log_args, out,
    trial::Args,
};
use crate::{
    backend::{Backend, SharedDevice, shared_device},
    experiment::{
        ExperimentError,
        training::{self, BUSY, INTERRUPTED, Options, SHARED},
    },
    files::append_to,
    tracking::Destination,
    train::Interrupt,
    trial::{Directory, Lock, TrialError},
};

/// Exit code of a trial that failed, and of one that panicked, as a process of its own would have it.
const FAILED: u8 = 1;
const PANICKED: u8 = 101;

/// Trains all directories of the arguments at once.
pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let directories = &args.directories;
    if let Some(twice) = twice(directories) {
        let message = format!("`{}` is given twice", twice.display());
        return Err(miette::miette!(code = "vitx::trial::twice", "{message}"));
    }
    let log = args.log.destination()?;
    let interrupt = Interrupt::default();
    let options = args.engine.options(interrupt.clone())?;
    if options.backend != Backend::Cuda {
        let help = "start a `vitx trial` for each, or let `vitx sweep --jobs N` do so";
        let message =
            format!("several trials in one process share a CUDA device; the {} backend has none", options.backend);
        return Err(miette::miette!(code = "vitx::trial::packed", help = help, "{message}"));
    }
    handle_interrupts(&interrupt, AFTER_THIS_STEP)?;
    let device = options.device.as_ref().map_or(0, |placed| placed.device.ordinal);
    let shared = shared_device(device).map_err(ExperimentError::from)?;
    run_on(&shared, args, options, log)
}

/// Trains all directories of the arguments on a device that they share.
fn run_on(
    shared: &Arc<dyn SharedDevice>,
    args: &Args,
    mut options: Options,
    log: Option<Destination>,
) -> miette::Result<ExitCode> {
    options.shared = Some(shared.clone());
    options.path.clone_from(&args.path);
    options.linger = args.linger();
    let how = Manner { to_logs: args.report_ends, log };
    let ended = |number: usize, code: u8| {
        if args.report_ends {
            out::line(&format!("{number} {code}"));
        }
    };
    let code = train_all(&args.directories, &options, &how, &ended);
    if !args.report_ends {
        let launches = shared.launches().map_err(ExperimentError::from)?;
        let of = format!("{} of {}", launches.together, launches.all);
        out::note(&format!("{of} steps and evaluations of batches were done together with those of other trials"));
    }
    Ok(ExitCode::from(code))
}

/// What is done with what a trial prints, and where its results are sent.
struct Manner {
    /// Lines go to the trials' own logs.
    to_logs: bool,
    log: Option<Destination>,
}

/// Trains all directories on a shared device, each in a thread, and gives the exit code of all. `ended` hears of each its
/// number and its own code.
fn train_all(directories: &[PathBuf], options: &Options, how: &Manner, ended: &(dyn Fn(usize, u8) + Sync)) -> u8 {
    let worst = AtomicU8::new(0);
    let threads = Some((options.threads() / directories.len().max(1)).max(1));
    thread::scope(|scope| {
        for (number, directory) in directories.iter().enumerate() {
            // Where one of them is taken over by another process, the others go on.
            let options = Options { interrupt: options.interrupt.one(), threads, ..options.clone() };
            let worst = &worst;
            scope.spawn(move || {
                // One that panics takes no other with it; the panic itself has been told.
                let trained = catch_unwind(AssertUnwindSafe(|| train(directory, &options, how)));
                let code = trained.unwrap_or(PANICKED);
                ended(number, code);
                worst.fetch_max(rank(code), Ordering::Relaxed);
            });
        }
    });
    code(worst.into_inner())
}

/// A directory that is given more than once.
fn twice(directories: &[PathBuf]) -> Option<&Path> {
    let same = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let all: Vec<PathBuf> = directories.iter().map(|path| same(path)).collect();
    let index = (1..all.len()).find(|&index| all[..index].contains(&all[index]))?;
    Some(&directories[index])
}

/// How an end counts for the exit code of all: a failure before an interruption before what others train.
const RANKS: [u8; 6] = [0, BUSY, INTERRUPTED, SHARED, FAILED, PANICKED];

fn rank(code: u8) -> u8 {
    RANKS.iter().position(|known| *known == code).unwrap_or(RANKS.len() - 1) as u8
}

fn code(rank: u8) -> u8 {
    RANKS.get(usize::from(rank)).copied().unwrap_or(FAILED)
}

/// Trains one of them, and gives the exit code that a process of its own would have.
fn train(directory: &Path, options: &Options, how: &Manner) -> u8 {
    let console = match how.to_logs {
        true => append_to(&Directory::new(directory).log()).map(Console::to_log),
        false => Ok(Console::of(directory.display().to_string())),
    };
    let mut console = match console {
        Ok(console) => console,
        Err(error) => {
            out::report(&miette::Report::from(error));
            return FAILED;
        }
    };
    let lock = match Lock::take(directory) {
        Ok(lock) => lock,
        Err(error) => {
            let code = if matches!(error, TrialError::Locked { .. }) { BUSY } else { FAILED };
            console.line(&format!("{:?}", miette::Report::from(error)));
            return code;
        }
    };
    let sender = log_args::start(directory, how.log.clone());
    let outcome = training::run(&lock, options, &mut console);
    let code = match outcome {
        Ok(outcome) => report(&console, directory, &outcome),
        Err(error) => {
            let code = match () {
                () if error.is_lost() => BUSY,
                () if error.is_of_shared_device() => SHARED,
                () => FAILED,
            };
            console.line(&format!("{:?}", miette::Report::from(error)));
            code
        }
    };
    log_args::finish(sender);
    code
}

#[cfg(all(test, target_os = "linux"))]
mod kills;

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use super::*;
    use crate::{
        backend::cuda::{
            Pack,
            emulated::{Bytes, Emulated},
        },
        experiment::{Definition, Overrides},
        trial::{Failure, FailureKind, RunResult, history},
    };

    #[test]
    fn the_worst_end_is_told() {
        let of = |codes: &[u8]| code(codes.iter().map(|code| rank(*code)).max().unwrap_or(0));
        assert_eq!(of(&[0, 0]), 0);
        assert_eq!(of(&[0, BUSY, INTERRUPTED]), INTERRUPTED);
        assert_eq!(of(&[INTERRUPTED, FAILED, SHARED]), FAILED);
        assert_eq!(of(&[PANICKED, FAILED]), PANICKED);
    }

    /// A small trial on the digits.
    fn trial(folder: &Path, name: &str, set: &[&str]) -> PathBuf {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/digits_vit.yaml");
        let common = [
            "params.projection_dim=8",
            "params.depth=1",
            "params.num_heads=1",
            "train.epochs=2",
            "train.batch_size=8",
            "data.train_limit=22",
            "data.test_limit=6",
            "data.validation_split=0.3",
        ];
        let set = common.iter().chain(set).map(|set| (*set).to_owned()).collect();
        let definition = Definition::read(&file, &Overrides { set, ..Overrides::default() }).unwrap();
        let folder = folder.join(name);
        definition.settled().unwrap().write(&folder).unwrap();
        folder
    }

    /// Trains them on an emulated device: the code of all, and of each.
    fn trained(directories: &[PathBuf]) -> (u8, Vec<u8>) {
        trained_on(Emulated::default(), directories)
    }

    fn trained_on(device: Emulated, directories: &[PathBuf]) -> (u8, Vec<u8>) {
        let pack = Pack::start(move || Ok(device), Duration::from_millis(20)).unwrap();
        let shared = Some(Arc::new(pack) as Arc<dyn SharedDevice>);
        let options = Options { shared, backend: Backend::Cuda, threads: Some(2), ..Options::default() };
        let codes = Mutex::new(vec![0; directories.len()]);
        let ended = |number: usize, code| codes.lock().unwrap()[number] = code;
        let code = train_all(directories, &options, &Manner { to_logs: true, log: None }, &ended);
        (code, codes.into_inner().unwrap())
    }

    /// The result, the epochs' numbers and losses, the last checkpoint.
    pub type Left = (Option<RunResult>, Vec<(u32, f64, Option<f64>)>, Vec<u8>);

    /// What is the same however long it took.
    pub fn left(folder: &Path) -> Left {
        let result = RunResult::read(folder).unwrap();
        let timeless = |result| RunResult { seconds: 0.0, images_per_second: 0.0, peak_memory_bytes: None, ..result };
        let epochs = history::read(folder).unwrap().into_iter();
        let epochs = epochs.map(|epoch| (epoch.epoch, epoch.loss, epoch.val_loss)).collect();
        let weights = std::fs::read(Directory::new(folder).last()).unwrap_or_default();
        (result.map(timeless), epochs, weights)
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn each_directory_has_its_own_end() {
        let folder = tempfile::tempdir().unwrap();
        let trials = |place: &str| {
            let variants: [(&str, &[&str]); 3] = [
                ("first", &["train.seed=1"]),
                ("second", &["train.seed=2", "train.optimizer.learning_rate=0.01"]),
                ("bad", &["train.optimizer.learning_rate=1e30"]),
            ];
            variants.map(|(name, set)| trial(&folder.path().join(place), name, set))
        };
        let (alone, together) = (trials("alone"), trials("together"));
        for (directory, code) in alone.iter().zip([0, 0, FAILED]) {
            assert_eq!(trained(std::slice::from_ref(directory)), (code, vec![code]));
        }
        // One that another process has, and one that is no trial.
        let held = trial(folder.path(), "held", &[]);
        let _held = Lock::take(&held).unwrap();
        let mut all = together.to_vec();
        all.extend([held, folder.path().join("none")]);
        assert_eq!(trained(&all), (FAILED, vec![0, 0, FAILED, BUSY, FAILED]));
        for (alone, together) in alone.iter().zip(&together) {
            assert!(left(alone) == left(together), "{}", together.display());
        }
        assert_eq!(Failure::read(&together[2]).unwrap().map(|failure| failure.kind), Some(FailureKind::Nan));
        let log = std::fs::read_to_string(Directory::new(&together[1]).log()).unwrap();
        assert!(log.contains("epoch 2/2") && log.contains("Test accuracy"), "{log}");
    }

    /// One that finds no room beside the others is no failure of its own: alone it comes to what it would have come to.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn who_has_no_room_beside_others_is_trained_alone() {
        let folder = tempfile::tempdir().unwrap();
        let trials =
            |place: &str| ["train.seed=1", "train.seed=2"].map(|seed| trial(&folder.path().join(place), seed, &[seed]));
        let (alone, together) = (trials("alone"), trials("together"));
        let on = |bytes| Emulated { bytes: Some(bytes), ..Emulated::default() };
        let bytes = Bytes::of(1 << 40);
        for directory in &alone {
            assert_eq!(trained_on(on(bytes), std::slice::from_ref(directory)).0, 0);
        }
        let bytes = Bytes::of(bytes.most.load(Ordering::Relaxed) * 9 / 8);
        let (_, codes) = trained_on(on(bytes), &together);
        assert!(codes.contains(&SHARED) && codes.iter().all(|code| [0, SHARED].contains(code)), "{codes:?}");
        for (directory, code) in together.iter().zip(codes).filter(|(_, code)| *code == SHARED) {
            assert!(Failure::read(directory).unwrap().is_none(), "{code}");
            let log = std::fs::read_to_string(Directory::new(directory).log()).unwrap();
            assert!(log.contains("out of device memory"), "{log}");
            assert_eq!(trained_on(on(bytes), std::slice::from_ref(directory)).0, 0);
        }
        for (alone, together) in alone.iter().zip(&together) {
            let [alone, together] = [left(alone), left(together)];
            assert_eq!((alone.0, alone.1), (together.0, together.1));
            assert!(alone.2 == together.2);
        }
    }

    #[test]
    fn a_directory_is_given_once() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        std::fs::create_dir(&a).unwrap();
        let again = folder.path().join("a/../a");
        assert_eq!(twice(&[a.clone(), b.clone()]), None);
        assert_eq!(twice(&[a, b, again.clone()]), Some(again.as_path()));
    }
}
