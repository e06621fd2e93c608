//! The scheduler over an executor that has no processes at all: what it is told comes from the
//! trials' directories.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use super::{state::silent, *};
use crate::{
    dsl::Value,
    experiment::{Definition, Overrides, sweep::Rule},
    metrics::Means,
    trial::{Epoch, Failure, Prediction, history},
};

const EPOCHS: u32 = 8;

/// Runs trials in no time, one at a poll, in an order of its own.
struct Cluster<'a> {
    handed_over: Vec<PathBuf>,
    cancelled: Vec<PathBuf>,
    attempts: HashMap<PathBuf, u32>,
    pick: fn(usize) -> usize,
    polls: usize,
    /// What becomes of an attempt, from 1, at a trial.
    fate: &'a dyn Fn(&Path, u32) -> How,
}

impl<'a> Cluster<'a> {
    fn new(fate: &'a dyn Fn(&Path, u32) -> How) -> Self {
        Self { handed_over: Vec::new(), cancelled: Vec::new(), attempts: HashMap::new(), pick: |_| 0, polls: 0, fate }
    }
}

impl Executor for Cluster<'_> {
    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        assert!(!self.handed_over.iter().any(|known| known == folder), "handed over twice");
        self.handed_over.push(folder.to_owned());
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        self.polls += 1;
        if self.handed_over.is_empty() {
            return Ok(Vec::new());
        }
        let folder = self.handed_over.remove((self.pick)(self.polls) % self.handed_over.len());
        if self.cancelled.contains(&folder) {
            return Ok(vec![Ended { folder, how: How::Exited(INTERRUPTED) }]);
        }
        let attempt = self.attempts.entry(folder.clone()).or_default();
        *attempt += 1;
        let how = (self.fate)(&folder, *attempt);
        Ok(vec![Ended { folder, how }])
    }

    fn cancel(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.cancelled.push(folder.to_owned());
        Ok(())
    }
}

fn plan(folder: &Path, count: i64) -> Vec<Planned> {
    let set = vec![format!("train.epochs={EPOCHS}")];
    let overrides = Overrides { set, ..Overrides::default() };
    let base = Definition::read("experiments/digits_vit.yaml".as_ref(), &overrides).unwrap();
    let planned = |seed: i64| {
        let variant = vec![("train.batch_size".to_owned(), Value::Int(1 + seed))];
        let definition = base.with(&variant).unwrap();
        let prediction = Prediction {
            parameters: 1,
            flops: 1,
            epoch_seconds: None,
            first_seconds: 0.0,
            memory_bytes: 0,
            threads: 1,
        };
        Planned { folder: folder.join(seed.to_string()), variant, definition, prediction, finished: false }
    };
    (0..count).map(planned).collect()
}

fn index(folder: &Path) -> usize {
    folder.file_name().unwrap().to_string_lossy().parse().unwrap()
}

/// Trains a trial as far as it is wanted, but at most `most` epochs.
fn train(folder: &Path, most: usize) -> How {
    let mut done = history::read(folder).unwrap().len();
    let wanted = Until::read(folder).unwrap().map_or(EPOCHS, |until| until.epochs) as usize;
    for _ in 0..most {
        if done >= wanted {
            break;
        }
        let accuracy = ((index(folder) * 7 + done * 3) % 11) as f64 / 11.0;
        let means = Means { loss: 1.0, accuracy, top_5_accuracy: 1.0 };
        history::append(folder, &Epoch::new(done as u32 + 1, means, None, 0.1)).unwrap();
        fs::write(folder.join("last.safetensors"), "").unwrap();
        done += 1;
    }
    if done == EPOCHS as usize {
        let json = r#"{"test_loss": 1, "test_accuracy": 1, "test_top_5_accuracy": 1, "best_epoch": 1, "epochs": 8,
            "parameters": 1, "flops": 1, "seconds": 1, "images_per_second": 1}"#;
        fs::write(folder.join("result.json"), json).unwrap();
    }
    if done >= wanted { How::Exited(0) } else { How::Killed("killed by signal 9".into()) }
}

