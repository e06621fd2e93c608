//! What an engine needs of a device: memory, and prepared lists of calls that run by one launch.

use std::time::Duration;

use super::{layout::WIDE, program::Call};
use crate::backend::BackendError;

/// Shared memory of a block on Hopper and Blackwell, in bytes: what programs are listed for where there is no device.
pub const BLOCK_MEMORY: usize = 227 << 10;

/// A machine that runs programs: the driver's, or in tests the host's emulation of it.
pub trait Device {
    /// A block of memory; freed when dropped.
    type Memory;
    /// Calls that are ready to run: modules compiled, algorithms chosen, a graph captured.
    type Prepared;

    /// The most shared memory that a block can have, in bytes.
    fn block_memory(&self) -> usize;

    /// Parameters of so many elements are updated by themselves as soon as their gradients are there.
    fn wide(&self) -> usize {
        WIDE
    }

    /// Bytes that are free, and all that there are; nothing where that is not known.
    ///
    /// # Errors
    /// When the driver does not say it.
    fn memory(&self) -> Result<Option<[u64; 2]>, BackendError> {
        Ok(None)
    }

    /// Zeroed memory, at least 256-byte aligned.
    ///
    /// # Errors
    /// When there is not enough; says for `what`.
    fn allocate(&mut self, bytes: usize, what: &str) -> Result<Self::Memory, BackendError>;

    /// Address of the first byte.
    fn address(&self, memory: &Self::Memory) -> u64;

    /// Copies from the host, after all that was launched before.
    ///
    /// # Errors
    /// When the device does not work.
    fn write(&mut self, memory: &mut Self::Memory, offset: usize, bytes: &[u8]) -> Result<(), BackendError>;

    /// Copies to the host, after all that was launched is done.
    ///
    /// # Errors
    /// When the device does not work, or what was launched has failed.
    fn read(&self, memory: &Self::Memory, offset: usize, bytes: &mut [u8]) -> Result<(), BackendError>;

    /// Copies bytes of one block of memory, from an offset on, to the start of another, after all that was launched before, and before all that
    /// is launched later. Nobody waits for it.
    ///
    /// # Errors
    /// When the device does not work.
    fn copy(
        &mut self,
        from: &Self::Memory,
        offset: usize,
        to: &mut Self::Memory,
        bytes: usize,
    ) -> Result<(), BackendError>;

    /// Makes calls ready, by running some of them if need be. Their memory is named by its addresses.
    ///
    /// # Errors
    /// A kernel that does not compile, or a product that the library does not have.
    fn prepare(&mut self, calls: Vec<Call<u64>>) -> Result<Self::Prepared, BackendError>;

    /// Makes groups of calls ready, which run one after the other; calls of one group are of one line and touch no memory of one
    /// another's, and may run at once. As [`Device::prepare`], but none of them runs: all their products were in calls that were
    /// prepared before.
    ///
    /// # Errors
    /// As [`Device::prepare`].
    fn prepare_joint(&mut self, groups: Vec<Vec<Call<u64>>>) -> Result<Self::Prepared, BackendError>;

    /// Starts prepared calls, after what was started before.
    ///
    /// # Errors
    /// When the device does not work.
    fn launch(&mut self, prepared: &Self::Prepared) -> Result<(), BackendError>;

    /// Runs calls one after the other, each alone: the time of each.
    ///
    /// # Errors
    /// As of [`Device::prepare`] and [`Device::launch`].
    fn time(&mut self, calls: Vec<Call<u64>>) -> Result<Vec<Duration>, BackendError>;

    /// Which of several lists of calls takes the least time; the first unless another takes clearly less. Runs them, unless
    /// it is known: what they write must not matter yet.
    ///
    /// # Errors
    /// As of [`Device::prepare`] and [`Device::launch`].
    fn fastest(&mut self, programs: &[Vec<Call<u64>>]) -> Result<usize, BackendError>;

    /// Waits until all that was launched is done.
    ///
    /// # Errors
    /// What was launched has failed.
    fn synchronize(&self) -> Result<(), BackendError>;
}
