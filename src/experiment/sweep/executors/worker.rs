use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use super::engine::{Engine, JobState, Listed, Listing, Submission, Trouble, job};

/// How often jobs are listed: soon after something has changed, and more rarely while nothing does.
const SOON: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 2000 });
const RARELY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 5000 });

/// How long an engine that does not answer is left alone, at most.
const LONGEST: Duration = Duration::from_millis(if cfg!(test) { 40 } else { 30_000 });

/// How long a job that the engine refused to end is let alone before that is asked again.
const AGAIN: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 30_000 });

/// So many lists in a row that lack a job say that it has ended: some engines list a new job a moment late.
pub const MISSING: u32 = 2;

/// What the thread is to do.
pub enum Order {
    /// Hands jobs over.
    Submit(Vec<Submission>),
    /// Looks after a job of an earlier sweep.
    Watch(String),
    /// Asks a job to end.
    Cancel(String),
    /// Does not hand a trial over, if it has not been.
    Drop(PathBuf),
    /// Lists now, with jobs that were handed over before.
    List(Vec<String>),
    /// A job has ended, and need not be asked for any more.
    Forget(String),
}

/// What the thread has done.
pub enum Report {
    /// A trial was handed over, with the job's id.
    Submitted(PathBuf, String),
    /// Jobs were asked to end.
    Cancelled(Vec<String>),
    /// The engine refuses to end jobs; those that live on are asked again.
    Unended(String),
    /// A trial was not handed over, and will not be.
    Dropped(PathBuf),
    /// The engine's list, and the jobs for which it was asked.
    Listing(Vec<String>, Listing),
    /// The engine does not answer; it is asked again.
    Absent(String),
    /// The engine answers again.
    Present,
    /// The engine refuses what it is asked. Nothing that waited is handed over.
    Refused(String),
}

/// The thread that talks to an engine: calls take as long as they take, and the scheduler never waits for one. It ends when
/// the orders do.
pub struct Worker {
    pub orders: Sender<Order>,
    pub reports: Receiver<Report>,
}

/// A job that is to end.
struct Cancel {
    id: String,
    /// When the engine is asked to.
    due: Instant,
    /// Lists in a row that lack it.
    missing: u32,
}

struct Talk {
    engine: Box<dyn Engine>,
    orders: Receiver<Order>,
    reports: Sender<Report>,
    queue: VecDeque<Submission>,
    dropped: HashSet<PathBuf>,
    cancels: Vec<Cancel>,
    /// Jobs that have not ended.
    live: Vec<String>,
    /// The last list had no room for a job. Others' jobs end as well: it is made again although no job of ours lives.
    full: bool,
    /// The engine did not answer to a submission: the first in the queue may be handed over already.
    in_doubt: bool,
    /// Lists next.
    due: Instant,
    pause: Duration,
    last: Vec<Listed>,
    /// How long the engine is left alone, after it did not answer.
    backoff: Option<(Instant, Duration)>,
}

impl Worker {
    pub fn start(engine: Box<dyn Engine>) -> std::io::Result<Self> {
        let (orders, for_thread) = channel();
        let (from_thread, reports) = channel();
        let talk = Talk {
            engine,
            orders: for_thread,
            reports: from_thread,
            queue: VecDeque::new(),
            dropped: HashSet::new(),
            cancels: Vec::new(),
            live: Vec::new(),
            full: false,
            in_doubt: false,
            due: Instant::now(),
            pause: SOON,
            last: Vec::new(),
            backoff: None,
        };
        thread::Builder::new().name("executor".into()).spawn(move || talk.run())?;
        Ok(Self { orders, reports })
    }
}

