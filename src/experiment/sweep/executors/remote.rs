use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::mpsc::TryRecvError,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::{
    engine::{Engine, JobState, Listed, Listing, Submission},
    refused,
    worker::{MISSING, Order, Report, Worker},
};
use crate::{
    experiment::{
        ExperimentError,
        identity::hexadecimal,
        sweep::{Executor, How, executor::Ended},
    },
    trial::{Directory, Failure, Job, Until, history},
};

/// How long what a job has written may take to be seen here: network file systems keep what they know of a directory for
/// some seconds.
const SETTLE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 10_000 });

/// How long there may be no room, while none of our jobs takes any, before a word is said of it.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 15_000 });

/// Reasons of engines for a job that waits, which need no word.
const USUAL: [&str; 4] = ["", "None", "Priority", "Resources"];

/// Trials as jobs of a cluster's engine.
pub struct Remote {
    name: &'static str,
    /// Of the sweep.
    folder: PathBuf,
    worker: Worker,
    jobs: HashMap<PathBuf, Handed>,
    /// To be handed over at the next look, together.
    submissions: Vec<Submission>,
    /// Jobs of an earlier sweep, once they were looked for.
    found: Option<HashMap<PathBuf, Found>>,
    /// The last attempt of each trial that the engine knew then, by the names of its jobs without the attempt.
    attempts: HashMap<String, u32>,
    /// How many more would begin at once, by the last list.
    free: Option<usize>,
    /// Since when there is no room although none of our jobs takes any.
    full: Option<Instant>,
    notes: Vec<String>,
    said: Vec<String>,
}

/// A job of an earlier sweep that has not ended.
struct Found {
    job: Job,
    begun: bool,
}

/// A trial that was handed over, or will be.
#[derive(Debug, Default)]
struct Handed {
    /// The directory as the scheduler names it.
    given: PathBuf,
    /// What was noted of an earlier attempt.
    before: Option<Failure>,
    id: Option<String>,
    /// It was in a list.
    listed: bool,
    /// It was listed as one that runs, at last.
    begun: bool,
    missing: u32,
    cancelled: bool,
    /// The engine was asked to end it.
    told: bool,
    /// It has ended, as far as the engine knows.
    ended: Option<(Instant, Option<How>)>,
}

