//! Streams beside those of the lines, for calls of several variants that may run at once.

use std::{rc::Rc, sync::Arc};

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DriverError, result};

use super::{failed, product::WORKSPACE};
use crate::backend::{BackendError, cuda::program::Line};

/// Streams of a line, its own included. More would need more workspaces, and small products are done by then.
const BRANCHES: usize = 4;

/// Memory that so many programs at once take beside their own: workspaces of products, and what the driver keeps of kernels
/// and graphs.
pub fn memory_beside(programs: usize) -> u64 {
    /// Kernels in their packed form, and graphs of thousands of calls; not measured.
    const KERNELS: u64 = 256 << 20;
    let branches = programs.clamp(1, BRANCHES) - 1;
    KERNELS + (branches * Line::ALL.len() * WORKSPACE) as u64
}

/// The branch of a call by its place among those that may run at once.
pub fn of(place: usize) -> usize {
    place % BRANCHES
}

/// The priority of each line's streams: lower numbers come first.
///
/// # Errors
/// When the driver does not tell its range.
pub fn priorities(context: &Arc<CudaContext>) -> Result<[i32; Line::ALL.len()], DriverError> {
    context.bind_to_thread()?;
    let (least, greatest) = result::stream::get_priority_range()?;
    Ok([greatest, (greatest + 1).min(least), least])
}

/// The streams of each line but its own, and workspaces of their products; made when they are first wanted.
#[derive(Default)]
pub struct Branches {
    lines: [Vec<Branch>; Line::ALL.len()],
}

/// A stream, and the workspace of its products.
type Branch = (Arc<CudaStream>, Rc<CudaSlice<u8>>);

impl Branches {
    /// Makes what so many calls at once need.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn grow(&mut self, context: &Arc<CudaContext>, calls: usize) -> Result<(), BackendError> {
        let priorities = priorities(context).map_err(failed("make a stream"))?;
        for (line, priority) in self.lines.iter_mut().zip(priorities) {
            while line.len() + 1 < calls.min(BRANCHES) {
                let stream = context.new_stream_with_priority(priority).map_err(failed("make a stream"))?;
                let workspace = super::workspace(&stream)?;
                // It is used on other streams' graphs, too: there before anything is.
                stream.synchronize().map_err(failed("allocate a workspace"))?;
                line.push((stream, Rc::new(workspace)));
            }
        }
        Ok(())
    }

    fn get(&self, line: Line, branch: usize) -> Result<&Branch, BackendError> {
        let branch = branch.checked_sub(1).and_then(|at| self.lines[line.index()].get(at));
        branch.ok_or_else(|| BackendError::Other("a call is on a branch that there is not".into()))
    }

    /// The stream of a branch, from 1.
    ///
    /// # Errors
    /// One that was not made.
    pub fn stream(&self, line: Line, branch: usize) -> Result<&Arc<CudaStream>, BackendError> {
        self.get(line, branch).map(|(stream, _)| stream)
    }

    /// What products of a branch, from 1, have for themselves.
    ///
    /// # Errors
    /// One that was not made.
    pub fn workspace(&self, line: Line, branch: usize) -> Result<Rc<CudaSlice<u8>>, BackendError> {
        self.get(line, branch).map(|(_, workspace)| workspace.clone())
    }
}
