//! The device's side of a pack.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use super::{
    Launches,
    joint::{Shape, joint},
};
use crate::backend::{
    BackendError,
    cuda::{device::Device, program::Call},
};

/// Merged programs that are kept ready: enough for all in which the members of a pack come together.
const MOST_JOINT: usize = 64;

/// What a member asks for.
pub enum Request<D: Device> {
    /// It is there.
    Join,
    /// Something with its own memory or its own programs.
    Do(Work<D>),
    /// A program of its own, prepared before.
    Launch(u64),
    /// It launches nothing any more.
    Leave,
}

type Work<D> = Box<dyn FnOnce(&mut Host<D>) + Send>;

/// The device, and what it keeps for members.
pub struct Host<D: Device> {
    device: D,
    memory: HashMap<u64, D::Memory>,
    programs: HashMap<u64, Program<D>>,
    /// Several programs as one, by their numbers.
    joint: HashMap<Vec<u64>, D::Prepared>,
    next: u64,
    /// Why the device does not work any more.
    broken: Option<String>,
    /// Members that have not left.
    members: usize,
    pub launches: Launches,
}

struct Program<D: Device> {
    calls: Vec<Call<u64>>,
    shape: Shape,
    prepared: D::Prepared,
}

/// A member as the device's thread knows it.
struct Known<D: Device> {
    asked: VecDeque<Request<D>>,
    /// How far it has come, counted as the others are.
    launched: u64,
    /// It was waited for in vain.
    away: bool,
    left: bool,
}

impl<D: Device> Known<D> {
    /// The program that it has come to launch.
    fn at_launch(&self) -> Option<u64> {
        match self.asked.front() {
            Some(Request::Launch(id)) => Some(*id),
            _ => None,
        }
    }

    fn is_missing(&self) -> bool {
        self.asked.is_empty() && !self.away && !self.left
    }
}

impl<D: Device> Host<D> {
    pub fn new(device: D) -> Self {
        Self {
            device,
            memory: HashMap::new(),
            programs: HashMap::new(),
            joint: HashMap::new(),
            next: 0,
            broken: None,
            members: 0,
            launches: Launches::default(),
        }
    }