struct Ran {
    complete: bool,
    events: Vec<String>,
}

fn run(trials: &[Planned], stopping: Option<Stopping>, policy: Policy, cluster: &mut dyn Executor) -> Ran {
    let interrupt = Interrupt::default();
    let schedule = Schedule { trials, first: 0, policy, metric: Metric::ValAccuracy, interrupt: &interrupt };
    let mut events = Vec::new();
    let complete = schedule.run(stopping, cluster, |event| {
        let (word, planned, text) = match event {
            Event::Queued(planned, _) => ("queued", planned, String::new()),
            Event::Started(planned, _) => ("started", planned, String::new()),
            Event::Waiting(planned) => ("waiting", planned, String::new()),
            Event::Finished(planned, _) => ("finished", planned, String::new()),
            Event::Failed(planned, reason) => ("failed", planned, reason),
            Event::Again(planned, reason) => ("again", planned, reason),
            Event::GoesOn(planned) => ("goes on", planned, String::new()),
            Event::Paused(planned) => ("paused", planned, String::new()),
            Event::Stopped(planned, reason) => ("stopped", planned, reason),
            Event::Impossible(..) => panic!("no schedule proposes anything"),
            Event::Tick | Event::Note(_) => return,
        };
        events.push(format!("{word} {} {text}", index(&planned.folder)).trim_end().to_owned());
    });
    Ran { complete: complete.unwrap() == End::Complete, events }
}

const POLICY: Policy =
    Policy { jobs: 3, retries: 0, fail_fast: false, worker: false, until_idle: None, deadline: None };

/// What a report shows of the trials' ends.
fn ends(trials: &[Planned]) -> Vec<String> {
    let end = |planned: &Planned| {
        let stopped = Stopped::read(&planned.folder).unwrap();
        let finished = RunResult::read(&planned.folder).unwrap().is_some();
        stopped.map_or_else(|| format!("finished {finished}"), |stopped| stopped.reason)
    };
    trials.iter().map(end).collect()
}

#[test]
fn every_rule_ends_the_same_whatever_is_killed_and_whoever_is_first() {
    for rule in [Rule::Halving, Rule::Asha, Rule::Hyperband, Rule::Median] {
        let stopping = Some(Stopping { rule, min_epochs: 1, factor: 2 });
        let calm = tempfile::tempdir().unwrap();
        let expected = plan(calm.path(), 9);
        assert!(run(&expected, stopping, POLICY, &mut Cluster::new(&|folder, _| train(folder, 9))).complete);
        assert!(ends(&expected).iter().any(|end| end.starts_with("stopped")), "{:?}", ends(&expected));
        assert!(ends(&expected).iter().any(|end| end == "finished true"), "{:?}", ends(&expected));

        let stormy = tempfile::tempdir().unwrap();
        let trials = plan(stormy.path(), 9);
        let fate = |folder: &Path, attempt: u32| match attempt % 3 {
            // Killed before it has done anything, or after an epoch.
            0 => How::Killed("killed by signal 9".into()),
            1 => train(folder, 1),
            _ => train(folder, 9),
        };
        let mut cluster = Cluster { pick: |poll| poll * 5 + 1, ..Cluster::new(&fate) };
        assert!(run(&trials, stopping, POLICY, &mut cluster).complete);
        assert_eq!(ends(&trials), ends(&expected), "{rule:?}");
        // Again, nothing is left to do.
        let again = run(&trials, stopping, POLICY, &mut Cluster::new(&|_, _| unreachable!()));
        assert_eq!(again.events, [""; 0]);
    }
}

