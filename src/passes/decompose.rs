use std::cell::RefCell;

use luminal::prelude::{Compiler, Graph, NodeIndex, ToIdsMut};
use rustc_hash::FxHashMap;

use super::{inputs, ordered};
use crate::graph::{Builder, Load, Value, operation};

/// Replaces every vitx operator by its decomposition, so that luminal's own compilers can take the
/// graph. `values` are translated to the new graph.
pub struct Decompose<'a> {
    /// Tensors that the caller wants to find again.
    pub values: &'a RefCell<Vec<Value>>,
}

impl Compiler for Decompose<'_> {
    fn compile<T: ToIdsMut>(&self, graph: &mut Graph, _: T) {
        let mut builder = Builder::new();
        let mut map: FxHashMap<(NodeIndex, u8), Value> = FxHashMap::default();
        for node in ordered(graph) {
            if let Some(operation) = operation(graph, node) {
                let inputs: Vec<Value> = inputs(graph, node)
                    .into_iter()
                    .map(|input| Value { shape: input.shape, ..map[&(input.node, input.output)].clone() })
                    .collect();
                for (output, value) in operation.decompose(&mut builder, &inputs).into_iter().enumerate() {
                    map.insert((node, output as u8), value);
                }
            } else if let Some(load) = graph.graph[node].as_any().downcast_ref::<Load>() {
                let value = builder.input(load.clone(), &[]);
                if let Some(tensor) = graph.tensors.remove(&(node, 0)) {
                    builder.graph.set_tensor(value.node, 0, tensor);
                }
                map.insert((node, 0), value);
            }
        }
        for value in self.values.borrow_mut().iter_mut() {
            *value = Value { shape: value.shape.clone(), ..map[&(value.node, value.output)].clone() };
            builder.graph.no_delete.insert(value.node);
        }
        *graph = builder.graph;
    }
}
