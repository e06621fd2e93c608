//! How many trials at once make the most of a device.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use super::{
    made::{Made, images},
    room::Room,
};
use crate::{
    backend::{BackendError, Engine, Part, SharedDevice, Step},
    experiment::{Definition, ExperimentError, training::Options},
    threads,
};

/// Most trials at once that are tried.
pub const MOST: usize = 16;
/// Twice as many trials must make a device do so much more to be worth their memory.
const GAIN: f64 = 1.1;
/// Steps in a row that are timed, and how often.
const STEPS: usize = 32;
const TIMES: usize = 3;

/// How far trials at once make more of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Of 1, 2, 4, .. trials at once; the last is the best.
    pub points: Vec<Throughput>,
    /// Why there is no further one.
    pub limit: Limit,
}

/// What ends a curve.
#[derive(Debug, Clone, PartialEq)]
pub enum Limit {
    /// More are not tried.
    Most,
    /// So many do no more.
    Slower(Throughput),
    /// So many would take more memory than there is, in words.
    NoRoom(String),
    /// So many could not be timed.
    Failed(usize, String),
}

impl Curve {
    /// How many trials at once make the most of the device.
    pub fn best(&self) -> usize {
        self.points.last().map_or(1, |last| last.trials)
    }
}

/// How many trials are packed, in words.
pub fn up_to(trials: usize) -> String {
    format!("up to {trials} {} at once", if trials == 1 { "trial" } else { "trials" })
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", up_to(self.best()))?;
        for (at, Throughput { trials, steps }) in self.points.iter().enumerate() {
            write!(f, "{}{trials} do {steps:.0} steps/s", if at > 0 { ", " } else { "" })?;
        }
        match &self.limit {
            Limit::Most => Ok(()),
            Limit::Slower(Throughput { trials, steps }) => write!(f, "; {trials} do only {steps:.0} steps/s"),
            Limit::NoRoom(words) => write!(f, "; {words}"),
            Limit::Failed(trials, reason) => write!(f, "; {trials} could not be timed: {reason}"),
        }
    }
}

/// What a device does with so many trials at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// Trials at once.
    pub trials: usize,
    /// Steps a second, of all of them together.
    pub steps: f64,
}

/// The throughput of 1, 2, 4, .. trials at once, as far as it grows by a tenth and as there is room. `measure` gives the
/// steps a second of so many.
///
/// # Errors
/// One trial alone that fails.
pub fn curve(
    room: Option<Room>,
    mut measure: impl FnMut(usize) -> Result<f64, ExperimentError>,
) -> Result<Curve, ExperimentError> {
    let mut last = Throughput { trials: 1, steps: measure(1)? };
    let mut points = vec![last];
    let limit = loop {
        let trials = 2 * last.trials;
        if trials > MOST {
            break Limit::Most;
        }
        if let Some(words) = room.and_then(|room| room.lacks(trials)) {
            break Limit::NoRoom(words);
        }
        let at = match measure(trials) {
            Ok(steps) => Throughput { trials, steps },
            Err(error) => break Limit::Failed(trials, error.to_string()),
        };
        if at.steps < GAIN * last.steps {
            break Limit::Slower(at);
        }
        points.push(at);
        last = at;
    };
    Ok(Curve { points, limit })
}

/// Times steps of so many trials of a definition at once on a device, on made-up images: steps a second of all.
///
/// # Errors
/// As the engine's, and where there is no room for the images.
pub fn measure(
    definition: &Definition,
    options: &Options,
    shared: &Arc<dyn SharedDevice>,
    trials: usize,
) -> Result<f64, ExperimentError> {
    let options = &Options { shared: Some(shared.clone()), ..options.clone() };
    let failed = &AtomicBool::new(false);
    let one = |ready: &Gate| of_one(definition, options, ready, failed);
    let times = together(trials, &|| thread::Builder::new(), failed, &one)?;
    // They begin together; the last one is done when all are.
    let seconds = times.into_iter().fold(f64::MIN_POSITIVE, f64::max);
    Ok(trials as f64 / seconds)
}