impl Talk {
    fn run(mut self) {
        loop {
            let now = Instant::now();
            let next = self.backoff.map_or(self.due, |(until, _)| until);
            let idle = !self.lists() && self.queue.is_empty();
            let wait = if idle { LONGEST } else { next.saturating_duration_since(now) };
            match self.orders.recv_timeout(wait) {
                Ok(order) => {
                    self.take(order);
                    while let Ok(order) = self.orders.try_recv() {
                        self.take(order);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.backoff.is_some_and(|(until, _)| Instant::now() < until) {
                continue;
            }
            let done = self.step();
            self.note(done);
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Submit(jobs) => self.queue.extend(jobs),
            Order::Watch(id) => self.live.push(id),
            Order::Cancel(id) => self.cancels.push(Cancel { id, due: Instant::now(), missing: 0 }),
            Order::Drop(folder) => {
                self.dropped.insert(folder);
            }
            Order::Forget(id) => {
                self.live.retain(|live| *live != id);
                self.cancels.retain(|cancel| cancel.id != id);
            }
            Order::List(ids) => {
                let listed = self.engine.list(&ids);
                let done = listed.map(|listing| self.listed(ids, listing));
                self.note(done);
            }
        }
    }

    /// Tells how a call went.
    fn note(&mut self, done: Result<(), Trouble>) {
        match done {
            Ok(()) => {
                if self.backoff.take().is_some() {
                    self.report(Report::Present);
                }
            }
            Err(Trouble::Absent(words)) => {
                let pause = self.backoff.map_or(SOON, |(_, pause)| (2 * pause).min(LONGEST));
                if self.backoff.replace((Instant::now() + pause, pause)).is_none() {
                    self.report(Report::Absent(words));
                }
            }
            Err(Trouble::Refused(words)) => {
                self.queue.clear();
                self.in_doubt = false;
                self.due = Instant::now() + SOON;
                self.report(Report::Refused(words));
            }
        }
    }

    fn report(&mut self, report: Report) {
        // Where nobody listens any more, the orders end as well.
        let _ = self.reports.send(report);
    }

    /// Whether there is anything for which to list.
    fn lists(&self) -> bool {
        self.full || !self.live.is_empty() || !self.cancels.is_empty()
    }

    fn listed(&mut self, asked: Vec<String>, listing: Listing) {
        self.full = listing.free == Some(0);
        // What has ended need not be asked to.
        self.cancels.retain_mut(|cancel| {
            let listed = listing.jobs.iter().find(|job| job.id == cancel.id);
            cancel.missing = if listed.is_some() { 0 } else { cancel.missing + 1 };
            cancel.missing < MISSING && !listed.is_some_and(|job| matches!(job.state, JobState::Ended(_)))
        });
        self.report(Report::Listing(asked, listing));
    }

    /// All that is to be done now. An engine that does not answer to a cancel is asked for the rest all the same: only a list
    /// tells that the job has ended.
    fn step(&mut self) -> Result<(), Trouble> {
        let cancelled = self.cancel();
        if self.in_doubt {
            self.resolve()?;
        }
        let dropped = std::mem::take(&mut self.dropped);
        for folder in dropped {
            let before = self.queue.len();
            self.queue.retain(|waiting| waiting.folder != folder);
            if self.queue.len() < before {
                self.report(Report::Dropped(folder));
            }
        }
        while !self.queue.is_empty() {
            let count = self.engine.wave().clamp(1, self.queue.len());
            let wave: Vec<Submission> = self.queue.iter().take(count).cloned().collect();
            let submitted = self.engine.submit(&wave);
            // What is refused was not handed over; of what is not answered nothing is known.
            self.in_doubt = matches!(submitted, Err(Trouble::Absent(_)));
            let ids = submitted?;
            for id in ids {
                self.submitted(id)?;
            }
            self.pause = SOON;
        }
        if Instant::now() >= self.due && self.lists() {
            let listing = self.engine.list(&self.live)?;
            let same = listing.jobs == self.last;
            self.pause = if same { (self.pause * 5 / 4).min(RARELY) } else { SOON };
            self.due = Instant::now() + self.pause;
            self.last.clone_from(&listing.jobs);
            self.listed(self.live.clone(), listing);
        }
        cancelled
    }

    /// Has jobs asked to end.
    fn cancel(&mut self) -> Result<(), Trouble> {
        let now = Instant::now();
        let ids: Vec<String> =
            self.cancels.iter().filter(|cancel| cancel.due <= now).map(|cancel| cancel.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        match self.engine.cancel(&ids) {
            Ok(()) => {
                self.cancels.retain(|cancel| !ids.contains(&cancel.id));
                self.report(Report::Cancelled(ids));
            }
            // It may be for one of them, which has just ended.
            Err(Trouble::Refused(words)) => {
                for cancel in self.cancels.iter_mut().filter(|cancel| ids.contains(&cancel.id)) {
                    cancel.due = Instant::now() + AGAIN;
                }
                self.report(Report::Unended(words));
            }
            absent => return absent,
        }
        self.due = self.due.min(Instant::now() + SOON);
        self.pause = SOON;
        Ok(())
    }

    /// The first in the queue was handed over.
    fn submitted(&mut self, id: String) -> Result<(), Trouble> {
        let Some(submission) = self.queue.pop_front() else { return Ok(()) };
        self.live.push(id.clone());
        let kept = job(&*self.engine, &submission, &id).write(&submission.folder);
        self.report(Report::Submitted(submission.folder, id));
        // A job that the next sweep would not find is handed over twice, which a lock would tell the second one.
        kept.map_err(|error| Trouble::Refused(error.to_string()))
    }

    /// Finds out which of the queue have been handed over although the engine did not answer, by their names.
    fn resolve(&mut self) -> Result<(), Trouble> {
        let listing = self.engine.list(&self.live)?;
        self.in_doubt = false;
        let ids: HashMap<String, String> =
            listing.jobs.into_iter().filter_map(|listed| Some((listed.name?, listed.id))).collect();
        let (there, missing): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.queue).into_iter().partition(|waiting| ids.contains_key(&waiting.name));
        let found = there.len();
        self.queue.extend(there);
        self.queue.extend(missing);
        for _ in 0..found {
            let Some(id) = self.queue.front().and_then(|waiting| ids.get(&waiting.name)).cloned() else { break };
            self.submitted(id)?;
        }
        Ok(())
    }
}
