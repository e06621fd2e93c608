//! The oracle: the graph decomposed into luminal's primitives, on luminal's own CPU compiler.

use std::cell::RefCell;

use luminal::prelude::{CPUCompiler, Compiler, NodeIndex, Tensor};
use rustc_hash::FxHashMap;

use crate::{
    graph::{Builder, Value},
    passes::Decompose,
};

/// Runs a graph on inputs given by name and reads values back. Slow; every kernel is held to it.
///
/// # Errors
/// The name of an input that is not given.
pub fn run(
    mut builder: Builder,
    inputs: &FxHashMap<String, Vec<f32>>,
    outputs: &[Value],
) -> Result<Vec<Vec<f32>>, String> {
    let loads = builder
        .inputs
        .iter()
        .map(|input| (&input.name, &input.value))
        .chain(builder.parameters.iter().map(|parameter| (&parameter.name, &parameter.value)));
    for (name, value) in loads {
        let data = inputs.get(name).ok_or_else(|| name.clone())?;
        builder.graph.set_tensor(value.node, 0, Tensor::new(data.clone()));
    }
    let mut graph = std::mem::take(&mut builder.graph);
    let values = RefCell::new(outputs.to_vec());
    Decompose { values: &values }.compile(&mut graph, ());
    let values = values.into_inner();
    let mut nodes: Vec<NodeIndex> = values.iter().map(|value| value.node).collect();
    let remap: Vec<&mut NodeIndex> = nodes.iter_mut().collect();
    graph.compile(CPUCompiler::default(), remap);
    graph.execute();
    let read = |(id, value): (_, &Value)| {
        let tensor = graph.get_tensor_ref(id, value.output)?;
        tensor.data.as_any().downcast_ref::<Vec<f32>>().cloned()
    };
    Ok(nodes.into_iter().zip(&values).map(|pair| read(pair).unwrap_or_default()).collect())
}
