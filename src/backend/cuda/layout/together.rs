//! Which parameters lie together, for operators that read or write them as one matrix.

use crate::{
    graph::{Builder, Network, operation, ops},
    passes::{inputs, ordered},
};

/// Parameters that lie together.
pub(super) enum Group {
    /// One after the other.
    Row(Vec<usize>),
    /// Matrices of as many rows, side by side.
    Columns(Vec<usize>),
}

/// The groups that operators want.
pub(super) fn together(builder: &Builder, network: &Network) -> Vec<Group> {
    let graph = &builder.graph;
    let index_of = |value: &crate::graph::Value| builder.parameter_index(value.node);
    let mut groups = Vec::new();
    for node in ordered(graph) {
        let Some(operation) = operation(graph, node) else { continue };
        let sources = inputs(graph, node);
        if operation.as_any().is::<ops::LayerNorm>() || operation.as_any().is::<ops::BatchNorm>() {
            groups.extend(sources[1..3].iter().map(index_of).collect::<Option<Vec<_>>>().map(Group::Row));
        }
        if operation.as_any().is::<ops::Attention>()
            && let Some(dense) = projections(builder, network, &sources[..3])
        {
            groups.push(Group::Columns(dense.iter().map(|own| own[0]).collect()));
            if dense.iter().all(|own| own.len() == 2) {
                groups.push(Group::Row(dense.iter().map(|own| own[1]).collect()));
            }
        }
    }
    groups
}

/// Kernel and bias indices of the three products that make an attention's inputs, if these are three products of
/// one tensor that nothing else reads.
fn projections(builder: &Builder, network: &Network, sources: &[crate::graph::Value]) -> Option<[Vec<usize>; 3]> {
    let graph = &builder.graph;
    let mut input = None;
    let mut found: [Vec<usize>; 3] = Default::default();
    for (source, own) in sources.iter().zip(&mut found) {
        if source.node == network.logits.node || !operation(graph, source.node)?.as_any().is::<ops::Dense>() {
            return None;
        }
        let operands = inputs(graph, source.node);
        let same = *input.get_or_insert((operands[0].node, operands[0].output));
        if same != (operands[0].node, operands[0].output) {
            return None;
        }
        for operand in &operands[1..] {
            own.push(builder.parameter_index(operand.node)?);
        }
    }
    let distinct: std::collections::HashSet<_> = found.iter().flatten().collect();
    let alike = found.iter().all(|own| own.len() == found[0].len());
    (alike && distinct.len() == 3 * found[0].len()).then_some(found)
}
