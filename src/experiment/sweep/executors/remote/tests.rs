//! The remote executor over an engine that only remembers.

use std::sync::{Arc, Mutex};

use super::{super::engine::Trouble, *};
use crate::wait::{self, until_some};

/// An engine whose jobs do what the test says.
#[derive(Default)]
struct State {
    jobs: Vec<Listed>,
    submitted: Vec<Vec<String>>,
    cancelled: Vec<String>,
    /// Calls that are not answered, though they do what they are asked.
    deaf: usize,
    refuses: Option<&'static str>,
    /// What a cancel is answered with, if jobs are not ended.
    no_end: Option<fn(String) -> Trouble>,
    /// The next list never returns.
    breaks: bool,
    free: Option<usize>,
    lists: usize,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn answer<T>(&self, answer: T) -> Result<T, Trouble> {
        let mut state = self.state();
        if state.deaf > 0 {
            state.deaf -= 1;
            return Err(Trouble::Absent("timed out".into()));
        }
        Ok(answer)
    }

    fn becomes(&self, id: &str, state: JobState) {
        self.state().jobs.iter_mut().find(|job| job.id == id).unwrap().state = state;
    }
}

impl Engine for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn wave(&self) -> usize {
        10
    }

    fn submit(&mut self, jobs: &[Submission]) -> Result<Vec<String>, Trouble> {
        let mut state = self.state();
        if let Some(words) = state.refuses {
            return Err(Trouble::Refused(words.into()));
        }
        let names: Vec<String> = jobs.iter().map(|job| job.name.clone()).collect();
        let mut ids = Vec::new();
        for name in &names {
            let id = (state.jobs.len() + 1).to_string();
            state.jobs.push(Listed { id: id.clone(), name: Some(name.clone()), state: JobState::Running });
            ids.push(id);
        }
        state.submitted.push(names);
        drop(state);
        self.answer(ids)
    }

    fn list(&mut self, _: &[String]) -> Result<Listing, Trouble> {
        let mut state = self.state();
        state.lists += 1;
        let listing = Listing { jobs: state.jobs.clone(), free: state.free, note: None };
        let breaks = state.breaks;
        drop(state);
        assert!(!breaks, "as wanted");
        self.answer(listing)
    }

    fn cancel(&mut self, ids: &[String]) -> Result<(), Trouble> {
        self.state().cancelled.extend(ids.iter().cloned());
        let no_end = self.state().no_end;
        no_end.map_or_else(|| self.answer(()), |no_end| Err(no_end("no agent".into())))
    }
}

struct Lab {
    folder: tempfile::TempDir,
    engine: Fake,
}

impl Lab {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), engine: Fake::default() }
    }

    fn trial(&self, name: &str) -> PathBuf {
        let trial = self.folder.path().join("trials").join(name);
        fs::create_dir_all(&trial).unwrap();
        trial
    }

    fn remote(&self) -> Remote {
        Remote::new(Box::new(self.engine.clone()), self.folder.path().to_owned()).unwrap()
    }
}

/// Polls until something has ended.
fn wait(remote: &mut Remote) -> Vec<Ended> {
    until_some("an end", || Some(remote.poll().unwrap()).filter(|ended| !ended.is_empty()))
}

/// Polls until a condition holds, and nothing ends before. What the engine was asked may not have been heard by then.
fn until(remote: &mut Remote, mut holds: impl FnMut(&mut Remote) -> bool) {
    wait::until("what a job is to be", || {
        assert_eq!(remote.poll().unwrap(), []);
        holds(remote)
    });
}

#[test]
fn trials_of_one_look_are_one_wave_and_end_as_the_directory_says() {
    let lab = Lab::new();
    let (a, b, c) = (lab.trial("a"), lab.trial("b"), lab.trial("c"));
    let mut remote = lab.remote();
    for trial in [&a, &b, &c] {
        assert!(!remote.adopt(trial).unwrap());
        remote.submit(trial).unwrap();
    }
    until(&mut remote, |_| Job::read(&c).unwrap().is_some());
    let submitted = lab.engine.state().submitted.clone();
    assert_eq!(submitted.len(), 1, "{submitted:?}");
    assert!(submitted[0][0].starts_with("vitx-a-") && submitted[0][0].ends_with("-a1"), "{submitted:?}");
    let expected = Job { engine: "fake".into(), id: "2".into(), name: submitted[0][1].clone(), attempt: 1 };
    assert_eq!(Job::read(&b).unwrap(), Some(expected));
    lab.engine.becomes("1", JobState::Ended(Some(How::Exited(3))));
    assert_eq!(wait(&mut remote), [Ended { folder: a, how: How::Exited(3) }]);
    // It is known no more, and has a word in its directory.
    Failure::new(crate::trial::FailureKind::Error, "r").write(&b).unwrap();
    lab.engine.state().jobs.retain(|job| job.id != "2");
    assert_eq!(wait(&mut remote), [Ended { folder: b, how: How::Exited(0) }]);
    // It is known no more, and has none.
    lab.engine.state().jobs.clear();
    let how = How::Killed("its job has ended without a word".into());
    assert_eq!(wait(&mut remote), [Ended { folder: c.clone(), how }]);
    // Handed over again, it is another job, and what was noted of the first is not of this one.
    Failure::new(crate::trial::FailureKind::Error, "r").write(&c).unwrap();
    remote.submit(&c).unwrap();
    until(&mut remote, |_| Job::read(&c).unwrap().is_some_and(|job| job.attempt == 2));
    assert!(lab.engine.state().submitted[1][0].ends_with("-a2"));
    lab.engine.state().jobs.clear();
    let how = How::Killed("its job has ended without a word".into());
    assert_eq!(wait(&mut remote), [Ended { folder: c, how }]);
}

