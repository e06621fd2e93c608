//! luminal `Compiler`s over the vitx graph.

mod autodiff;
mod decompose;
mod fuse;
mod listing;
mod onnx;
mod optimizer;
mod reassociate;
mod training;

pub use autodiff::Autodiff;
pub use decompose::Decompose;
pub use fuse::Fuse;
pub use listing::{Entry, Listing};
pub use onnx::{IMAGES, LOGITS, OnnxError, OnnxExport, PROBABILITIES, onnx};
pub use optimizer::{OptimizerState, Updates};
pub use reassociate::Reassociate;
pub use training::{Lowering, Purpose, StepGraph};

use luminal::{
    prelude::{Dependency, Graph, NodeIndex, ShapeTracker},
    shape::symbolic::{Expression, Term},
};
use petgraph::{Direction, visit::EdgeRef};

use crate::graph::{Builder, Value};

/// The inputs of a node, in order.
pub(crate) fn inputs(graph: &Graph, node: NodeIndex) -> Vec<Value> {
    let mut inputs: Vec<(u8, Value)> = graph
        .graph
        .edges_directed(node, Direction::Incoming)
        .filter_map(|edge| match edge.weight() {
            Dependency::Data { input_order, output_order, shape } => {
                Some((*input_order, Value { node: edge.source(), output: *output_order, shape: extents(shape) }))
            }
            Dependency::Schedule => None,
        })
        .collect();
    inputs.sort_by_key(|(order, _)| *order);
    inputs.into_iter().map(|(_, value)| value).collect()
}

/// The shape of a tracker. Most are contiguous, of known dimensions: those are read off, where luminal would simplify
/// symbolic expressions, which takes longer than all else that a pass does.
fn extents(tracker: &ShapeTracker) -> Vec<usize> {
    let known = |dim: &Expression| match dim.terms.as_slice() {
        [Term::Num(size)] => usize::try_from(*size).ok(),
        _ => None,
    };
    let whole = |axis: usize| {
        let [padding, slices] = [&tracker.padding[axis], &tracker.slices[axis]];
        [&padding.0, &padding.1, &slices.0].into_iter().all(|bound| known(bound) == Some(0))
            && known(&slices.1) == Some(i32::MAX as usize)
    };
    let dims = if tracker.is_contiguous() && (0..tracker.dims.len()).all(whole) {
        tracker.dims.iter().map(known).collect()
    } else {
        None
    };
    dims.unwrap_or_else(|| tracker.shape().iter().filter_map(|dim| dim.to_usize()).collect())
}

/// Nodes in a fixed topological order: by the number a node got when it was added, as far as the
/// edges allow. Builders add nodes after their inputs, so this is the order of the program text.
pub(crate) fn ordered(graph: &Graph) -> Vec<NodeIndex> {
    ordered_by(graph, |_| 0)
}

/// As [`ordered`], with nodes of a lower rank first, as far as the edges allow.
pub(crate) fn ordered_by(graph: &Graph, rank: impl Fn(NodeIndex) -> u8) -> Vec<NodeIndex> {
    let mut waiting: rustc_hash::FxHashMap<NodeIndex, usize> = graph
        .graph
        .node_indices()
        .map(|node| (node, graph.graph.edges_directed(node, Direction::Incoming).count()))
        .collect();
    let mut ready: std::collections::BTreeSet<(u8, NodeIndex)> =
        waiting.iter().filter(|(_, count)| **count == 0).map(|(node, _)| (rank(*node), *node)).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some((_, node)) = ready.pop_first() {
        order.push(node);
        for edge in graph.graph.edges_directed(node, Direction::Outgoing) {
            if let Some(count) = waiting.get_mut(&edge.target()) {
                *count -= 1;
                if *count == 0 {
                    ready.insert((rank(edge.target()), edge.target()));
                }
            }
        }
    }
    order
}

/// The operator that alone reads a node's outputs, and reads them once.
pub(crate) fn only_user(graph: &Graph, node: NodeIndex) -> Option<NodeIndex> {
    let mut users = graph.graph.edges_directed(node, Direction::Outgoing);
    let user = users.next()?.target();
    users.next().is_none().then_some(user)
}

/// Lends a graph to a builder for the time of `edit`.
pub(crate) fn with_builder<R>(graph: &mut Graph, edit: impl FnOnce(&mut Builder) -> R) -> R {
    let mut builder = Builder::new();
    std::mem::swap(&mut builder.graph, graph);
    let result = edit(&mut builder);
    std::mem::swap(&mut builder.graph, graph);
    result
}
