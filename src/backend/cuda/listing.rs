//! A compiled program as text: what runs in which order, and where its tensors are.

use std::fmt::Write;

use serde::Serialize;

use super::{
    compile::{CompileError, Target, compile},
    device::BLOCK_MEMORY,
    gemm::{Epilogue, Gemm, Matrix},
    kernels::attention,
    launch::{Arg, Launch, Precision},
    layout::{Layout, WIDE},
    program::{Base, Call, Line, Place, Program, Work},
    region,
};
use crate::{
    backend::{BackendError, plan},
    graph::{Builder, optimizers::Optimizer},
    passes::{Lowering, Purpose, StepGraph},
};

/// A program as a list of calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProgramListing {
    /// Images of a step.
    pub batch: usize,
    /// `f32`, `tf32` or `bf16`: see [`Precision`].
    pub precision: String,
    /// Parameters, moments and gradients.
    pub store_bytes: usize,
    /// Activations, their gradients and scratch of a step.
    pub arena_bytes: usize,
    /// Of all calls, see [`CallListing`].
    pub bytes: u64,
    /// Of all calls, see [`CallListing`].
    pub flops: u64,
    /// In the order of the program.
    pub calls: Vec<CallListing>,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallListing {
    /// The operators that it does the work of.
    pub operator: String,
    /// Names of the parameters that it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
    /// `SOURCE.ENTRY`, or `gemm`.
    pub kernel: String,
    /// Blocks and threads of a launch; `m x n x k` of a product.
    pub extent: String,
    /// `MEMORY[BYTE]` and numbers, as the kernel takes them.
    pub arguments: Vec<String>,
    /// `MEMORY[BYTE; ELEMENTS ELEMENT]`
    pub outputs: Vec<String>,
    /// Of all tensors that it reads and writes, each once.
    pub bytes: u64,
    /// Of matrix products, a multiply-add counting two.
    pub flops: u64,
    /// Runs beside the calls of the main line: see [`Line::Side`] and [`Line::Fill`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub beside: bool,
    /// Of a [region]: where its buffers begin in the memory of a block, and what it does, a line for each
    /// phase.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<String>,
    /// Runs where the device is idle otherwise: see [`Line::Fill`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fills: bool,
    /// The calls of other lines, counted from 0, that it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<usize>,
}

/// The listing of a network's program; needs no device.
///
/// # Errors
/// When the loss does not depend on a parameter, an operator has no kernel, or the batch is too large.
pub fn listing(
    lowering: &Lowering,
    batch: usize,
    purpose: Purpose,
    precision: Precision,
    regions: bool,
) -> Result<ProgramListing, BackendError> {
    let mut builder = Builder::new();
    let network = lowering(&mut builder, 1);
    let plan = match &purpose {
        Purpose::Train(optimizer, _) | Purpose::Accumulate(optimizer, _) => optimizer.plan(&builder.parameters),
        Purpose::Evaluate | Purpose::Differentiate => Optimizer::default().plan(&builder.parameters),
    };
    let layout = Layout::new(&builder, &network, &plan, WIDE);
    let build = |batch: usize| StepGraph::reassociated(lowering, batch, purpose.clone(), attention::WIDTHS);
    let target = Target { precision, seed: 0, block_memory: BLOCK_MEMORY, planner: plan::pack, regions };
    let of_graph = |graph: &StepGraph, batch: usize| compile(graph, &layout, batch, target);
    let graph = build(batch).map_err(|name| BackendError::Other(format!("the loss does not depend on `{name}`")))?;
    let of_batch = |batch| match build(batch) {
        Ok(graph) => of_graph(&graph, batch),
        Err(name) => Err(CompileError::NoKernel(name)),
    };
    let program = of_graph(&graph, batch).map_err(|error| error.of_batch(batch, of_batch))?;
    Ok(of(&program, precision, (layout.states() + 1) * size_of::<f32>() * layout.len()))
}

fn of(program: &Program, precision: Precision, store_bytes: usize) -> ProgramListing {
    ProgramListing {
        batch: program.batch,
        precision: format!("{precision:?}").to_lowercase(),
        store_bytes,
        arena_bytes: program.arena_bytes,
        bytes: program.calls.iter().map(|call| call.cost.bytes).sum(),
        flops: program.calls.iter().map(|call| call.cost.flops).fold(0, u64::saturating_add),
        calls: program.calls.iter().zip(program.waits()).map(|(of, waits_for)| call(of, waits_for)).collect(),
    }
}

