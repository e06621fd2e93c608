//! What an engine will take of a device's memory, told before it is there: the very engine, on a device that only counts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    CudaEngine,
    device::Device,
    pack::{Facts, Launches, SharedDevice},
    program::Call,
};
use crate::{
    backend::{BackendError, Engine, EngineOptions},
    passes::Lowering,
};

/// Drivers give memory in pieces of this size. Those of tests are small, as what they train is.
pub const PIECE: u64 = if cfg!(test) { 256 } else { 2 << 20 };

/// A device without memory, which counts what engines on it would take.
#[derive(Debug)]
pub struct Forecast {
    facts: Facts,
    counted: Arc<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    now: AtomicU64,
    most: AtomicU64,
}

impl Forecast {
    /// Of engines on a device of which this is known.
    pub fn new(facts: Facts) -> Self {
        Self { facts, counted: Arc::default() }
    }

    /// The most bytes that its engines have had at a time.
    pub fn most_bytes(&self) -> u64 {
        self.counted.most.load(Ordering::Relaxed)
    }
}

impl SharedDevice for Forecast {
    fn engine(&self, lowering: Box<Lowering>, options: EngineOptions) -> Result<Box<dyn Engine>, BackendError> {
        let device = Counting { facts: self.facts, counted: self.counted.clone() };
        Ok(Box::new(CudaEngine::new(lowering, options, device)?))
    }

    fn launches(&self) -> Result<Launches, BackendError> {
        Ok(Launches::default())
    }

    fn memory(&self) -> Result<Option<[u64; 2]>, BackendError> {
        Ok(None)
    }

    fn forecast(&self) -> Self {
        Self::new(self.facts)
    }
}

/// The device of an engine of a forecast: whatever is read is 0, and nothing runs.
struct Counting {
    facts: Facts,
    counted: Arc<Counted>,
}

/// Memory that is counted for as long as it is held.
struct Held {
    bytes: u64,
    counted: Arc<Counted>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counted.now.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Device for Counting {
    type Memory = Held;
    type Prepared = ();

    fn block_memory(&self) -> usize {
        self.facts.block_memory
    }

    fn wide(&self) -> usize {
        self.facts.wide
    }

    fn allocate(&mut self, bytes: usize, _what: &str) -> Result<Held, BackendError> {
        let bytes = (bytes as u64).next_multiple_of(PIECE);
        let now = self.counted.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.counted.most.fetch_max(now, Ordering::Relaxed);
        Ok(Held { bytes, counted: self.counted.clone() })
    }

    fn address(&self, _memory: &Held) -> u64 {
        0
    }

    fn write(&mut self, _memory: &mut Held, _offset: usize, _bytes: &[u8]) -> Result<(), BackendError> {
        Ok(())
    }

    fn read(&self, _memory: &Held, _offset: usize, bytes: &mut [u8]) -> Result<(), BackendError> {
        bytes.fill(0);
        Ok(())
    }

    fn copy(&mut self, _from: &Held, _offset: usize, _to: &mut Held, _bytes: usize) -> Result<(), BackendError> {
        Ok(())
    }

    fn prepare(&mut self, _calls: Vec<Call<u64>>) -> Result<(), BackendError> {
        Ok(())
    }

    fn prepare_joint(&mut self, _groups: Vec<Vec<Call<u64>>>) -> Result<(), BackendError> {
        Ok(())
    }

    fn launch(&mut self, (): &()) -> Result<(), BackendError> {
        Ok(())
    }

    fn time(&mut self, calls: Vec<Call<u64>>) -> Result<Vec<Duration>, BackendError> {
        Ok(vec![Duration::ZERO; calls.len()])
    }

    fn fastest(&mut self, _programs: &[Vec<Call<u64>>]) -> Result<usize, BackendError> {
        Ok(0)
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        Ok(())
    }
}