    /// Does what members ask for until there is none who could.
    pub fn serve(mut self, received: &Receiver<(usize, Request<D>)>, patience: Duration) {
        let mut members: BTreeMap<usize, Known<D>> = BTreeMap::new();
        let mut waiting_since: Option<Instant> = None;
        loop {
            self.members = members.values().filter(|known| !known.left).count();
            self.do_all(&mut members);
            let ready: Vec<usize> =
                members.iter().filter(|(_, known)| known.at_launch().is_some()).map(|(number, _)| *number).collect();
            let missing = members.values().any(Known::is_missing);
            if !ready.is_empty() && !missing {
                waiting_since = None;
                self.launch_first(&mut members, &ready);
                // Without waiting for them, for others may have come.
                received.try_iter().for_each(|(number, request)| take(&mut members, number, request));
                continue;
            }
            let request = if ready.is_empty() {
                received.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                let since = *waiting_since.get_or_insert_with(Instant::now);
                received.recv_timeout(patience.saturating_sub(since.elapsed()))
            };
            match request {
                Ok((number, request)) => take(&mut members, number, request),
                Err(RecvTimeoutError::Timeout) => {
                    members.values_mut().filter(|known| known.is_missing()).for_each(|known| known.away = true);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does what members ask for before their next launches.
    fn do_all(&mut self, members: &mut BTreeMap<usize, Known<D>>) {
        for known in members.values_mut() {
            while known.at_launch().is_none()
                && let Some(request) = known.asked.pop_front()
            {
                match request {
                    Request::Do(work) => work(self),
                    Request::Leave => known.left = true,
                    Request::Join | Request::Launch(_) => {}
                }
            }
        }
    }

    /// Launches the program of the member that has launched the least, and with it those alike of the others. The rest
    /// stay where they are: those behind catch up, and all come to the same place of their epochs together.
    fn launch_first(&mut self, members: &mut BTreeMap<usize, Known<D>>, ready: &[usize]) {
        let first = ready.iter().min_by_key(|number| members[number].launched);
        let Some(program) = first.and_then(|first| members[first].at_launch()) else { return };
        let shape = self.programs.get(&program).map(|program| program.shape.clone());
        let mut group = Vec::new();
        for number in ready {
            let Some(known) = members.get_mut(number) else { continue };
            let Some(id) = known.at_launch() else { continue };
            if id == program || self.programs.get(&id).map(|program| &program.shape) == shape.as_ref() {
                group.push(id);
                known.asked.pop_front();
                known.launched += 1;
            }
        }
        if self.broken.is_none()
            && let Err(error) = self.launch(&group)
        {
            self.broken = Some(error.to_string());
        }
    }

    fn launch(&mut self, group: &[u64]) -> Result<(), BackendError> {
        self.launches.all += group.len() as u64;
        if let [alone] = group {
            return match self.programs.get(alone) {
                Some(program) => self.device.launch(&program.prepared),
                None => Err(unknown()),
            };
        }
        self.launches.together += group.len() as u64;
        if !self.joint.contains_key(group) {
            let programs: Option<Vec<&[Call<u64>]>> =
                group.iter().map(|id| self.programs.get(id).map(|program| &program.calls[..])).collect();
            let groups = joint(&programs.ok_or_else(unknown)?);
            if self.joint.len() >= MOST_JOINT {
                self.device.synchronize()?;
                self.joint.clear();
            }
            let prepared = self.device.prepare_joint(groups)?;
            self.joint.insert(group.to_vec(), prepared);
        }
        self.device.launch(&self.joint[group])
    }

    /// Whether the device still works.
    pub fn works(&self) -> Result<(), BackendError> {
        match &self.broken {
            None => Ok(()),
            Some(problem) => Err(BackendError::Shared(format!("the device that trials share has failed: {problem}"))),
        }
    }

    /// After an error of what was launched nothing works any more, for no member.
    fn spoilt<R>(&mut self, result: Result<R, BackendError>) -> Result<R, BackendError> {
        result.map_err(|error| {
            let problem = error.to_string();
            self.broken = Some(problem);
            self.works().err().unwrap_or(error)
        })
    }

    /// An error of one member's memory or programs, as one that others may be the reason of: alone it may have room.
    fn beside_others(&self, error: BackendError) -> BackendError {
        match self.members {
            2.. => BackendError::Shared(format!("{error}; {} trials share the device", self.members)),
            _ => error,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Bytes that are free, and all that there are.
    pub fn free(&self) -> Result<Option<[u64; 2]>, BackendError> {
        self.device.memory()
    }

    pub fn allocate(&mut self, bytes: usize, what: &str) -> Result<(u64, u64), BackendError> {
        let memory = self.device.allocate(bytes, what).map_err(|error| self.beside_others(error))?;
        let (id, address) = (self.number(), self.device.address(&memory));
        self.memory.insert(id, memory);
        Ok((id, address))
    }

    pub fn write(&mut self, id: u64, offset: usize, bytes: &[u8]) -> Result<(), BackendError> {
        let memory = self.memory.get_mut(&id).ok_or_else(unknown)?;
        let written = self.device.write(memory, offset, bytes);
        self.spoilt(written)
    }

    pub fn read(&mut self, id: u64, offset: usize, count: usize) -> Result<Vec<u8>, BackendError> {
        let mut bytes = vec![0; count];
        let read = self.device.read(self.memory.get(&id).ok_or_else(unknown)?, offset, &mut bytes);
        self.spoilt(read.map(|()| bytes))
    }

    pub fn copy(&mut self, from: u64, offset: usize, to: u64, bytes: usize) -> Result<(), BackendError> {
        let mut target = self.memory.remove(&to).ok_or_else(unknown)?;
        let source = self.memory.get(&from).ok_or_else(unknown);
        let copied = source.and_then(|source| self.device.copy(source, offset, &mut target, bytes));
        self.memory.insert(to, target);
        self.spoilt(copied)
    }

    pub fn prepare(&mut self, calls: Vec<Call<u64>>) -> Result<u64, BackendError> {
        let prepared = self.device.prepare(calls.clone()).map_err(|error| self.beside_others(error))?;
        let id = self.number();
        self.programs.insert(id, Program { shape: Shape::of(&calls), calls, prepared });
        Ok(id)
    }

    pub fn fastest(&mut self, programs: &[Vec<Call<u64>>]) -> Result<usize, BackendError> {
        let fastest = self.device.fastest(programs);
        self.spoilt(fastest)
    }

    pub fn time(&mut self, calls: Vec<Call<u64>>) -> Result<Vec<Duration>, BackendError> {
        let times = self.device.time(calls);
        self.spoilt(times)
    }

    pub fn synchronize(&mut self) -> Result<(), BackendError> {
        let done = self.device.synchronize();
        self.spoilt(done)
    }

    /// Gives back what was kept under a number.
    pub fn forget(&mut self, id: u64) {
        self.memory.remove(&id);
        if self.programs.remove(&id).is_some() {
            // What still runs of it is done first.
            let _ = self.synchronize();
            self.joint.retain(|group, _| !group.contains(&id));
        }
    }
}

/// Puts a request behind those that its member made before. Who comes, or comes again, begins where the last of the others
/// is: nobody waits for it to catch up with what it has missed.
fn take<D: Device>(members: &mut BTreeMap<usize, Known<D>>, number: usize, request: Request<D>) {
    let others = members.iter().filter(|(other, known)| **other != number && !known.left && !known.away);
    let last = others.map(|(_, known)| known.launched).min().unwrap_or(0);
    let known = members.entry(number).or_insert_with(|| Known {
        asked: VecDeque::new(),
        launched: last,
        away: false,
        left: false,
    });
    if known.away && matches!(request, Request::Launch(_)) {
        known.away = false;
        known.launched = known.launched.max(last);
    }
    known.asked.push_back(request);
}

fn unknown() -> BackendError {
    BackendError::Other("a pack does not know what it is asked for".into())
}
