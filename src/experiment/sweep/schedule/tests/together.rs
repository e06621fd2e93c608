//! Trials that wait at their rungs, and schedulers that are not alone.

use super::*;

/// Trials that wait where they were wanted until they are wanted further, stopped, or asked to end.
#[derive(Default)]
struct Lingering {
    /// With whether it was asked to end.
    running: Vec<(PathBuf, bool)>,
    most: usize,
}

impl Executor for Lingering {
    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.running.push((folder.to_owned(), false));
        self.most = self.most.max(self.running.len());
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        let mut ended = Vec::new();
        self.running.retain(|(folder, asked)| {
            if !asked {
                train(folder, EPOCHS as usize);
            }
            let over = *asked || RunResult::read(folder).unwrap().is_some() || Stopped::read(folder).unwrap().is_some();
            ended.extend(over.then(|| Ended { folder: folder.clone(), how: How::Exited(0) }));
            !over
        });
        Ok(ended)
    }

    fn cancel(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        self.running.iter_mut().filter(|(running, _)| running == folder).for_each(|(_, asked)| *asked = true);
        Ok(())
    }
}

#[test]
fn trials_go_on_in_memory_and_make_room_where_their_place_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let expected = plan(folder.path(), 9);
    let halving = Some(Stopping { rule: Rule::Halving, min_epochs: 1, factor: 2 });
    assert!(run(&expected, halving, POLICY, &mut Cluster::new(&|folder, _| train(folder, 9))).complete);
    for (jobs, goes_on, paused) in [(9, true, false), (2, false, true)] {
        let folder = tempfile::tempdir().unwrap();
        let trials = plan(folder.path(), 9);
        let mut lingering = Lingering::default();
        let ran = run(&trials, halving, Policy { jobs, ..POLICY }, &mut lingering);
        let any = |word: &str| ran.events.iter().any(|event| event.starts_with(word));
        assert!(ran.complete && lingering.most == jobs, "{} {:?}", lingering.most, ran.events);
        assert!(any("paused") == paused && (any("goes on") || !goes_on), "{jobs}: {:?}", ran.events);
        assert!(!any("failed") && !any("again"), "{:?}", ran.events);
        assert_eq!(ends(&trials), ends(&expected), "{jobs}");
        // One that goes on is not started twice.
        let started = ran.events.iter().filter(|event| event.starts_with("started")).count();
        assert!(goes_on == (started == 9), "{started} of {:?}", ran.events);
    }
}

#[test]
fn what_failed_is_counted_in_its_directory_and_final_for_workers() {
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 1);
    let worker = Policy { retries: 1, worker: true, ..POLICY };
    let attempts = || Failure::read(&trials[0].folder).unwrap().map(|failure| failure.attempts);
    let broken = |_: &Path, _| How::Crashed("it crashed with signal 6".into());
    let ran = run(&trials, None, worker, &mut Cluster::new(&broken));
    assert_eq!(attempts(), Some(2), "{:?}", ran.events);
    assert_eq!(ran.events.iter().filter(|event| event.starts_with("started")).count(), 2, "{:?}", ran.events);
    // For another worker it has failed; a sweep that is begun again tries again.
    let again = run(&trials, None, worker, &mut Cluster::new(&|_, _| unreachable!()));
    assert!(again.events.len() == 1 && again.events[0].starts_with("failed 0 it crashed"), "{:?}", again.events);
    let sweep = Policy { worker: false, ..worker };
    let ran = run(&trials, None, sweep, &mut Cluster::new(&|folder, _| train(folder, 9)));
    assert!(ran.complete && ends(&trials) == ["finished true"], "{:?}", ran.events);
}

#[test]
fn what_others_finish_or_fail_is_told_and_not_trained() {
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 3);
    let interrupt = Interrupt::default();
    // Without jobs, all is left to others.
    let policy = Policy { jobs: 0, ..POLICY };
    let schedule = Schedule { trials: &trials, first: 0, policy, metric: Metric::ValAccuracy, interrupt: &interrupt };
    // The others do one thing after the other, each once the last is told.
    let (mut done, mut told) = (0, Vec::new());
    let end = schedule.run(None, &mut Cluster::new(&|_, _| unreachable!()), |event| match event {
        Event::Tick if done == told.len() => {
            done += 1;
            match done {
                1 => drop(train(&trials[0].folder, 9)),
                2 => drop(train(&trials[1].folder, 1)),
                3 => drop(train(&trials[1].folder, 9)),
                4 => Failure { attempts: 1, ..Failure::new(FailureKind::Error, "the network is down") }
                    .write(&trials[2].folder)
                    .unwrap(),
                _ => {}
            }
        }
        Event::Tick => {}
        Event::Finished(planned, _) => told.push(format!("finished {}", index(&planned.folder))),
        Event::Waiting(planned) => told.push(format!("elsewhere {}", index(&planned.folder))),
        Event::Failed(planned, reason) => told.push(format!("failed {} {reason}", index(&planned.folder))),
        other => panic!("{other:?}"),
    });
    assert_eq!(end.unwrap(), End::Complete);
    assert_eq!(told, ["finished 0", "elsewhere 1", "finished 1", "failed 2 the network is down"]);

    // A worker that has nothing to do for long enough ends.
    let folder = tempfile::tempdir().unwrap();
    let trials = plan(folder.path(), 1);
    trials[0].write().unwrap();
    let _lock = Lock::take(&trials[0].folder).unwrap();
    let policy = Policy { worker: true, until_idle: Some(Duration::from_millis(50)), ..POLICY };
    let schedule = Schedule { trials: &trials, first: 0, policy, metric: Metric::ValAccuracy, interrupt: &interrupt };
    assert_eq!(schedule.run(None, &mut Cluster::new(&|_, _| unreachable!()), |_| {}).unwrap(), End::Idle);
}