impl Remote {
    /// For the sweep in a directory.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(engine: Box<dyn Engine>, folder: PathBuf) -> Result<Self, ExperimentError> {
        let name = engine.name();
        let worker = Worker::start(engine).map_err(|error| {
            let error = crate::threads::explained(&error);
            refused(format!("the executor {name} cannot start: {error}"), None)
        })?;
        let (jobs, submissions, attempts, notes, said) = Default::default();
        let (found, free, full) = (None, None, None);
        Ok(Self { name, folder, worker, jobs, submissions, found, attempts, free, full, notes, said })
    }

    fn order(&self, order: Order) -> Result<(), ExperimentError> {
        self.worker.orders.send(order).map_err(|_| self.gone())
    }

    /// That nobody talks to the engine any more.
    fn gone(&self) -> ExperimentError {
        refused(format!("the thread of the executor {} has ended", self.name), None)
    }

    /// The jobs of an earlier sweep that have not ended, by the directories of their trials.
    fn find(&mut self) -> Result<HashMap<PathBuf, Found>, ExperimentError> {
        let folders: Vec<PathBuf> = match fs::read_dir(self.folder.join("trials")) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => Vec::new(),
        };
        let mut known: Vec<(PathBuf, Option<Job>)> = Vec::new();
        for folder in folders {
            let job = Job::read(&folder)?.filter(|job| job.engine == self.name);
            known.push((folder, job));
        }
        let ids = known.iter().filter_map(|(_, job)| job.as_ref()).map(|job| job.id.clone()).collect();
        self.order(Order::List(ids))?;
        let listing = loop {
            match self.worker.reports.recv() {
                Ok(Report::Listing(_, listing)) => break listing,
                Ok(Report::Absent(words) | Report::Refused(words)) => {
                    let help = "nothing was handed over; the same command tries again";
                    return Err(refused(format!("the executor {} cannot be used: {words}", self.name), Some(help)));
                }
                Ok(_) => {}
                Err(_) => return Err(self.gone()),
            }
        };
        self.free = listing.free;
        self.say(listing.note.clone());
        let alive = |listed: &&Listed| !matches!(listed.state, JobState::Ended(_));
        let by_id: HashMap<&str, &Listed> = listing.jobs.iter().filter(alive).map(|job| (&*job.id, job)).collect();
        let by_name: HashMap<String, &Listed> = listing
            .jobs
            .iter()
            .filter(alive)
            .filter_map(|job| Some((parts(job.name.as_deref()?)?.0.to_owned(), job)))
            .collect();
        // A name that was in use is of another job, also of one that has ended.
        for (base, attempt) in listing.jobs.iter().filter_map(|job| parts(job.name.as_deref()?)) {
            let last = self.attempts.entry(base.to_owned()).or_default();
            *last = attempt.max(*last);
        }
        let mut found = HashMap::new();
        for (folder, job) in known {
            // Of one that was handed over in the moment in which the sweep died, only the name is known.
            let listed = job.as_ref().and_then(|job| by_id.get(&*job.id)).or_else(|| by_name.get(&base(&folder)));
            let Some(listed) = listed else { continue };
            let job = job.filter(|job| job.id == listed.id).unwrap_or_else(|| {
                let name = listed.name.clone().unwrap_or_default();
                let attempt = parts(&name).map_or(1, |(_, attempt)| attempt.max(1));
                Job { engine: self.name.to_owned(), id: listed.id.clone(), name, attempt }
            });
            job.write(&folder)?;
            found.insert(folder, Found { job, begun: listed.state == JobState::Running });
        }
        if !found.is_empty() {
            let (count, name) = (found.len(), self.name);
            let jobs = if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") };
            self.notes.push(format!("{jobs} of {name} from before have not ended, and are taken over"));
        }
        Ok(found)
    }

    /// Notes what was not said before.
    fn say(&mut self, note: Option<String>) {
        if let Some(note) = note.filter(|note| !self.said.contains(note)) {
            self.notes.push(note.clone());
            self.said.push(note);
        }
    }

    fn absolute(&self, folder: &Path) -> PathBuf {
        std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
    }

    /// Takes in what the thread has done.
    fn hear(&mut self) -> Result<(), ExperimentError> {
        loop {
            let report = match self.worker.reports.try_recv() {
                Ok(report) => report,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(self.gone()),
            };
            match report {
                Report::Submitted(folder, id) => match self.jobs.get_mut(&folder).filter(|job| job.ended.is_none()) {
                    Some(job) => {
                        job.id = Some(id.clone());
                        if job.cancelled {
                            self.order(Order::Cancel(id))?;
                        }
                    }
                    // Given up meanwhile.
                    None => self.order(Order::Cancel(id))?,
                },
                Report::Cancelled(ids) => {
                    let told = |job: &&mut Handed| job.id.as_ref().is_some_and(|id| ids.contains(id));
                    self.jobs.values_mut().filter(told).for_each(|job| job.told = true);
                }
                Report::Unended(words) => {
                    let name = self.name;
                    self.say(Some(format!("{name} does not end jobs, and is asked again where they go on: {words}")));
                }
                Report::Dropped(folder) => {
                    if let Some(job) = self.jobs.get_mut(&folder) {
                        job.ended = Some((Instant::now(), None));
                    }
                }
                Report::Listing(asked, listing) => self.look(&asked, listing),
                Report::Absent(words) => {
                    self.notes.push(format!("{} does not answer, and is asked again: {words}", self.name));
                }
                Report::Present => self.notes.push(format!("{} answers again", self.name)),
                Report::Refused(words) => {
                    // What was not handed over by now will not be.
                    for job in self.jobs.values_mut().filter(|job| job.id.is_none()) {
                        (job.cancelled, job.ended) = (true, Some((Instant::now(), None)));
                    }
                    let help = "trials that were handed over are asked to save and end; the same command goes on, once that \
                                is mended";
                    return Err(refused(format!("the executor {} refuses: {words}", self.name), Some(help)));
                }
            }
        }
    }

    fn look(&mut self, asked: &[String], listing: Listing) {
        self.free = listing.free;
        self.say(listing.note);
        let listed: HashMap<&str, &JobState> = listing.jobs.iter().map(|job| (&*job.id, &job.state)).collect();
        for job in self.jobs.values_mut().filter(|job| job.ended.is_none()) {
            let Some(id) = &job.id else { continue };
            let ended = match listed.get(&**id) {
                Some(JobState::Ended(how)) => Some(how.clone()),
                // Some engines end a job that waits only when it would begin.
                Some(JobState::Waiting(_)) if job.told => Some(None),
                Some(state) => {
                    (job.listed, job.missing, job.begun) = (true, 0, **state == JobState::Running);
                    if let JobState::Waiting(reason) = state {
                        let usual = USUAL.contains(&&**reason) || self.said.contains(reason);
                        if !usual {
                            self.notes.push(format!("{} has job {id} wait: {reason}", self.name));
                            self.said.push(reason.clone());
                        }
                    }
                    None
                }
                None if !asked.contains(id) => None,
                None => {
                    job.missing += 1;
                    (job.missing >= MISSING).then_some(None)
                }
            };
            job.ended = ended.map(|how| (Instant::now(), how));
        }
    }
}

impl Executor for Remote {
    fn is_here(&self) -> bool {
        false
    }

