//! A device that the driver has: memory, modules, products, and one graph per list of calls.

mod blas;
mod branches;
mod cache;
mod capture;
mod copies;
mod faster;
pub mod library;
mod modules;
mod nvrtc;
mod product;
mod staging;
mod timing;

pub use branches::memory_beside;

use std::{sync::Arc, time::Duration};

use cudarc::driver::{CudaContext, CudaGraph, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg, sys};
use rustc_hash::FxHashMap;

use self::{
    blas::Blas,
    branches::Branches,
    copies::Copies,
    modules::{Function, Modules},
    product::Product,
    staging::Staging,
};
use super::{
    device::Device,
    launch::{Arg, Launch},
    lines::{self, Waits},
    program::{Call, Line, Work},
};
use crate::backend::BackendError;

/// One device, through the driver.
pub struct Driver {
    // Dropped in this order: what lives in the context goes before it.
    blas: Blas,
    modules: Modules,
    staging: Staging,
    /// Of the main line, and of all that is not in a graph.
    stream: Arc<CudaStream>,
    /// Of the other lines, while a graph is captured.
    side: Arc<CudaStream>,
    fill: Arc<CudaStream>,
    branches: Branches,
    context: Arc<CudaContext>,
    block_memory: usize,
    /// Device, compiler and library, for which alone a choice on disk holds.
    machine: String,
    /// Which of several programs was the fastest, by what they are.
    chosen: FxHashMap<String, usize>,
}

/// A graph of one list of calls, and what it refers to.
pub struct Prepared {
    /// `None` for no calls.
    graph: Option<CudaGraph>,
    _calls: Vec<Placed>,
}

/// A call that is ready to run: on which line, and after which calls of the other lines.
struct Placed {
    line: Line,
    /// On which of the line's streams: 0 is the line's own. Those on others run beside the call before them.
    branch: usize,
    waits: Waits,
    steps: Vec<Step>,
}

/// A call with all that running it takes.
enum Step {
    Launch(Function, Launch<u64>),
    Product(Box<Product>),
}

/// An error of the driver as ours.
fn failed(what: &str) -> impl FnOnce(DriverError) -> BackendError {
    move |error| {
        let text = error.error_string().ok().and_then(|text| text.to_str().ok()).unwrap_or("unknown error");
        BackendError::Other(format!("CUDA: cannot {what}: {text} ({:?})", error.0))
    }
}

impl Driver {
    /// Opens a device, by its number among those that the driver shows.
    ///
    /// # Errors
    /// One line that says which library, device or version is missing.
    pub fn new(device: usize) -> Result<Self, BackendError> {
        library::available().map_err(|reason| BackendError::Other(format!("no CUDA: {reason}")))?;
        let context = CudaContext::new(device).map_err(failed(&format!("open device {device}")))?;
        // SAFETY: all memory is used on one stream, or by graphs that are launched on it and order what is in them, so
        // no events are needed to order its uses. A capture could not wait for them.
        unsafe { context.disable_event_tracking() };
        let [stream, side, fill] = streams(&context).map_err(failed("make a stream"))?;
        let (major, minor) = context.compute_capability().map_err(failed("ask for the device's architecture"))?;
        let name = context.name().map_err(failed("ask for the device's name"))?;
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let block_memory = context.attribute(attribute).map_err(failed("ask for the device's shared memory"))?;
        let block_memory = block_memory.max(0) as usize;
        let modules = Modules::new(context.clone(), major as u32, minor as u32)?;
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE;
        let cached = context.attribute(attribute).map_err(failed("ask for the device's cache"))?;
        let blas = Blas::new(stream.clone(), &name, cached.max(0) as usize)?;
        let machine = format!("{name}, {}, {}", modules.compiler(), blas.machine());
        let (branches, chosen, staging) = Default::default();
        Ok(Self { blas, modules, staging, stream, side, fill, branches, context, block_memory, machine, chosen })
    }

    fn steps(&mut self, call: Call<u64>) -> Result<Vec<Step>, BackendError> {
        Ok(match call.work {
            Work::Launch(launch) => {
                let (function, launch) = self.loaded(launch)?;
                vec![Step::Launch(function, launch)]
            }
            Work::Gemm(gemm, plain) => {
                let plain: Vec<(Function, Launch<u64>)> =
                    plain.into_iter().map(|launch| self.loaded(launch)).collect::<Result<_, BackendError>>()?;
                let stream = self.stream.clone();
                let mut rest = |copies: &Copies, copy: usize| {
                    let moved = |launch: &Launch<u64>| launch.clone().map(|address| copies.address(copy, address));
                    plain.iter().try_for_each(|(function, launch)| start(&stream, function, &moved(launch)))
                };
                let (product, fused) =
                    self.blas.product(&gemm, call.line, &mut rest).map_err(|error| named(error, &call.name))?;
                let mut steps = vec![Step::Product(Box::new(product))];
                if !fused {
                    steps.extend(plain.into_iter().map(|(function, launch)| Step::Launch(function, launch)));
                }
                steps
            }
        })
    }

