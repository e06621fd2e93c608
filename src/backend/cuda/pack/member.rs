use std::{fmt, sync::mpsc, time::Duration};

use super::host::{Host, Request};
use crate::backend::{
    BackendError,
    cuda::{device::Device, program::Call},
};

/// Where requests go, with the number of the member.
pub type Requests<D> = mpsc::Sender<(usize, Request<D>)>;

/// What a device says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub block_memory: usize,
    pub wide: usize,
}

/// A packed device as one of the engines sees it.
pub struct Member<D: Device> {
    number: usize,
    requests: Requests<D>,
    facts: Facts,
}

/// What the device's thread keeps for a member, by its number there; given back when dropped.
pub struct Held<D: Device> {
    id: u64,
    address: u64,
    member: usize,
    requests: Requests<D>,
}

/// The device's thread has ended.
pub fn gone() -> BackendError {
    BackendError::Shared("the thread of the device that trials share has ended".into())
}

impl<D: Device + 'static> Member<D> {
    pub fn new(number: usize, requests: Requests<D>, facts: Facts) -> Self {
        Self { number, requests, facts }
    }

    fn send(&self, request: Request<D>) -> Result<(), BackendError> {
        self.requests.send((self.number, request)).map_err(|_| gone())
    }

    /// Has the device's thread do something, after what this member asked for before, and waits for it.
    pub fn ask<R: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Host<D>) -> Result<R, BackendError> + Send + 'static,
    ) -> Result<R, BackendError> {
        let (answer, answered) = mpsc::channel();
        self.tell(move |host| {
            let result = host.works().and_then(|()| what(host));
            // Whoever does not hear it any more has ended.
            let _ = answer.send(result);
        })?;
        answered.recv().map_err(|_| gone())?
    }

    /// The same without waiting.
    fn tell(&self, what: impl FnOnce(&mut Host<D>) + Send + 'static) -> Result<(), BackendError> {
        self.send(Request::Do(Box::new(what)))
    }

    fn held(&self, id: u64, address: u64) -> Held<D> {
        Held { id, address, member: self.number, requests: self.requests.clone() }
    }
}

impl<D: Device> fmt::Debug for Held<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("id", &self.id).field("member", &self.member).finish_non_exhaustive()
    }
}

impl<D: Device> Drop for Held<D> {
    fn drop(&mut self) {
        let id = self.id;
        // Where the thread has ended, so has what it kept.
        let _ = self.requests.send((self.member, Request::Do(Box::new(move |host| host.forget(id)))));
    }
}

impl<D: Device> Drop for Member<D> {
    fn drop(&mut self) {
        let _ = self.requests.send((self.number, Request::Leave));
    }
}

impl<D: Device + 'static> Device for Member<D> {
    type Memory = Held<D>;
    type Prepared = Held<D>;

    fn block_memory(&self) -> usize {
        self.facts.block_memory
    }

    fn wide(&self) -> usize {
        self.facts.wide
    }

    fn allocate(&mut self, bytes: usize, what: &str) -> Result<Held<D>, BackendError> {
        let what = what.to_owned();
        let (id, address) = self.ask(move |host| host.allocate(bytes, &what))?;
        Ok(self.held(id, address))
    }

    fn address(&self, memory: &Held<D>) -> u64 {
        memory.address
    }

    fn write(&mut self, memory: &mut Held<D>, offset: usize, bytes: &[u8]) -> Result<(), BackendError> {
        let (id, bytes) = (memory.id, bytes.to_vec());
        self.ask(move |host| host.write(id, offset, &bytes))
    }

    fn read(&self, memory: &Held<D>, offset: usize, bytes: &mut [u8]) -> Result<(), BackendError> {
        let (id, count) = (memory.id, bytes.len());
        bytes.copy_from_slice(&self.ask(move |host| host.read(id, offset, count))?);
        Ok(())
    }

    fn copy(&mut self, from: &Held<D>, offset: usize, to: &mut Held<D>, bytes: usize) -> Result<(), BackendError> {
        let (from, to) = (from.id, to.id);
        self.ask(move |host| host.copy(from, offset, to, bytes))
    }

    fn prepare(&mut self, calls: Vec<Call<u64>>) -> Result<Held<D>, BackendError> {
        let id = self.ask(move |host| host.prepare(calls))?;
        Ok(self.held(id, 0))
    }

    fn prepare_joint(&mut self, groups: Vec<Vec<Call<u64>>>) -> Result<Held<D>, BackendError> {
        self.prepare(groups.concat())
    }

    fn launch(&mut self, prepared: &Held<D>) -> Result<(), BackendError> {
        self.send(Request::Launch(prepared.id))
    }

    fn time(&mut self, calls: Vec<Call<u64>>) -> Result<Vec<Duration>, BackendError> {
        self.ask(move |host| host.time(calls))
    }

    fn fastest(&mut self, programs: &[Vec<Call<u64>>]) -> Result<usize, BackendError> {
        let programs = programs.to_vec();
        self.ask(move |host| host.fastest(&programs))
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        self.ask(Host::synchronize)
    }
}