#[test]
fn what_a_dead_sweep_has_handed_over_is_taken_over() {
    let lab = Lab::new();
    let (a, b, c) = (lab.trial("a"), lab.trial("b"), lab.trial("c"));
    let mut first = lab.remote();
    for trial in [&a, &b] {
        first.submit(trial).unwrap();
    }
    until(&mut first, |_| Job::read(&b).unwrap().is_some());
    drop(first);
    // It died between handing over and writing that down.
    fs::remove_file(b.join("job.json")).unwrap();
    lab.engine.becomes("1", JobState::Waiting("Priority".into()));
    let mut second = lab.remote();
    assert!(second.adopt(&a).unwrap() && second.adopt(&b).unwrap() && !second.adopt(&c).unwrap());
    assert!(second.is_queued(&a) && !second.is_queued(&b) && !second.is_queued(&c));
    assert_eq!(second.notes(), ["2 jobs of fake from before have not ended, and are taken over"]);
    assert_eq!(Job::read(&b).unwrap().unwrap().id, "2");
    second.submit(&c).unwrap();
    until(&mut second, |_| Job::read(&c).unwrap().is_some());
    assert_eq!(lab.engine.state().submitted.len(), 2);
    lab.engine.becomes("1", JobState::Ended(Some(How::Exited(75))));
    assert_eq!(wait(&mut second), [Ended { folder: a.clone(), how: How::Exited(75) }]);
    drop(second);
    // What has ended is not.
    lab.engine.becomes("2", JobState::Ended(None));
    let mut third = lab.remote();
    assert_eq!([&a, &b, &c].map(|trial| third.adopt(trial).unwrap()), [false, false, true]);
    // Another sweep that has the same trial has other jobs.
    let other = tempfile::tempdir().unwrap();
    fs::create_dir_all(other.path().join("trials/c")).unwrap();
    let mut of_other = Remote::new(Box::new(lab.engine.clone()), other.path().to_owned()).unwrap();
    assert!(!of_other.adopt(&other.path().join("trials/c")).unwrap());
}

#[test]
fn an_engine_that_does_not_answer_is_asked_again_and_nothing_is_handed_over_twice() {
    let lab = Lab::new();
    let a = lab.trial("a");
    let mut remote = lab.remote();
    assert!(!remote.adopt(&a).unwrap());
    lab.engine.state().deaf = 3;
    remote.submit(&a).unwrap();
    until(&mut remote, |_| Job::read(&a).unwrap().is_some());
    assert_eq!(lab.engine.state().submitted.len(), 1);
    let mut notes = Vec::new();
    wait::until("two notes", || {
        remote.poll().unwrap();
        notes.extend(remote.notes());
        notes.len() >= 2
    });
    assert_eq!(notes, ["fake does not answer, and is asked again: timed out", "fake answers again"]);
    // At the start, it is an error.
    let lab = Lab::new();
    lab.engine.state().deaf = 1;
    let error = lab.remote().adopt(&a).unwrap_err().to_string();
    assert_eq!(error, "the executor fake cannot be used: timed out");
}

#[test]
fn refusals_end_the_sweep_with_the_engines_words() {
    let lab = Lab::new();
    let (a, b) = (lab.trial("a"), lab.trial("b"));
    let mut remote = lab.remote();
    remote.submit(&a).unwrap();
    until(&mut remote, |_| Job::read(&a).unwrap().is_some());
    lab.engine.state().refuses = Some("no such partition");
    remote.submit(&b).unwrap();
    let error = until_some("the refusal", || remote.poll().err());
    assert_eq!(error.to_string(), "the executor fake refuses: no such partition");
    // Then what runs is asked to end.
    remote.cancel(&a).unwrap();
    remote.cancel(&b).unwrap();
    assert_eq!(wait(&mut remote)[0].folder, b);
    until(&mut remote, |_| lab.engine.state().cancelled == ["1"]);
    lab.engine.becomes("1", JobState::Ended(None));
    assert_eq!(wait(&mut remote)[0].folder, a);
}