    fn load_all(&mut self, calls: &[Call<u64>]) -> Result<(), BackendError> {
        self.modules.load_all(calls.iter().flat_map(|call| match &call.work {
            Work::Launch(launch) => std::slice::from_ref(launch),
            Work::Gemm(_, plain) => plain,
        }))
    }

    /// Calls that are ready, each on its branch of its line, or where none is given on the line itself.
    fn placed(&mut self, calls: Vec<Call<u64>>, branches: &[usize]) -> Result<Vec<Placed>, BackendError> {
        self.load_all(&calls)?;
        let waits = lines::waits(&calls);
        let branches = branches.iter().copied().chain(std::iter::repeat(0));
        let placed = |((call, waits), branch): ((Call<u64>, Waits), usize)| {
            let line = call.line;
            let mut steps = self.steps(call)?;
            for step in &mut steps {
                if let (Step::Product(product), 1..) = (step, branch) {
                    product.workspace = self.branches.workspace(line, branch)?;
                }
            }
            Ok(Placed { line, branch, waits, steps })
        };
        calls.into_iter().zip(waits).zip(branches).map(placed).collect()
    }

    fn captured(&self, calls: Vec<Placed>) -> Result<Prepared, BackendError> {
        let streams = [&self.stream, &self.side, &self.fill].map(Arc::clone);
        let graph = capture::capture(&streams, &self.branches, &calls)?;
        if let Some(graph) = &graph {
            graph.upload().map_err(failed("upload a graph"))?;
        }
        Ok(Prepared { graph, _calls: calls })
    }

    fn loaded(&mut self, launch: Launch<u64>) -> Result<(Function, Launch<u64>), BackendError> {
        Ok((self.modules.function(&launch)?, launch))
    }
}

/// A stream for each line. Kernels that are captured have the priority of their stream: where blocks of several wait for
/// room, those of the main line begin first, so what fills the device does not hold it up for longer than a block runs.
fn streams(context: &Arc<CudaContext>) -> Result<[Arc<CudaStream>; Line::ALL.len()], DriverError> {
    let [main, side, fill] = branches::priorities(context)?;
    Ok([
        context.new_stream_with_priority(main)?,
        context.new_stream_with_priority(side)?,
        context.new_stream_with_priority(fill)?,
    ])
}

/// Zeroed memory, in the order of a stream.
///
/// # Errors
/// When there is not enough; says how much was wanted and how much there is, for `what`, and gives the `advice`.
fn allocate(stream: &Arc<CudaStream>, bytes: usize, what: &str, advice: &str) -> Result<CudaSlice<u8>, BackendError> {
    stream.alloc_zeros::<u8>(bytes).map_err(|error| {
        if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            let free = stream.context().mem_get_info().map_or(0, |(free, _)| free);
            let (wanted, free) = (bytes.div_ceil(1 << 20), free >> 20);
            return BackendError::Other(format!(
                "out of device memory: {wanted} MiB are wanted for {what}, {free} MiB are free{advice}"
            ));
        }
        failed("allocate device memory")(error)
    })
}

/// Memory that products on one line, or one branch of it, have for themselves.
///
/// # Errors
/// When there is not enough.
fn workspace(stream: &Arc<CudaStream>) -> Result<CudaSlice<u8>, BackendError> {
    allocate(stream, product::WORKSPACE, "what matrix products need beside their matrices", "")
}

fn named(error: BackendError, name: &str) -> BackendError {
    BackendError::Other(format!("{error}, for {name}"))
}

/// Puts one step on the stream.
fn run(stream: &Arc<CudaStream>, step: &Step) -> Result<(), BackendError> {
    match step {
        Step::Product(product) => product.run(stream),
        Step::Launch(function, launch) => start(stream, function, launch),
    }
}

