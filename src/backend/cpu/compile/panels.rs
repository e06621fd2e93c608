//! Which parameters are kept in panels.

use luminal::prelude::Graph;
use petgraph::Direction;

use super::super::{
    kernels::gemm::panels::Panels,
    ops::{PanelUse, scheduling},
};
use crate::{
    graph::{Value, operation},
    passes::inputs,
};

/// The panels that a parameter is kept in: those of a dense kernel of one row per image that nothing else uses.
/// The same in all graphs of a network, which share the parameter.
pub fn panels(graph: &Graph, parameter: &Value) -> Option<Panels> {
    let mut layers = 0;
    for user in graph.graph.neighbors_directed(parameter.node, Direction::Outgoing) {
        let operands = inputs(graph, user);
        let kernel_of_rows = operands.get(1).is_some_and(|kernel| kernel.node == parameter.node)
            && operands.iter().filter(|operand| operand.node == parameter.node).count() == 1
            && operands[0].shape.len() == 2;
        match scheduling(operation(graph, user)?).panels? {
            PanelUse::Layer if kernel_of_rows => layers += 1,
            PanelUse::LayerGradient if kernel_of_rows => {}
            PanelUse::Update => {}
            PanelUse::Layer | PanelUse::LayerGradient => return None,
        }
    }
    let &[k, n] = parameter.shape.as_slice() else { return None };
    Panels::new(k, n).filter(|_| layers == 1)
}