#[test]
fn what_was_decided_without_a_trial_is_decided_anew_with_it() {
    let halving = Some(Stopping { rule: Rule::Halving, min_epochs: 1, factor: 2 });
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 4);
    // Accuracies after one epoch: 0, 7, 3, 10 elevenths. Without the last, its rivals go further.
    let broken = |folder: &Path, _| match index(folder) {
        3 => How::Crashed("it crashed with signal 6".into()),
        _ => train(folder, 9),
    };
    let ran = run(&trials, halving, POLICY, &mut Cluster::new(&broken));
    assert!(ran.complete && ran.events.contains(&"failed 3 it crashed with signal 6".to_owned()), "{:?}", ran.events);
    assert_eq!(ends(&trials)[1], "finished true");
    assert!(run(&trials, halving, POLICY, &mut Cluster::new(&|folder, _| train(folder, 9))).complete);
    assert!(ends(&trials)[1].starts_with("stopped after epoch 2") || ends(&trials)[3].starts_with("stopped"));

    let calm = tempfile::tempdir().unwrap();
    let expected = plan(calm.path(), 4);
    assert!(run(&expected, halving, POLICY, &mut Cluster::new(&|folder, _| train(folder, 9))).complete);
    assert_eq!(ends(&trials), ends(&expected));
}

#[test]
fn killed_trials_are_resumed_unless_it_is_in_vain() {
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 2);
    let fate = |folder: &Path, _| match index(folder) {
        0 => train(folder, 1),
        _ => How::Killed("killed by signal 9".into()),
    };
    let ran = run(&trials, None, POLICY, &mut Cluster::new(&fate));
    let count = |text: &str| ran.events.iter().filter(|event| event.starts_with(text)).count();
    assert_eq!((count("again 0"), count("finished 0")), (7, 1), "{:?}", ran.events);
    assert_eq!((count("again 1"), count("failed 1")), (2, 1), "{:?}", ran.events);
    let failure = Failure::read(&trials[1].folder).unwrap().unwrap();
    assert_eq!(failure.kind, FailureKind::Killed);
}

#[test]
fn failures_are_retried_but_not_those_that_would_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 3);
    let fail = |folder: &Path, kind, reason: &str| {
        Failure::new(kind, reason).write(folder).unwrap();
        How::Exited(1)
    };
    let fate = |folder: &Path, attempt| match (index(folder), attempt) {
        (0, 1) => fail(folder, FailureKind::Error, "the network is down"),
        (1, _) => fail(folder, FailureKind::Nan, "the loss is NaN"),
        _ => train(folder, 9),
    };
    let policy = Policy { retries: 1, ..POLICY };
    let mut cluster = Cluster::new(&fate);
    let ran = run(&trials, None, policy, &mut cluster);
    assert!(ran.events.contains(&"again 0 the network is down (retry 1 of 1)".to_owned()), "{:?}", ran.events);
    assert!(ran.events.contains(&"failed 1 the loss is NaN".to_owned()), "{:?}", ran.events);
    assert_eq!(ends(&trials), ["finished true", "finished false", "finished true"]);
    let again = run(&trials, None, policy, &mut Cluster::new(&|_, _| unreachable!()));
    assert_eq!(again.events, ["failed 1 the loss is NaN"]);
}

#[test]
fn the_reason_of_a_silent_death_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = |text: &str| {
        fs::write(folder.path().join("log.txt"), text).unwrap();
        let Failure { kind, reason, .. } = silent(folder.path(), "it crashed with signal 6");
        (kind, reason)
    };
    let expected = "out of memory: memory allocation of 64 bytes failed";
    assert_eq!(log("epoch 1/2\nmemory allocation of 64 bytes failed\n"), (FailureKind::Memory, expected.into()));
    let panic = "thread 'main' panicked at src/a.rs:3:5:\nit is odd\nnote: run with RUST_BACKTRACE=1\n";
    let expected = "it crashed with signal 6; the end of log.txt: thread 'main' panicked at src/a.rs:3:5: it is odd";
    assert_eq!(log(panic), (FailureKind::Error, expected.into()));
    assert_eq!(log(""), (FailureKind::Error, "it crashed with signal 6".into()));
}

