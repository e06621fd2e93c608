//! Which calls run beside the others.

use rustc_hash::FxHashSet;

use super::{
    emit::Symbol,
    operations::{Id, Kind, Operations, Origin},
};
use crate::backend::cuda::{
    launch::Element,
    program::{Call, Line},
};

/// Puts on the side line what ends in the gradient of a parameter or in the step's state: products of kernels'
/// gradients, sums of rows, what finishes a norm's gradient, the metrics. Nothing needs these before the update.
///
/// In the end nothing else needs the rest of the backward pass either, so a call that writes a tensor of the graph is
/// of the main line even if only the side line reads that tensor: only scratch makes the stages of one operation
/// follow the last.
pub fn split(calls: &mut [Call<Symbol>], operations: &Operations) {
    if operations.gradients.is_empty() {
        return;
    }
    let ends = ends(operations);
    let of_graph: FxHashSet<Id> = operations
        .list
        .iter()
        .flat_map(|operation| operation.inputs.iter().chain(&operation.outputs))
        .copied()
        .collect();
    let mut needed: FxHashSet<Symbol> = FxHashSet::default();
    for call in calls.iter_mut().rev() {
        if call.line == Line::Fill {
            continue;
        }
        let Some(touched) = &call.touched else { continue };
        let beside = |symbol: Symbol| match symbol {
            Symbol::Fixed(_) => true,
            Symbol::Tensor(id, _) => ends.contains(&id) || !of_graph.contains(&id),
        };
        let mut written = touched.iter().filter(|extent| extent.written).map(|extent| extent.place);
        if written.all(|symbol| beside(symbol) && !needed.contains(&symbol)) {
            call.line = Line::Side;
        } else {
            needed.extend(touched.iter().map(|extent| extent.place));
        }
    }
}

/// The gradients of parameters, and the tensors that they are columns of.
fn ends(operations: &Operations) -> FxHashSet<Id> {
    let mut ends = FxHashSet::default();
    for &gradient in operations.gradients.iter().flatten() {
        let mut id = gradient;
        ends.insert(id);
        while let Origin::Columns { of, .. } = operations.tensors[id].origin {
            id = of;
            ends.insert(id);
        }
    }
    // The gradient of a product of kernels is needed only for the gradients of those kernels. So it ends there too, and so do
    // the sums of such gradients.
    for operation in operations.list.iter().rev() {
        let adds = matches!(operation.kind, Kind::Add { .. }) && exact(operations, &operation.outputs);
        if (adds || matches!(operation.kind, Kind::HeadProduct(_)))
            && operation.outputs.iter().all(|id| ends.contains(id))
        {
            let computed = |id: &&Id| operations.tensors[**id].origin == Origin::Computed;
            ends.extend(operation.inputs.iter().filter(computed));
        }
    }
    ends
}

fn exact(operations: &Operations, ids: &[Id]) -> bool {
    ids.iter().all(|&id| operations.tensors[id].element == Element::F32)
}