/// Puts a launch on the stream.
fn start(stream: &Arc<CudaStream>, function: &Function, launch: &Launch<u64>) -> Result<(), BackendError> {
    let mut builder = stream.launch_builder(function);
    for arg in &launch.args {
        match arg {
            Arg::Pointer(address) => builder.arg(address),
            Arg::Null => builder.arg(&0_u64),
            Arg::I32(value) => builder.arg(value),
            Arg::U32(value) => builder.arg(value),
            Arg::U64(value) => builder.arg(value),
            Arg::F32(value) => builder.arg(value),
            // The others lie behind it.
            Arg::Words(words) => builder.arg(words.first().unwrap_or(&0)),
        };
    }
    let config = LaunchConfig {
        grid_dim: launch.grid.into(),
        block_dim: launch.block.into(),
        shared_mem_bytes: launch.shared_bytes,
    };
    // SAFETY: a kernel's builder gives the arguments in the order and of the types of its parameters,
    // which the emulator's tests and the compiled signatures hold together; every address is planned.
    unsafe { builder.launch(config) }.map_err(failed("launch a kernel")).map(|_| ())
}

impl Device for Driver {
    type Memory = CudaSlice<u8>;
    type Prepared = Prepared;

    fn block_memory(&self) -> usize {
        self.block_memory
    }

    fn memory(&self) -> Result<Option<[u64; 2]>, BackendError> {
        // What was freed on a stream is the driver's until the stream is waited for.
        self.synchronize()?;
        let (free, all) = self.context.mem_get_info().map_err(failed("ask for the device's free memory"))?;
        Ok(Some([free as u64, all as u64]))
    }

    fn allocate(&mut self, bytes: usize, what: &str) -> Result<Self::Memory, BackendError> {
        allocate(&self.stream, bytes.max(256), what, "; use a smaller batch or model")
    }

    fn address(&self, memory: &Self::Memory) -> u64 {
        use cudarc::driver::DevicePtr;
        memory.device_ptr(&self.stream).0
    }

    fn write(&mut self, memory: &mut Self::Memory, offset: usize, bytes: &[u8]) -> Result<(), BackendError> {
        let mut part = memory.slice_mut(offset..offset + bytes.len());
        self.staging.copy(&self.stream, bytes, &mut part).map_err(failed("copy to the device"))
    }

    fn read(&self, memory: &Self::Memory, offset: usize, bytes: &mut [u8]) -> Result<(), BackendError> {
        let part = memory.slice(offset..offset + bytes.len());
        self.stream.memcpy_dtoh(&part, bytes).map_err(failed("copy from the device"))?;
        self.synchronize()
    }

    fn copy(
        &mut self,
        from: &Self::Memory,
        offset: usize,
        to: &mut Self::Memory,
        bytes: usize,
    ) -> Result<(), BackendError> {
        let mut part = to.slice_mut(0..bytes);
        self.stream.memcpy_dtod(&from.slice(offset..offset + bytes), &mut part).map_err(failed("copy on the device"))
    }

    fn prepare(&mut self, calls: Vec<Call<u64>>) -> Result<Self::Prepared, BackendError> {
        let placed = self.placed(calls, &[])?;
        // Libraries load their kernels when they are first used, which had better not be while a graph is captured;
        // should the driver load one of ours then, the relaxed mode lets it.
        let mut products = placed.iter().flat_map(|call| &call.steps).filter(|step| matches!(step, Step::Product(_)));
        products.try_for_each(|step| run(&self.stream, step))?;
        self.synchronize()?;
        self.captured(placed)
    }

    fn prepare_joint(&mut self, groups: Vec<Vec<Call<u64>>>) -> Result<Self::Prepared, BackendError> {
        self.branches.grow(&self.context, groups.iter().map(Vec::len).max().unwrap_or(0))?;
        let branches = groups.iter().flat_map(|group| (0..group.len()).map(branches::of)).collect::<Vec<_>>();
        let placed = self.placed(groups.concat(), &branches)?;
        self.captured(placed)
    }

    fn launch(&mut self, prepared: &Self::Prepared) -> Result<(), BackendError> {
        match &prepared.graph {
            Some(graph) => graph.launch().map_err(failed("launch a graph")),
            None => Ok(()),
        }
    }

    fn time(&mut self, calls: Vec<Call<u64>>) -> Result<Vec<Duration>, BackendError> {
        self.load_all(&calls)?;
        let calls: Vec<Vec<Step>> =
            calls.into_iter().map(|call| self.steps(call)).collect::<Result<_, BackendError>>()?;
        self.synchronize()?;
        timing::each(&self.stream, calls.len(), |call| calls[call].iter().try_for_each(|step| run(&self.stream, step)))
    }

    fn fastest(&mut self, programs: &[Vec<Call<u64>>]) -> Result<usize, BackendError> {
        self.fastest(programs)
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        self.stream.synchronize().map_err(failed("run what was launched"))
    }
}