#[test]
fn cancelled_trials_end_wherever_they_are() {
    let lab = Lab::new();
    let (a, b, c) = (lab.trial("a"), lab.trial("b"), lab.trial("c"));
    let mut remote = lab.remote();
    let killed =
        |folder: &Path| vec![Ended { folder: folder.to_owned(), how: How::Killed("it was asked to end".into()) }];
    // Before it is handed over.
    remote.submit(&a).unwrap();
    remote.cancel(&a).unwrap();
    assert_eq!(remote.poll().unwrap(), killed(&a));
    assert!(lab.engine.state().submitted.is_empty());
    // While it waits, with an engine that ends such a job only when it would begin.
    remote.submit(&b).unwrap();
    assert!(remote.is_queued(&b));
    until(&mut remote, |_| Job::read(&b).unwrap().is_some());
    until(&mut remote, |remote| !remote.is_queued(&b));
    lab.engine.becomes("1", JobState::Waiting("PartitionDown".into()));
    until(&mut remote, |remote| remote.is_queued(&b));
    assert_eq!(remote.notes(), ["fake has job 1 wait: PartitionDown"]);
    remote.cancel(&b).unwrap();
    assert_eq!(wait(&mut remote), killed(&b));
    // While it runs: when the engine says so.
    remote.submit(&c).unwrap();
    until(&mut remote, |_| Job::read(&c).unwrap().is_some());
    remote.cancel(&c).unwrap();
    until(&mut remote, |_| lab.engine.state().cancelled.len() == 2);
    lab.engine.becomes("2", JobState::Ended(Some(How::Exited(130))));
    assert_eq!(wait(&mut remote), killed(&c));
}

/// An engine that answers to all but cancels: its list tells how jobs end, and more of them are handed over.
#[test]
fn a_cancel_that_is_not_answered_holds_up_nothing_else() {
    let lab = Lab::new();
    let trials = ["a", "b", "c"].map(|name| lab.trial(name));
    let [a, b, c] = &trials;
    let mut remote = lab.remote();
    remote.submit(a).unwrap();
    remote.submit(b).unwrap();
    until(&mut remote, |_| Job::read(b).unwrap().is_some());
    lab.engine.state().no_end = Some(Trouble::Absent);
    remote.cancel(a).unwrap();
    remote.cancel(b).unwrap();
    until(&mut remote, |remote| remote.notes() == ["fake does not answer, and is asked again: no agent"]);
    remote.submit(c).unwrap();
    until(&mut remote, |_| Job::read(c).unwrap().is_some());
    lab.engine.becomes("1", JobState::Ended(Some(How::Exited(0))));
    let killed =
        |folder: &Path| vec![Ended { folder: folder.to_owned(), how: How::Killed("it was asked to end".into()) }];
    assert_eq!(wait(&mut remote), killed(a));
    // Nor is an engine asked for ever that has forgotten the job.
    lab.engine.state().jobs.retain(|job| job.id == "3");
    assert_eq!(wait(&mut remote), killed(b));
    until(&mut remote, |remote| remote.notes() == ["fake answers again"]);
    let asked = lab.engine.state().cancelled.len();
    let lists = lab.engine.state().lists;
    until(&mut remote, |_| lab.engine.state().lists > lists + 2);
    assert_eq!(lab.engine.state().cancelled.len(), asked);
}

/// What an engine says that does not end a job is told once; the job is asked again for as long as it lives.
#[test]
fn a_cancel_that_is_refused_is_told_and_asked_again() {
    let lab = Lab::new();
    let a = lab.trial("a");
    let mut remote = lab.remote();
    remote.submit(&a).unwrap();
    until(&mut remote, |_| Job::read(&a).unwrap().is_some());
    lab.engine.state().no_end = Some(Trouble::Refused);
    remote.cancel(&a).unwrap();
    let mut notes = Vec::new();
    until(&mut remote, |remote| {
        notes.extend(remote.notes());
        lab.engine.state().cancelled.len() >= 3
    });
    assert_eq!(notes, ["fake does not end jobs, and is asked again where they go on: no agent"]);
    // It waits in a queue: it does so until the engine has taken the order.
    lab.engine.becomes("1", JobState::Waiting(String::new()));
    until(&mut remote, |remote| remote.is_queued(&a));
    lab.engine.state().no_end = None;
    assert_eq!(wait(&mut remote)[0].folder, a);
}

