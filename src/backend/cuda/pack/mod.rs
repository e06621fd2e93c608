//! One device for several engines at once, those of trials that run packed: each in a thread of its own, as if the device
//! were its own.
//!
//! The device has a thread, too, which does what the members ask for, each member's requests in their order. Only
//! launches wait for one another: when all members have come to one, those with programs alike are launched as one, see
//! [`joint`]. Nobody is waited for for long. What comes out does not depend on who comes when: a program computes the same
//! bits alone and together with others, and members share no memory.

mod host;
pub mod joint;
mod member;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

pub use self::member::{Facts, Member};
use self::{
    host::{Host, Request},
    member::Requests,
};
use super::{CudaEngine, Forecast, device::Device, driver::Driver};
use crate::{
    backend::{BackendError, Engine, EngineOptions},
    passes::Lowering,
};

/// How long those who have come to a launch wait for the others. A step takes less; who takes more than this has something
/// else to do, such as to save a checkpoint, and is not waited for again until it comes.
const PATIENCE: Duration = Duration::from_millis(20);

/// How many launches there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Launches {
    /// Of members' programs.
    pub all: u64,
    /// Those that were done together with others'.
    pub together: u64,
}

/// A device that several engines share. When it is dropped, it waits for the last of them.
pub struct Pack<D: Device> {
    requests: Option<Requests<D>>,
    members: AtomicUsize,
    facts: Facts,
    thread: Option<JoinHandle<()>>,
}

impl<D: Device + 'static> Pack<D> {
    /// Opens a device, in a thread of its own. Members wait for one another for at most `patience`.
    ///
    /// # Errors
    /// A device that cannot be opened.
    pub fn start(
        open: impl FnOnce() -> Result<D, BackendError> + Send + 'static,
        patience: Duration,
    ) -> Result<Self, BackendError> {
        let (requests, received) = mpsc::channel();
        let (opened, opening) = mpsc::channel();
        let serve = move || match open() {
            Ok(device) => {
                // Nobody hears it only if nobody waits for it.
                let _ = opened.send(Ok(Facts { block_memory: device.block_memory(), wide: device.wide() }));
                Host::new(device).serve(&received, patience);
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        let thread = thread::Builder::new().name("device".into()).spawn(serve);
        let thread = thread.map_err(|error| BackendError::Other(format!("no thread for the device: {error}")))?;
        let facts = opening.recv().map_err(|_| member::gone())??;
        Ok(Self { requests: Some(requests), members: AtomicUsize::new(0), facts, thread: Some(thread) })
    }

    /// The device for one more engine.
    ///
    /// # Errors
    /// A device that does not work any more.
    pub fn member(&self) -> Result<Member<D>, BackendError> {
        let requests = self.requests.clone().ok_or_else(member::gone)?;
        let number = self.members.fetch_add(1, Ordering::Relaxed);
        requests.send((number, Request::Join)).map_err(|_| member::gone())?;
        Ok(Member::new(number, requests, self.facts))
    }
}

/// A device that several engines share, whatever it is.
pub trait SharedDevice: fmt::Debug + Send + Sync {
    /// One more engine on it, for a thread of its own.
    ///
    /// # Errors
    /// As of [`Backend::engine`](crate::backend::Backend::engine).
    fn engine(&self, lowering: Box<Lowering>, options: EngineOptions) -> Result<Box<dyn Engine>, BackendError>;

    /// What was launched so far.
    ///
    /// # Errors
    /// A device that does not work any more.
    fn launches(&self) -> Result<Launches, BackendError>;

    /// Bytes of its memory that are free, and all that there are; nothing where that is not known.
    ///
    /// # Errors
    /// A device that does not work any more.
    fn memory(&self) -> Result<Option<[u64; 2]>, BackendError>;

    /// What engines on such a device would take of its memory.
    fn forecast(&self) -> Forecast;
}

impl<D: Device + 'static> SharedDevice for Pack<D> {
    fn engine(&self, lowering: Box<Lowering>, options: EngineOptions) -> Result<Box<dyn Engine>, BackendError> {
        Ok(Box::new(CudaEngine::new(lowering, options, self.member()?)?))
    }

    fn launches(&self) -> Result<Launches, BackendError> {
        self.member()?.ask(|host| Ok(host.launches))
    }

    fn memory(&self) -> Result<Option<[u64; 2]>, BackendError> {
        self.member()?.ask(|host| host.free())
    }

    fn forecast(&self) -> Forecast {
        Forecast::new(self.facts)
    }
}

/// One of the devices that the driver shows, counted from 0, for several engines at once.
///
/// # Errors
/// As of [`Backend::engine`](crate::backend::Backend::engine).
pub fn shared_device(device: usize) -> Result<Arc<dyn SharedDevice>, BackendError> {
    Ok(Arc::new(Pack::start(move || Driver::new(device), PATIENCE)?))
}

impl<D: Device> fmt::Debug for Pack<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pack").field("members", &self.members).finish_non_exhaustive()
    }
}

impl<D: Device> Drop for Pack<D> {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // Members have been told of its panic.
            let _ = thread.join();
        }
    }
}