    fn has_room(&mut self, _folder: &Path) -> Result<bool, ExperimentError> {
        if self.found.is_none() {
            self.found = Some(self.find()?);
        }
        // Jobs that were handed over since the last list are not counted in it.
        let since = self.jobs.values().filter(|job| !job.listed && job.ended.is_none()).count();
        let room = self.free.is_none_or(|free| since < free);
        if room || !self.jobs.is_empty() {
            self.full = None;
        } else if self.full.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            self.say(Some(format!("{} has no room for a job, and is asked until it has", self.name)));
        }
        Ok(room)
    }

    fn adopt(&mut self, given: &Path) -> Result<bool, ExperimentError> {
        let (given, folder) = (given.to_owned(), self.absolute(given));
        if self.found.is_none() {
            self.found = Some(self.find()?);
        }
        let Some(Found { job, begun }) = self.found.as_mut().and_then(|found| found.remove(&folder)) else {
            return Ok(false);
        };
        self.order(Order::Watch(job.id.clone()))?;
        self.jobs.insert(folder, Handed { given, id: Some(job.id), listed: true, begun, ..Handed::default() });
        Ok(true)
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn place(&self, _: &Path) -> Option<String> {
        Some(format!("as a job of {}", self.name))
    }

    fn is_queued(&self, folder: &Path) -> bool {
        self.jobs.get(&self.absolute(folder)).is_some_and(|job| !job.begun)
    }

    fn submit(&mut self, given: &Path) -> Result<(), ExperimentError> {
        let (given, folder) = (given.to_owned(), self.absolute(given));
        if folder.to_str().is_none_or(|text| text.contains(['\n', '\t'])) {
            let message = format!("`{}` cannot be handed over: it is no plain text in one line", folder.display());
            return Err(refused(message, Some("give the sweep another directory with --output")));
        }
        // A damaged note is no reason not to train: the names of attempts count on.
        let noted = Job::read(&folder).ok().flatten().map_or(0, |job| job.attempt);
        let base = base(&folder);
        let attempt = noted.max(self.attempts.get(&base).copied().unwrap_or(0)).saturating_add(1);
        let name = format!("{base}-a{attempt}");
        self.submissions.push(Submission { name, attempt, folder: folder.clone() });
        let before = Failure::read(&folder).ok().flatten();
        self.jobs.insert(folder, Handed { given, before, ..Handed::default() });
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        if !self.submissions.is_empty() {
            let submissions = std::mem::take(&mut self.submissions);
            self.order(Order::Submit(submissions))?;
        }
        self.hear()?;
        let mut over = Vec::new();
        for (folder, job) in &self.jobs {
            let Some((since, how)) = &job.ended else { continue };
            let how = match job.cancelled {
                true => Some(How::Killed("it was asked to end".into())),
                false => settled(folder, how.as_ref(), since.elapsed(), job.before.as_ref()),
            };
            over.extend(how.map(|how| Ended { folder: folder.clone(), how }));
        }
        let mut ended = Vec::new();
        for Ended { folder, how } in over {
            let Some(Handed { given, id, .. }) = self.jobs.remove(&folder) else { continue };
            if let Some(id) = id {
                self.order(Order::Forget(id))?;
            }
            ended.push(Ended { folder: given, how });
        }
        Ok(ended)
    }

    fn cancel(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        let folder = self.absolute(folder);
        self.submissions.retain(|submission| {
            let dropped = submission.folder == folder;
            if let (true, Some(job)) = (dropped, self.jobs.get_mut(&folder)) {
                (job.cancelled, job.ended) = (true, Some((Instant::now(), None)));
            }
            !dropped
        });
        let Some(job) = self.jobs.get_mut(&folder).filter(|job| !job.cancelled) else { return Ok(()) };
        job.cancelled = true;
        match job.id.clone() {
            Some(id) => self.order(Order::Cancel(id)),
            None => self.order(Order::Drop(folder)),
        }
    }
}

/// The name of a trial's jobs, without the attempt: of this directory, and of no other that has the same trial.
fn base(folder: &Path) -> String {
    let hash = hexadecimal(&Sha256::digest(folder.as_os_str().as_encoded_bytes()), 4);
    let trial = folder.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    format!("vitx-{trial}-{hash}")
}

/// The name of a job without its attempt, and the attempt.
fn parts(name: &str) -> Option<(&str, u32)> {
    let (base, attempt) = name.rsplit_once("-a")?;
    Some((base, attempt.parse().ok()?))
}

/// How a trial ended whose job has: by its directory first, for which is waited where it says nothing yet.
fn settled(folder: &Path, how: Option<&How>, since: Duration, before: Option<&Failure>) -> Option<How> {
    // Opened anew, a directory of a network file system is looked at anew.
    let _ = fs::read_dir(folder).map(Iterator::count);
    let failure = Failure::read(folder).ok().flatten();
    let noted = Directory::new(folder).has_result() || failure.is_some() && failure.as_ref() != before;
    let until = Until::read(folder).ok().flatten();
    let reached =
        || until.is_some_and(|until| history::read(folder).is_ok_and(|epochs| epochs.len() >= until.epochs as usize));
    match how {
        _ if noted => Some(how.cloned().unwrap_or(How::Exited(0))),
        None | Some(How::Exited(0)) if reached() => Some(How::Exited(0)),
        // Its word may be on its way here.
        None | Some(How::Exited(0 | 1)) if since < SETTLE => None,
        None => Some(How::Killed("its job has ended without a word".into())),
        Some(how) => Some(how.clone()),
    }
}

#[cfg(test)]
mod tests;