#[test]
fn a_thread_that_has_died_is_an_error() {
    let lab = Lab::new();
    let a = lab.trial("a");
    let mut remote = lab.remote();
    remote.submit(&a).unwrap();
    until(&mut remote, |_| Job::read(&a).unwrap().is_some());
    lab.engine.state().breaks = true;
    let error = until_some("an error", || remote.poll().err()).to_string();
    assert_eq!(error, "the thread of the executor fake has ended");
}

/// An engine that keeps what has ended takes a name that was in use for that job.
#[test]
fn a_sweep_whose_folder_was_removed_hands_over_other_names() {
    let lab = Lab::new();
    let a = lab.trial("a");
    let mut first = lab.remote();
    first.submit(&a).unwrap();
    until(&mut first, |_| Job::read(&a).unwrap().is_some());
    drop(first);
    let job = |attempt: &str| {
        let name = Some(lab.engine.state().submitted[0][0].replace("-a1", attempt));
        Listed { id: attempt.to_owned(), name, state: JobState::Ended(Some(How::Exited(0))) }
    };
    lab.engine.becomes("1", JobState::Ended(Some(How::Exited(0))));
    let others = ["-a10", "-a9"].map(job);
    lab.engine.state().jobs.extend(others);
    fs::remove_dir_all(&a).unwrap();
    let a = lab.trial("a");
    let mut second = lab.remote();
    assert!(!second.adopt(&a).unwrap());
    second.submit(&a).unwrap();
    until(&mut second, |_| Job::read(&a).unwrap().is_some());
    assert_eq!(Job::read(&a).unwrap().unwrap().attempt, 11);
    assert!(lab.engine.state().submitted[1][0].ends_with("-a11"));
}

#[test]
fn an_engine_without_a_queue_is_given_no_more_than_fits() {
    let lab = Lab::new();
    let (a, b) = (lab.trial("a"), lab.trial("b"));
    lab.engine.state().free = Some(1);
    let mut remote = lab.remote();
    assert!(remote.has_room(Path::new("t")).unwrap());
    remote.submit(&a).unwrap();
    assert!(!remote.has_room(Path::new("t")).unwrap());
    // It takes the place: every list that has it says so.
    lab.engine.state().free = Some(0);
    until(&mut remote, |remote| !remote.is_queued(&a));
    assert!(!remote.has_room(Path::new("t")).unwrap());
    lab.engine.state().free = Some(1);
    until(&mut remote, |remote| remote.has_room(Path::new("t")).unwrap());
    remote.submit(&b).unwrap();
}

#[test]
fn room_is_seen_where_none_of_our_jobs_lives() {
    let lab = Lab::new();
    let a = lab.trial("a");
    // Others have all of it when the sweep begins.
    lab.engine.state().free = Some(0);
    let mut remote = lab.remote();
    assert!(!remote.has_room(&a).unwrap());
    until(&mut remote, |remote| {
        !remote.has_room(&a).unwrap() && remote.notes() == ["fake has no room for a job, and is asked until it has"]
    });
    lab.engine.state().free = Some(1);
    until(&mut remote, |remote| remote.has_room(&a).unwrap());
    remote.submit(&a).unwrap();
    // What the engine says of its room is older than what it says of jobs: the only one has ended, and still takes it.
    lab.engine.state().free = Some(0);
    until(&mut remote, |remote| !remote.is_queued(&a));
    lab.engine.becomes("1", JobState::Ended(Some(How::Killed("killed by signal 9".into()))));
    assert_eq!(wait(&mut remote).len(), 1);
    assert!(!remote.has_room(&a).unwrap());
    lab.engine.state().free = Some(1);
    until(&mut remote, |remote| remote.has_room(&a).unwrap());
    remote.submit(&a).unwrap();
    until(&mut remote, |_| lab.engine.state().submitted.len() == 2);
}

#[test]
fn a_list_is_made_for_all_jobs_and_not_at_every_look() {
    let lab = Lab::new();
    let trials: Vec<PathBuf> = (0..20).map(|at| lab.trial(&at.to_string())).collect();
    let mut remote = lab.remote();
    trials.iter().for_each(|trial| remote.submit(trial).unwrap());
    until(&mut remote, |_| Job::read(&trials[19]).unwrap().is_some());
    assert_eq!(lab.engine.state().submitted.len(), 2);
    let begin = Instant::now();
    let before = lab.engine.state().lists;
    for _ in 0..100 {
        assert_eq!(remote.poll().unwrap(), []);
        std::thread::sleep(Duration::from_millis(1));
    }
    let lists = lab.engine.state().lists - before;
    let most = begin.elapsed().as_millis() as usize / 10 + 2;
    assert!(lists <= most, "{lists} of {most}");
}
