//! Trials as processes of this machine that train several at once, each such process on one CUDA device.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fs::File,
    io::{BufRead, BufReader, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Instant,
};

use super::local::{GRACE, how, spawned, terminate};
use crate::{
    backend::{BackendError, shared_device},
    experiment::{
        Definition, ExperimentError,
        sweep::{Executor, How, Pool, executor::Ended},
        training::{Options, SHARED},
    },
    files::append_to,
    threads,
    trial::Directory,
};

mod key;
mod made;
mod room;
mod size;
mod throughput;

use self::{
    key::pack_key,
    throughput::{curve, measure, up_to},
};
pub use self::{room::Room, size::PackSize};

/// Trials by packs: of those that are submitted at a time, as many as fit together, see [`pack_key`]. What they print goes
/// to `log.txt` in their directories.
pub struct Packed {
    program: PathBuf,
    /// Between `trial` and the directories.
    arguments: Vec<OsString>,
    pool: Option<Pool>,
    size: PackSize,
    scales: Box<dyn Scales>,
    /// Trials of a pack at most, by its key and its device, where that was looked at.
    looked: HashMap<(String, usize), usize>,
    notes: Vec<String>,
    keys: HashMap<PathBuf, String>,
    /// Trials whose pack has failed under them: each has a process of its own.
    alone: HashSet<PathBuf>,
    forming: Vec<Forming>,
    running: Vec<Running>,
    /// Trials whose process could not be started, until a look has told of them.
    lost: Vec<Ended>,
}

/// What is asked of a device, by its number, before trials like the one of a directory are packed there.
pub(crate) trait Scales {
    /// The memory that they take, and what there is where so many packs share the device; nothing where that is not known.
    ///
    /// # Errors
    /// A device that does not work, or a trial that cannot be.
    fn room(&self, folder: &Path, device: usize, shares: usize) -> Result<Option<Room>, ExperimentError>;

    /// The steps a second that so many of them do at once.
    ///
    /// # Errors
    /// As [`Scales::room`], and where they do not fit.
    fn steps(&self, folder: &Path, device: usize, trials: usize) -> Result<f64, ExperimentError>;
}

/// The devices of this machine, with the options of a trial there.
struct Devices(Options);

impl Scales for Devices {
    fn room(&self, folder: &Path, device: usize, shares: usize) -> Result<Option<Room>, ExperimentError> {
        Room::of(&Definition::of_trial(folder)?, &self.0, &*shared_device(device)?, shares)
    }

    fn steps(&self, folder: &Path, device: usize, trials: usize) -> Result<f64, ExperimentError> {
        measure(&Definition::of_trial(folder)?, &self.0, &shared_device(device)?, trials)
    }
}

/// A trial of a pack that has ended: its place there, and its exit code.
type Said = (usize, i32);

/// A pack that begins with the next look.
#[derive(Debug)]
struct Forming {
    key: String,
    folders: Vec<PathBuf>,
    /// Trials that it may have.
    most: usize,
    /// The device, and the file that holds it.
    place: Option<(usize, Option<File>)>,
}

#[derive(Debug)]
struct Running {
    /// None where the trial has ended.
    folders: Vec<Option<PathBuf>>,
    child: Child,
    said: Receiver<Said>,
    reader: Option<thread::JoinHandle<()>>,
    device: Option<usize>,
    cancelled: Option<Instant>,
}

impl Running {
    /// How the process has ended, if it has: then all that it says has been heard. One that takes too long to end is
    /// ended.
    fn end(&mut self) -> Option<How> {
        if self.cancelled.is_some_and(|since| since.elapsed() > GRACE) {
            // It may have ended this moment; the next line tells.
            let _ = self.child.kill();
        }
        let how = match self.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => how(status),
            Err(error) => How::Crashed(error.to_string()),
        };
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Some(how)
    }
}

impl Packed {
    /// Runs this very program, up to so many trials in a process, each process on a device of the pool. `options` are those of
    /// a trial that is timed.
    ///
    /// # Errors
    /// When the system does not tell where it lies.
    pub fn new(
        arguments: Vec<OsString>,
        pool: Option<Pool>,
        size: PackSize,
        options: Options,
    ) -> Result<Self, ExperimentError> {
        let program = std::env::current_exe().map_err(ExperimentError::io("find", "vitx"))?;
        Ok(Self::of(program, arguments, pool, size, Box::new(Devices(options))))
    }