#[test]
fn a_trial_that_another_process_has_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 1);
    trials[0].write().unwrap();
    let lock = std::cell::RefCell::new(Some(Lock::take(&trials[0].folder).unwrap()));
    let interrupt = Interrupt::default();
    let schedule =
        Schedule { trials: &trials, first: 0, policy: POLICY, metric: Metric::ValAccuracy, interrupt: &interrupt };
    let fate = |folder: &Path, attempt| if attempt == 1 { How::Exited(i32::from(BUSY)) } else { train(folder, 9) };
    let (mut waited, mut ticks) = (0, 0);
    let complete = schedule.run(None, &mut Cluster::new(&fate), |event| match event {
        Event::Waiting(_) => waited += 1,
        Event::Failed(_, reason) => panic!("{reason}"),
        Event::Tick => {
            ticks += 1;
            if ticks == 3 {
                lock.take();
            }
        }
        _ => {}
    });
    assert!(complete.unwrap() == End::Complete && waited == 1);
    assert_eq!(ends(&trials), ["finished true"]);
}

#[test]
fn what_runs_is_asked_to_save_when_the_sweep_ends_early() {
    let fate = |folder: &Path, _| match index(folder) {
        0 => How::Crashed("it crashed with signal 6".into()),
        _ => train(folder, 9),
    };
    // The first failure is the end.
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 5);
    let mut cluster = Cluster::new(&fate);
    let ran = run(&trials, None, Policy { fail_fast: true, ..POLICY }, &mut cluster);
    assert!(ran.complete, "it was not interrupted");
    assert_eq!(cluster.cancelled.len(), 2, "{:?}", ran.events);

    // So is Ctrl-C.
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 5);
    let interrupt = Interrupt::default();
    let schedule =
        Schedule { trials: &trials, first: 0, policy: POLICY, metric: Metric::ValAccuracy, interrupt: &interrupt };
    let mut cluster = Cluster::new(&fate);
    let complete = schedule.run(None, &mut cluster, |event| {
        if matches!(event, Event::Tick) {
            interrupt.request();
        }
    });
    assert_eq!(complete.unwrap(), End::Interrupted);
    assert!(cluster.cancelled.len() >= 2 && cluster.handed_over.is_empty());

    // And so is a directory that cannot be written.
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 5);
    let broken = |folder: &Path, _| {
        fs::create_dir(folder.join("failure.json")).unwrap();
        How::Exited(3)
    };
    let mut cluster = Cluster::new(&broken);
    assert_cannot_be_written(&trials, &mut cluster);
    assert!(cluster.cancelled.len() >= 2 && cluster.handed_over.is_empty());

    // Also when several trials end together, of which the first is the one that cannot be written.
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 5);
    let mut together = Together(Cluster::new(&broken));
    assert_cannot_be_written(&trials, &mut together);
}

/// A failure that cannot be written down ends the sweep with an error that names its file.
fn assert_cannot_be_written(trials: &[Planned], cluster: &mut dyn Executor) {
    let interrupt = Interrupt::default();
    let schedule = Schedule { trials, first: 0, policy: POLICY, metric: Metric::ValAccuracy, interrupt: &interrupt };
    let error = schedule.run(None, cluster, |_| {}).unwrap_err().to_string();
    assert!(error.contains("failure.json"), "{error}");
}

/// All that runs ends at the same time.
struct Together<'a>(Cluster<'a>);

impl Executor for Together<'_> {
    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.0.submit(folder)
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        let mut ended = Vec::new();
        while !self.0.handed_over.is_empty() {
            ended.extend(self.0.poll()?);
        }
        Ok(ended)
    }

    fn cancel(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.0.cancel(folder)
    }
}

mod places;
mod together;