fn call(call: &Call<Place>, waits_for: Vec<usize>) -> CallListing {
    let (kernel, extent, arguments) = match &call.work {
        Work::Launch(launch) => of_launch(launch),
        Work::Gemm(gemm, _) => of_gemm(gemm),
    };
    let output = |output: &super::program::Output<Place>| {
        let place = place(output.place);
        format!("{}; {} {}]", place.trim_end_matches(']'), output.elements, output.element.name())
    };
    CallListing {
        operator: call.name.clone(),
        parameters: call.parameters.clone(),
        kernel,
        extent,
        arguments,
        outputs: call.outputs.iter().map(output).collect(),
        bytes: call.cost.bytes,
        flops: call.cost.flops,
        beside: call.line != Line::Main,
        fills: call.line == Line::Fill,
        phases: match &call.work {
            Work::Launch(launch) => region::phases(launch),
            Work::Gemm(..) => Vec::new(),
        },
        waits_for,
    }
}

fn of_launch(launch: &Launch<Place>) -> (String, String, Vec<String>) {
    let [grid, block] = [launch.grid, launch.block].map(|size| {
        let used = size.iter().rposition(|&extent| extent != 1).map_or(1, |last| last + 1);
        size[..used].iter().map(u32::to_string).collect::<Vec<_>>().join("x")
    });
    let shared = if launch.shared_bytes > 0 { format!(", {} bytes", launch.shared_bytes) } else { String::new() };
    let argument = |arg: &Arg<Place>| match arg {
        Arg::Pointer(at) => place(*at),
        Arg::Null => "null".to_owned(),
        Arg::I32(value) => value.to_string(),
        Arg::U32(value) => value.to_string(),
        Arg::U64(value) => value.to_string(),
        Arg::F32(value) => format!("{value:?}"),
        Arg::Words(words) => format!("{} words", words.len()),
    };
    let kernel = format!("{}.{}", launch.source.name, launch.entry);
    (kernel, format!("{grid} of {block}{shared}"), launch.args.iter().map(argument).collect())
}

fn of_gemm(gemm: &Gemm<Place>) -> (String, String, Vec<String>) {
    let matrix = |matrix: &Matrix<Place>| {
        let transposed = if matrix.transposed { "'" } else { "" };
        format!("{}{transposed} by {} {}", place(matrix.place), matrix.stride, matrix.element.name())
    };
    let mut arguments = vec![matrix(&gemm.a), matrix(&gemm.b)];
    match gemm.epilogue {
        Epilogue::None => {}
        Epilogue::Bias(bias) => arguments.push(format!("bias {}", place(bias))),
        Epilogue::RowSum(sum) => arguments.push(format!("row sum to {}", place(sum))),
    }
    ("gemm".to_owned(), format!("{} x {} x {}", gemm.m, gemm.n, gemm.k), arguments)
}

fn place(place: Place) -> String {
    let base = match place.base {
        Base::Store => "store",
        Base::Shadow => "shadow",
        Base::Arena => "arena",
        Base::State => "state",
        Base::Data => "data",
    };
    format!("{base}[{}]", place.offset)
}

impl ProgramListing {
    /// One call a line: `OUTPUTS = KERNEL(ARGUMENTS) EXTENT {OPERATOR} PARAMETERS`, `| ` before those that run beside
    /// the others, and `: ` before those that fill what is idle. Below a region's are its phases, where they are not those of an
    /// earlier one (calls count from 0).
    pub fn text(&self) -> String {
        let mut out = String::new();
        let Self { batch, precision, store_bytes, arena_bytes, bytes, flops, calls } = self;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "program batch {batch}, {precision}: {} calls that move {bytes} bytes and do {flops} operations of products; \
             store {store_bytes} bytes, arena {arena_bytes} bytes",
            calls.len()
        );
        let mut shown: Vec<(&[String], usize)> = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            let CallListing { operator, parameters, kernel, extent, arguments, outputs, phases, .. } = call;
            let beside = match (call.beside, call.fills) {
                (_, true) => ": ",
                (true, false) => "| ",
                (false, false) => "",
            };
            let parameters: String = parameters.iter().map(|name| format!(" \"{name}\"")).collect();
            let outputs = if outputs.is_empty() { String::new() } else { format!("{} = ", outputs.join(", ")) };
            let arguments = arguments.join(", ");
            let _ = writeln!(out, "{beside}{outputs}{kernel}({arguments}) {extent} {{{operator}}}{parameters}");
            // Blocks of a network have one kernel.
            if let Some((_, first)) = shown.iter().find(|(known, _)| known == phases) {
                let _ = writeln!(out, "    the phases of call {first}");
            } else if !phases.is_empty() {
                phases.iter().for_each(|phase| out.extend(["    ", phase, "\n"]));
                shown.push((phases, index));
            }
        }
        out
    }
}