/// What so many threads give that meet at a gate; those that were started end where one cannot be.
///
/// # Errors
/// That of the first that fails, or a thread that cannot be started.
fn together<T: Send>(
    count: usize,
    begin: &dyn Fn() -> thread::Builder,
    failed: &AtomicBool,
    one: &(dyn Fn(&Gate) -> Result<T, ExperimentError> + Sync),
) -> Result<Vec<T>, ExperimentError> {
    let gate = &Gate::new(count);
    thread::scope(|scope| {
        let (mut threads, mut refused) = (Vec::new(), None);
        while threads.len() < count && refused.is_none() {
            match begin().spawn_scoped(scope, move || one(gate)) {
                Ok(thread) => threads.push(thread),
                Err(error) => refused = Some(error),
            }
        }
        if refused.is_some() {
            failed.store(true, Ordering::SeqCst);
            gate.expect(threads.len());
        }
        // All of them end before it is told what one has failed by.
        let ended: Vec<Result<T, ExperimentError>> =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))).collect();
        match refused {
            Some(error) => Err(BackendError::Other(threads::explained(&error).to_string()).into()),
            None => ended.into_iter().collect(),
        }
    })
}

/// Where threads wait until the last has come, of which fewer may come than were expected at first.
struct Gate {
    /// Those that have come, and those that are to.
    counts: Mutex<[usize; 2]>,
    changed: Condvar,
}

impl Gate {
    fn new(expected: usize) -> Self {
        Self { counts: Mutex::new([0, expected]), changed: Condvar::new() }
    }

    fn wait(&self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts[0] += 1;
        self.changed.notify_all();
        let waits = |counts: &mut [usize; 2]| counts[0] < counts[1];
        drop(self.changed.wait_while(counts, waits).unwrap_or_else(PoisonError::into_inner));
    }

    fn expect(&self, count: usize) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)[1] = count;
        self.changed.notify_all();
    }
}

fn panicked() -> ExperimentError {
    BackendError::Other("a trial that was timed has panicked".into()).into()
}

/// Seconds of a step of one trial beside the others, which all begin when the last is ready.
fn of_one(
    definition: &Definition,
    options: &Options,
    ready: &Gate,
    failed: &AtomicBool,
) -> Result<f64, ExperimentError> {
    let made = catch_unwind(AssertUnwindSafe(|| prepared(definition, options))).unwrap_or_else(|_| Err(panicked()));
    failed.fetch_or(made.is_err(), Ordering::SeqCst);
    // Also one that has failed comes, or the others would wait for ever.
    ready.wait();
    let (mut engine, steps) = made?;
    if failed.load(Ordering::SeqCst) {
        return Err(BackendError::Other("another of the trials that were timed has failed".into()).into());
    }
    let begin = Instant::now();
    for _ in 0..TIMES {
        train(engine.as_mut(), steps)?;
    }
    Ok(begin.elapsed().as_secs_f64() / (TIMES * steps) as f64)
}

const FIRST: Step = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 0.0 };

fn train(engine: &mut dyn Engine, steps: usize) -> Result<(), ExperimentError> {
    let resident = engine.resident().ok_or_else(|| BackendError::Other("the engine keeps no images".into()))?;
    resident.train_kept(&FIRST, steps as u32)?;
    Ok(())
}