    /// Runs a program with the arguments of this one.
    pub(crate) fn of(
        program: PathBuf,
        arguments: Vec<OsString>,
        pool: Option<Pool>,
        size: PackSize,
        scales: Box<dyn Scales>,
    ) -> Self {
        Self {
            program,
            arguments,
            pool,
            size,
            scales,
            looked: HashMap::new(),
            notes: Vec::new(),
            keys: HashMap::new(),
            alone: HashSet::new(),
            forming: Vec::new(),
            running: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// How many trials like this one may be packed on a device: as many as have room there, and of these those that make the most of
    /// it, where that is wanted.
    fn most(&mut self, folder: &Path, key: &str, device: usize) -> usize {
        if self.size == PackSize::Of(1) || self.alone.contains(folder) {
            return 1;
        }
        let of = (key.to_owned(), device);
        if let Some(most) = self.looked.get(&of) {
            return *most;
        }
        let shares = self.pool.as_ref().map_or(1, Pool::shares);
        let room = catch_unwind(AssertUnwindSafe(|| self.scales.room(folder, device, shares)));
        let room = room.unwrap_or_else(|_| Err(BackendError::Other("its engine has panicked".into()).into()));
        let (most, note) = match self.size {
            PackSize::Of(count) => limited(count as usize, room),
            PackSize::Auto => {
                let (room, unknown) = match room {
                    Ok(room) => (room, String::new()),
                    Err(error) => (None, format!("; how much memory they take is not known: {error}")),
                };
                match curve(room, |trials| self.scales.steps(folder, device, trials)) {
                    Ok(curve) => (curve.best(), Some(format!("{curve}{unknown}"))),
                    // The trial itself says what is wrong.
                    Err(error) => (1, Some(format!("trials are not packed, as none could be timed: {error}"))),
                }
            }
        };
        self.notes.extend(note);
        self.looked.insert(of, most);
        most
    }

    /// The trials with the same text go together.
    fn key(&mut self, folder: &Path) -> String {
        if self.alone.contains(folder) {
            return format!("alone: {}", folder.display());
        }
        let key = || pack_key(folder).unwrap_or_else(|| format!("unread: {}", folder.display()));
        self.keys.entry(folder.to_owned()).or_insert_with(key).clone()
    }

    /// Starts the process of a pack. Where that fails, the next look tells that its trials have ended.
    fn start(&mut self, forming: Forming) -> Result<(), ExperimentError> {
        let Forming { folders, place, .. } = forming;
        let device = place.as_ref().map(|(device, _)| *device);
        match self.process(&folders, place) {
            Ok(running) => {
                self.running.push(running);
                Ok(())
            }
            Err(error) => {
                self.give_back(device);
                self.lose(folders, &format!("its process could not be started: {error}"));
                Err(error)
            }
        }
    }

    /// The process of a pack.
    fn process(&self, folders: &[PathBuf], place: Option<(usize, Option<File>)>) -> Result<Running, ExperimentError> {
        // What is said of no trial, a panic or a driver's word, is in the first one's.
        let errors = append_to(&Directory::new(&folders[0]).log())?;
        let mut command = Command::new(&self.program);
        command.arg("trial").args(&self.arguments).arg("--report-ends");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let device = place.as_ref().map(|(device, _)| *device);
        if let Some((device, lock)) = place {
            command.arg("--device").arg(device.to_string());
            if let Some(lock) = lock {
                // It keeps the device taken for as long as the process lives.
                command.stdin(lock);
            }
        }
        command.arg("--").args(folders);
        let mut child = spawned(&mut command, &self.program)?;
        let (says, said) = mpsc::channel();
        let listens = |output| thread::Builder::new().name("pack".into()).spawn(move || listen(output, &says));
        match child.stdout.take().map(listens).transpose() {
            Ok(reader) => {
                let folders = folders.iter().cloned().map(Some).collect();
                Ok(Running { folders, child, said, reader, device, cancelled: None })
            }
            Err(error) => {
                // Nobody would hear how its trials end.
                let _ = child.kill().and_then(|()| child.wait());
                Err(ExperimentError::io("listen to", &self.program)(threads::explained(&error)))
            }
        }
    }

    /// Notes that trials have ended that no process has.
    fn lose(&mut self, folders: Vec<PathBuf>, how: &str) {
        self.lost.extend(folders.into_iter().map(|folder| Ended { folder, how: How::Killed(how.to_owned()) }));
    }

    fn give_back(&mut self, device: Option<usize>) {
        if let (Some(pool), Some(device)) = (&mut self.pool, device) {
            pool.give_back(device);
        }
    }

    /// How a trial ended that its process has told of. After a failure that may be another's, it has a process of its own.
    fn told(&mut self, folder: &Path, code: i32) -> How {
        if code == i32::from(SHARED) {
            self.alone.insert(folder.to_owned());
            return How::Killed("the device that it shared with other trials failed, or had no room for it".into());
        }
        How::Exited(code)
    }
}

/// How many trials of so many have room, with what there is to say.
fn limited(wanted: usize, room: Result<Option<Room>, ExperimentError>) -> (usize, Option<String>) {
    match room {
        Ok(Some(room)) => match (room.most(wanted), room.lacks(wanted)) {
            (most, Some(lacks)) => (most, Some(format!("{}: {lacks}", up_to(most)))),
            _ => (wanted, None),
        },
        Ok(None) => (wanted, None),
        Err(error) => (wanted, Some(format!("whether {wanted} trials at once have room is not known: {error}"))),
    }
}

/// Hands on what a process says of its trials.
fn listen(output: impl Read, says: &Sender<Said>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let numbers = line.split_once(' ').and_then(|(at, code)| Some((at.parse().ok()?, code.parse().ok()?)));
        if let Some(said) = numbers
            && says.send(said).is_err()
        {
            return;
        }
    }
}

impl Executor for Packed {
    fn has_room(&mut self, folder: &Path) -> Result<bool, ExperimentError> {
        let key = self.key(folder);
        let fits = |forming: &Forming| forming.key == key && forming.folders.len() < forming.most;
        Ok(self.forming.iter().any(fits) || self.pool.as_mut().is_none_or(Pool::room))
    }

