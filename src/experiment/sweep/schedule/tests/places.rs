//! Trials that wait: in a queue of their executor, and at a rung when time is up.

use std::cell::Cell;

use super::*;

/// Has each trial wait in a queue for some polls, and linger at its rung.
struct Queue<'a> {
    cluster: Cluster<'a>,
    /// Of what is not handed over to the cluster yet: the polls that are left.
    waits: Vec<(PathBuf, usize)>,
    lingering: Vec<PathBuf>,
}

impl Executor for Queue<'_> {
    fn is_queued(&self, folder: &Path) -> bool {
        self.waits.iter().any(|(waits, _)| waits == folder)
    }

    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.waits.push((folder.to_owned(), 3));
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        let mut ended = self.cluster.poll()?;
        // What has reached its rung waits there until it is asked to end.
        ended.retain(|Ended { folder, how }| {
            let lingers = *how == How::Exited(0) && !folder.join("result.json").exists();
            if lingers {
                self.lingering.push(folder.clone());
            }
            !lingers
        });
        for (folder, left) in &mut self.waits {
            *left -= 1;
            if *left == 0 {
                self.cluster.submit(folder)?;
            }
        }
        self.waits.retain(|(_, left)| *left > 0);
        let cancelled = &self.cluster.cancelled;
        let asked: Vec<PathBuf> = self.lingering.extract_if(.., |folder| cancelled.contains(folder)).collect();
        ended.extend(asked.into_iter().map(|folder| Ended { folder, how: How::Exited(INTERRUPTED) }));
        Ok(ended)
    }

    fn cancel(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.cluster.cancel(folder)
    }
}

#[test]
fn a_trial_in_a_queue_has_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 2);
    let fate = |folder: &Path, _| train(folder, 9);
    let mut queue = Queue { cluster: Cluster::new(&fate), waits: Vec::new(), lingering: Vec::new() };
    let ran = run(&trials, None, Policy { jobs: 1, ..POLICY }, &mut queue);
    let expected = ["queued 0", "started 0", "finished 0", "queued 1", "started 1", "finished 1"];
    assert_eq!(ran.events, expected);
}

/// A sweep of three trials in two places that ends so many seconds after its first, and whether the two had begun by then.
fn with_a_deadline(seconds: u64) -> (Ran, bool) {
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 3);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (begun, in_time) = (Cell::new(0), Cell::new(true));
    let fate = |folder: &Path, _| {
        begun.set(begun.get() + 1);
        // The second begins while the first trains.
        in_time.set(in_time.get() && (begun.get() > 1 || Instant::now() < deadline));
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
        train(folder, 9)
    };
    let mut queue = Queue { cluster: Cluster::new(&fate), waits: Vec::new(), lingering: Vec::new() };
    let stopping = Stopping { rule: Rule::Halving, min_epochs: 2, factor: 2 };
    // Two begin, and would wait at their rung for the third, which never does.
    let policy = Policy { jobs: 2, deadline: Some(deadline), ..POLICY };
    let ran = run(&trials, Some(stopping), policy, &mut queue);
    assert!(ran.complete && queue.lingering.is_empty(), "{:?}", ran.events);
    (ran, in_time.get() && begun.get() > 0)
}

#[test]
fn what_waits_at_a_rung_ends_when_time_is_up() {
    // Where time is up before they begin, the machine was too busy.
    let mut tries = [2, 8, 32, 128].into_iter().map(with_a_deadline);
    let (ran, _) = tries.find(|(_, in_time)| *in_time).expect("two trials begin within two minutes");
    let expected = ["queued 0", "queued 1", "started 0", "started 1", "paused 0", "paused 1"];
    assert_eq!(ran.events, expected);
}

/// Fails once some trials run, and then ends none of them but the first.
#[derive(Default)]
struct Stuck {
    handed_over: Vec<PathBuf>,
    cancelled: Vec<PathBuf>,
    polls: usize,
}

fn refused(message: &str) -> ExperimentError {
    ExperimentError::Executor { message: message.into(), help: None }
}

impl Executor for Stuck {
    fn notes(&mut self) -> Vec<String> {
        if self.polls == 2 { vec!["a note".into()] } else { Vec::new() }
    }

    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.handed_over.push(folder.to_owned());
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        self.polls += 1;
        match self.polls {
            1 => Err(refused("no such partition")),
            2 => Ok(vec![Ended { folder: self.handed_over[0].clone(), how: How::Exited(INTERRUPTED) }]),
            _ => Ok(Vec::new()),
        }
    }

    fn cancel(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.cancelled.push(folder.to_owned());
        Err(refused("no such job"))
    }
}

#[test]
fn a_sweep_that_fails_says_why_first_and_does_not_wait_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 3);
    let interrupt = Interrupt::default();
    let schedule =
        Schedule { trials: &trials, first: 0, policy: POLICY, metric: Metric::ValAccuracy, interrupt: &interrupt };
    let mut stuck = Stuck::default();
    let mut notes = Vec::new();
    let error = schedule.run(None, &mut stuck, |event| {
        if let Event::Note(note) = event {
            notes.push(note.replace(&folder.path().display().to_string(), "out"));
        }
    });
    assert_eq!(error.unwrap_err().to_string(), "no such partition");
    assert_eq!(stuck.cancelled.len(), 3);
    insta::assert_snapshot!(notes.join("\n"), @r"
    trials are asked to save and end, as the sweep cannot go on: no such partition
    a note
    no trial has ended for 2 s although they were asked to; they are left as they are: out/1, out/2
    ");
}

/// Keeps room for a trial, and tells whether some is kept that no trial has.
struct Rooms<'a>(Cluster<'a>, &'a Cell<bool>);

impl Executor for Rooms<'_> {
    fn has_room(&mut self, _: &Path) -> Result<bool, ExperimentError> {
        self.1.set(true);
        Ok(true)
    }

    fn let_go(&mut self) {
        self.1.set(false);
    }

    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.0.submit(folder)
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        self.0.poll()
    }

    fn cancel(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.0.cancel(folder)
    }
}

/// A worker whose trials others train keeps no device from those.
#[test]
fn no_room_is_kept_for_what_others_train() {
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 1);
    trials[0].write().unwrap();
    let _lock = Lock::take(&trials[0].folder).unwrap();
    let interrupt = Interrupt::default();
    let policy = Policy { worker: true, until_idle: Some(Duration::from_millis(50)), ..POLICY };
    let schedule = Schedule { trials: &trials, first: 0, policy, metric: Metric::ValAccuracy, interrupt: &interrupt };
    let (kept, ticks) = (Cell::new(false), Cell::new(0));
    let mut rooms = Rooms(Cluster::new(&|_, _| unreachable!()), &kept);
    let end = schedule.run(None, &mut rooms, |event| {
        if matches!(event, Event::Tick) {
            ticks.set(ticks.get() + 1);
            assert!(!kept.get(), "a device is kept");
        }
    });
    assert!(end.unwrap() == End::Idle && ticks.get() > 0);
}
