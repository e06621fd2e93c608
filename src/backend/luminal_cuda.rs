//! The graph decomposed into luminal's primitives, on luminal's own CUDA compiler: a baseline, and a second oracle.
//!
//! Behind the Cargo feature `luminal-cuda`, because its bindings want `cuda.h` when they are built and link
//! CUDA's libraries.

use std::cell::RefCell;

use luminal::{
    op::{
        Constant, Contiguous, Exp2, Function, InputTensor, LessThan, Log2, MaxReduce, Mod, Operator, Recip, Sin, Sqrt,
        SumReduce,
    },
    prelude::{Graph, NodeIndex, ShapeTracker},
};
use luminal_cuda::CudaCompiler;

use super::{BackendError, EngineOptions, cuda::driver::library, reference::ReferenceEngine};
use crate::passes::Lowering;

/// The reference engine by luminal's CUDA compiler.
///
/// # Errors
/// Without a CUDA device, which luminal would not survive.
pub fn engine(lowering: Box<Lowering>, options: EngineOptions) -> Result<ReferenceEngine, BackendError> {
    library::available().map_err(|reason| BackendError::Other(format!("no CUDA: {reason}")))?;
    ReferenceEngine::by(compile, lowering, options)
}

fn compile(graph: &mut Graph, remap: Vec<&mut NodeIndex>) {
    for node in graph.graph.node_indices().collect::<Vec<_>>() {
        let Some(slot) = graph.graph.node_weight_mut(node) else { continue };
        if !is_primitive(slot.as_ref()) {
            let operator = std::mem::replace(slot, Box::new(luminal::op::Print::default()));
            *slot = Box::new(on_host(operator));
        }
    }
    graph.to_retrieve.extend(remap.iter().map(|node| **node));
    graph.compile(CudaCompiler::<f32>::default(), remap);
}

/// What luminal's CUDA compiler has kernels for.
fn is_primitive(operator: &dyn Operator) -> bool {
    let any = operator.as_any();
    any.is::<Constant>()
        || any.is::<Contiguous>()
        || any.is::<Exp2>()
        || any.is::<LessThan>()
        || any.is::<Log2>()
        || any.is::<luminal::op::Add>()
        || any.is::<luminal::op::Mul>()
        || any.is::<MaxReduce>()
        || any.is::<Mod>()
        || any.is::<Recip>()
        || any.is::<Sin>()
        || any.is::<Sqrt>()
        || any.is::<SumReduce>()
}

/// An operator that runs on the host, in the form around which luminal copies from and to the device.
fn on_host(operator: Box<dyn Operator>) -> Function {
    let name = format!("{operator:?}");
    let operator = RefCell::new(operator);
    let run = move |inputs: Vec<(InputTensor, ShapeTracker)>| operator.borrow_mut().process(inputs);
    Function(name, Box::new(run))
}
