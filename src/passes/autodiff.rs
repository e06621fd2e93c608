use std::cell::RefCell;

use luminal::prelude::{Compiler, Graph, NodeIndex, ToIdsMut};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{inputs, ordered, with_builder};
use crate::graph::{Builder, Gradients, Node, Value, operation, ops::viewed};

/// Reverse-mode differentiation: adds the nodes that compute d(loss)/d(value) for every value of
/// `wanted`, and leaves them in `gradients`, in the same order.
///
/// A value that the loss does not depend on gets no gradient: `None`.
pub struct Autodiff<'a> {
    /// What is differentiated, a tensor of one element.
    pub loss: &'a Value,
    /// d(loss)/d(loss), a tensor of one element.
    pub seed: &'a Value,
    /// By what it is differentiated.
    pub wanted: &'a [Value],
    /// Where the results are left.
    pub gradients: &'a RefCell<Vec<Option<Value>>>,
}

impl Compiler for Autodiff<'_> {
    fn compile<T: ToIdsMut>(&self, graph: &mut Graph, _: T) {
        let gradients = with_builder(graph, |builder| self.differentiate(builder));
        *self.gradients.borrow_mut() = gradients;
    }
}

type Key = (NodeIndex, u8);

impl Autodiff<'_> {
    fn differentiate(&self, builder: &mut Builder) -> Vec<Option<Value>> {
        let order = ordered(&builder.graph);
        let active = self.active(&builder.graph, &order);
        let mut grads: FxHashMap<Key, Value> = FxHashMap::default();
        grads.insert((self.loss.node, self.loss.output), self.seed.clone());

        for &node in order.iter().rev().filter(|node| active.contains(node)) {
            let inputs = inputs(&builder.graph, node);
            let Some(operation) = operation(&builder.graph, node) else { continue };
            let shapes: Vec<&[usize]> = inputs.iter().map(|value| value.shape.as_slice()).collect();
            let outputs: Vec<Value> = operation
                .output_shapes(&shapes)
                .into_iter()
                .enumerate()
                .map(|(output, shape)| Value { node, output: output as u8, shape })
                .collect();
            // Rules read the gradient of the first output only: the others are intermediate
            // results kept for the backward pass, which nothing else consumes.
            let Some(grad) = grads.get(&(node, 0)) else { continue };
            let grad = viewed(grad, &outputs[0].shape);
            let wanted: Vec<bool> = inputs.iter().map(|input| active.contains(&input.node)).collect();

            // The rule borrows the builder that holds the operation, so the operation steps out.
            let placeholder: Box<dyn luminal::op::Operator> = Box::new(luminal::op::Print::default());
            let Some(slot) = builder.graph.graph.node_weight_mut(node) else { continue };
            let operator = std::mem::replace(slot, placeholder);
            let input_grads = operator.as_any().downcast_ref::<Node>().map(|held| {
                let site = Gradients { inputs: &inputs, outputs: &outputs, grads: &[grad], wanted: &wanted };
                held.0.gradient(builder, &site)
            });
            if let Some(slot) = builder.graph.graph.node_weight_mut(node) {
                *slot = operator;
            }

            for (input, grad) in inputs.iter().zip(input_grads.into_iter().flatten()) {
                let Some(grad) = grad.filter(|_| active.contains(&input.node)) else { continue };
                let key = (input.node, input.output);
                let total = match grads.remove(&key) {
                    Some(sum) => builder.add(&sum, &grad),
                    None => grad,
                };
                grads.insert(key, total);
            }
        }
        self.wanted.iter().map(|value| grads.get(&(value.node, value.output)).cloned()).collect()
    }

    /// Nodes on a path from a wanted value.
    fn active(&self, graph: &Graph, order: &[NodeIndex]) -> FxHashSet<NodeIndex> {
        let mut active: FxHashSet<NodeIndex> = self.wanted.iter().map(|value| value.node).collect();
        for &node in order {
            if graph.get_sources(node).iter().any(|(source, _, _)| active.contains(source)) {
                active.insert(node);
            }
        }
        active
    }
}
