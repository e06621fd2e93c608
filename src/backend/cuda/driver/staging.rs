//! Bytes of the host on their way to the device.

use std::{collections::VecDeque, sync::Arc};

use cudarc::driver::{CudaEvent, CudaStream, CudaViewMut, DriverError, PinnedHostSlice};

/// Bytes of a block, and the most blocks: several steps' batches of small pictures.
const BLOCK: usize = 256 << 10;
const BLOCKS: usize = 64;

/// Memory that the system keeps in its place, from which a device copies while the program goes on. From other memory a driver
/// may copy before or after the call returns: that is not said.
#[derive(Default)]
pub struct Staging {
    /// The one that was used longest ago first.
    blocks: VecDeque<Block>,
    /// The system gives no more.
    refused: bool,
}

struct Block {
    memory: PinnedHostSlice<u8>,
    /// Behind the last copy from it.
    done: CudaEvent,
}

impl Drop for Block {
    fn drop(&mut self) {
        // A device that fails does not copy any more.
        let _ = self.done.synchronize();
    }
}

impl Staging {
    /// Has bytes copied to the start of device memory, in the order of the stream. They may change when this returns.
    ///
    /// # Errors
    /// What the driver says.
    pub fn copy(
        &mut self,
        stream: &Arc<CudaStream>,
        bytes: &[u8],
        to: &mut CudaViewMut<u8>,
    ) -> Result<(), DriverError> {
        for (index, piece) in bytes.chunks(BLOCK).enumerate() {
            let from = index * BLOCK;
            let mut part = to.slice_mut(from..from + piece.len());
            match self.block(stream)? {
                Some(mut block) => {
                    block.memory.as_mut_slice()?[..piece.len()].copy_from_slice(piece);
                    stream.memcpy_htod(&block.memory.as_slice()?[..piece.len()], &mut part)?;
                    block.done.record(stream)?;
                    self.blocks.push_back(block);
                }
                None => {
                    stream.memcpy_htod(piece, &mut part)?;
                    stream.synchronize()?;
                }
            }
        }
        Ok(())
    }

    /// A block from which nothing is copied any more; none where the system gives none.
    fn block(&mut self, stream: &Arc<CudaStream>) -> Result<Option<Block>, DriverError> {
        let free = self.blocks.front().map_or(Ok(false), |oldest| oldest.done.try_is_complete())?;
        if !free && self.blocks.len() < BLOCKS && !self.refused {
            match made(stream) {
                Ok(block) => return Ok(Some(block)),
                Err(_) => self.refused = true,
            }
        }
        let oldest = self.blocks.pop_front();
        oldest.as_ref().map_or(Ok(()), |block| block.done.synchronize())?;
        Ok(oldest)
    }
}

fn made(stream: &Arc<CudaStream>) -> Result<Block, DriverError> {
    let context = stream.context();
    // SAFETY: nothing is read of it that was not written before.
    let memory = unsafe { context.alloc_pinned(BLOCK) }?;
    Ok(Block { memory, done: context.new_event(None)? })
}