    fn let_go(&mut self) {
        self.pool.iter_mut().for_each(Pool::let_go);
    }

    fn notes(&mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.notes);
        notes.extend(self.pool.as_mut().map_or_else(Vec::new, Pool::notes));
        notes
    }

    fn place(&self, folder: &Path) -> Option<String> {
        let forming = self.forming.iter().find(|forming| forming.folders.iter().any(|own| own == folder));
        let running = || self.running.iter().find(|running| running.folders.iter().flatten().any(|own| own == folder));
        let device = match forming {
            Some(forming) => forming.place.as_ref().map(|(device, _)| *device),
            None => running().and_then(|running| running.device),
        };
        device.map(|device| format!("on device {device}"))
    }

    fn submit(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        let key = self.key(folder);
        let fits = |forming: &&mut Forming| forming.key == key && forming.folders.len() < forming.most;
        if let Some(forming) = self.forming.iter_mut().find(fits) {
            forming.folders.push(folder.to_owned());
            return Ok(());
        }
        let place = self.pool.as_mut().and_then(Pool::take);
        let most = self.most(folder, &key, place.as_ref().map_or(0, |(device, _)| *device));
        self.forming.push(Forming { key, folders: vec![folder.to_owned()], most, place });
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<Ended>, ExperimentError> {
        let mut forming = std::mem::take(&mut self.forming).into_iter();
        while let Some(next) = forming.next() {
            if let Err(error) = self.start(next) {
                for Forming { folders, place, .. } in forming {
                    self.give_back(place.map(|(device, _)| device));
                    self.lose(folders, "its process was not started, as another one could not be");
                }
                return Err(error);
            }
        }
        let mut ended = std::mem::take(&mut self.lost);
        let mut running = std::mem::take(&mut self.running);
        running.retain_mut(|pack| {
            let end = pack.end();
            for (at, code) in pack.said.try_iter().collect::<Vec<_>>() {
                let Some(folder) = pack.folders.get_mut(at).and_then(Option::take) else { continue };
                ended.push(Ended { how: self.told(&folder, code), folder });
            }
            let Some(how) = &end else { return true };
            self.give_back(pack.device);
            // What one has done to all of them is not known: each is tried again by itself.
            let together = pack.folders.len() > 1 && pack.cancelled.is_none();
            for folder in pack.folders.iter_mut().filter_map(Option::take) {
                let how = match how {
                    How::Crashed(how) if together => How::Killed(how.clone()),
                    how => how.clone(),
                };
                if together {
                    self.alone.insert(folder.clone());
                }
                ended.push(Ended { folder, how });
            }
            false
        });
        self.running = running;
        Ok(ended)
    }

    /// A process is asked to end as a whole: its other trials save as well, and are resumed.
    fn cancel(&mut self, folder: &Path) -> Result<(), ExperimentError> {
        let has = |folders: &[PathBuf]| folders.iter().any(|own| own == folder);
        if let Some(at) = self.forming.iter().position(|forming| has(&forming.folders)) {
            // It begins with the others, and is then asked to end.
            let forming = self.forming.remove(at);
            self.start(forming)?;
        }
        for running in
            self.running.iter_mut().filter(|running| running.folders.iter().flatten().any(|own| own == folder))
        {
            if running.cancelled.is_none() {
                running.cancelled = Some(Instant::now());
                terminate(&mut running.child);
            }
        }
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests;