/// An engine that has images, and has trained on them: then all is compiled. With it, the steps of a pass.
fn prepared(definition: &Definition, options: &Options) -> Result<(Box<dyn Engine>, usize), ExperimentError> {
    let mut made = Made::new(definition, options)?;
    // Whole batches, or one of all images.
    made.batch_size = made.batch_size.min(made.counts[0].max(1));
    let steps = (made.counts[0] / made.batch_size).clamp(1, STEPS);
    let split = images(&made.spec, steps * made.batch_size);
    if !made.keep(Part::Training, &split, &[0.0])? {
        return Err(BackendError::Other("there is no room for the images".into()).into());
    }
    train(made.engine.as_mut(), steps)?;
    Ok((made.engine, steps))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path, sync::atomic::AtomicUsize, time::Duration};

    use super::*;
    use crate::{
        backend::{
            Backend,
            cuda::{Pack, emulated::Emulated},
        },
        experiment::Overrides,
    };

    /// The counts that are tried, and the one that is taken, of a device that does so many steps a second.
    fn taken(steps: &[(usize, f64)]) -> (Vec<usize>, usize) {
        let steps: BTreeMap<usize, f64> = steps.iter().copied().collect();
        let mut tried = Vec::new();
        let measure = |trials| {
            tried.push(trials);
            let steps = steps.get(&trials).copied();
            steps.ok_or_else(|| BackendError::Other("out of device memory".into()).into())
        };
        let best = curve(None, measure).unwrap().best();
        (tried, best)
    }

    #[test]
    fn trials_are_doubled_for_as_long_as_it_pays() {
        assert_eq!(taken(&[(1, 100.0), (2, 180.0), (4, 190.0), (8, 400.0)]), (vec![1, 2, 4], 2));
        assert_eq!(taken(&[(1, 100.0), (2, 101.0)]), (vec![1, 2], 1));
        // What does not fit.
        assert_eq!(taken(&[(1, 100.0), (2, 200.0)]), (vec![1, 2, 4], 2));
        let all: Vec<_> = (0..8).map(|power| (1 << power, f64::from(1 << power))).collect();
        assert_eq!(taken(&all), (vec![1, 2, 4, 8, 16], MOST));
        assert!(curve(None, |_| Err(BackendError::Other("no device".into()).into())).is_err());
    }

    /// What does not fit is not tried, and what has ended the curve is said.
    #[test]
    fn a_curve_says_why_it_ends() {
        let said = |room, steps: &dyn Fn(usize) -> Option<f64>| {
            let measure = |trials| steps(trials).ok_or_else(|| BackendError::Other("no answer".into()).into());
            curve(room, measure).unwrap().to_string()
        };
        let beside = crate::backend::memory_beside(8);
        let room = Room { one: 3_900_000_000, free: 24_000_000_000 };
        assert!(beside < 1_000_000_000);
        let never = |trials: usize| (trials < 8).then_some(100.0 * trials as f64);
        let all = [
            said(Some(room), &never),
            said(None, &never),
            said(None, &|trials| Some(100.0 * trials.min(3) as f64)),
            said(None, &|trials| Some(100.0 * trials as f64)),
            said(Some(Room { one: 3_900_000_000, free: 3_000_000_000 }), &|_| Some(100.0)),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    /// Where the system gives no more threads, those that wait for the others end.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_that_cannot_be_started_ends_the_others() {
        let (failed, met) = (AtomicBool::new(false), AtomicUsize::new(0));
        let one = |ready: &Gate| {
            ready.wait();
            met.fetch_add(1, Ordering::SeqCst);
            Ok(failed.load(Ordering::SeqCst))
        };
        assert_eq!(together(4, &|| thread::Builder::new(), &failed, &one).unwrap(), [false; 4]);
        let begun = AtomicUsize::new(0);
        let begin = || match begun.fetch_add(1, Ordering::SeqCst) {
            // The third would have a stack larger than there are addresses.
            2 => thread::Builder::new().stack_size(1 << 50),
            _ => thread::Builder::new(),
        };
        let error = together(4, &begin, &failed, &one).unwrap_err().to_string();
        assert!(error.contains("no thread or process can be started"), "{error}");
        assert_eq!([&begun, &met].map(|count| count.load(Ordering::SeqCst)), [3, 6]);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn steps_of_several_trials_are_timed_together() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/digits_vit.yaml");
        let set = [
            "params.projection_dim=8",
            "params.depth=1",
            "params.num_heads=1",
            "train.batch_size=4",
            "data.train_limit=10",
        ];
        let set = set.map(str::to_owned).to_vec();
        let definition = Definition::read(&file, &Overrides { set, ..Overrides::default() }).unwrap();
        let options = Options { backend: Backend::Cuda, threads: Some(1), ..Options::default() };
        let pack = Arc::new(Pack::start(|| Ok(Emulated::default()), Duration::from_secs(60)).unwrap());
        let shared: Arc<dyn SharedDevice> = pack;
        assert!(measure(&definition, &options, &shared, 2).unwrap() > 0.0);
        let launches = shared.launches().unwrap();
        assert!(launches.together > launches.all / 2, "{launches:?}");
        // What one of them cannot have ends it for all, at once.
        let full = Emulated { no_room_for: Some("images"), ..Emulated::default() };
        let shared: Arc<dyn SharedDevice> = Arc::new(Pack::start(move || Ok(full), Duration::from_secs(60)).unwrap());
        assert!(measure(&definition, &options, &shared, 2).is_err());
    }
}
