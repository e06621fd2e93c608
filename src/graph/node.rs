use std::{any::Any, fmt::Debug};

use luminal::{
    op::{InputTensor, Operator},
    prelude::{Graph, NodeIndex, ShapeTracker, Tensor},
};

use super::{Builder, Value};
use crate::onnx::{Dim, Tensor as OnnxTensor, Writer};

/// A vitx operator: what it computes is defined by [`Operation::decompose`], in luminal
/// primitives; backends may run it by one kernel.
pub trait Operation: Debug + Send + Sync + 'static {
    /// The stable name in graph text, profiles and the kernel registry, e.g. `layer_norm`.
    fn name(&self) -> &'static str;

    /// Attributes in a fixed order, for the graph text: `[("eps", "1e-6")]`.
    fn attributes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Shapes of the outputs for these input shapes.
    fn output_shapes(&self, inputs: &[&[usize]]) -> Vec<Vec<usize>>;

    /// Adds nodes that compute the gradients of the inputs from those of the outputs. `None` for
    /// an input that has no gradient (labels), or that nobody asked for.
    fn gradient(&self, builder: &mut Builder, site: &Gradients) -> Vec<Option<Value>>;

    /// Adds luminal primitives that compute the same outputs.
    fn decompose(&self, builder: &mut Builder, inputs: &[Value]) -> Vec<Value>;

    /// Floating-point operations of one run (a multiply-add counts two). Only matrix products
    /// count, as is usual when a network's work is stated.
    fn flops(&self, _inputs: &[&[usize]]) -> u64 {
        0
    }

    /// Writes nodes of ONNX that compute the first output, of this shape, as inference needs it: other outputs are for
    /// the backward pass. `None` where ONNX has no form of it: of an operator that only training has.
    fn onnx(&self, _writer: &mut Writer, _inputs: &[OnnxTensor], _shape: &[Dim]) -> Option<OnnxTensor> {
        None
    }

    /// For backends, which look for the operator's own type.
    fn as_any(&self) -> &dyn Any;
}

/// What a gradient rule may look at.
pub struct Gradients<'a> {
    /// The tensors that the operator takes, in order.
    pub inputs: &'a [Value],
    /// What the operator made of the inputs.
    pub outputs: &'a [Value],
    /// d(loss)/d(output), shaped as the outputs.
    pub grads: &'a [Value],
    /// Whether the gradient of an input is wanted.
    pub wanted: &'a [bool],
}

/// The luminal [`Operator`] that carries a vitx [`Operation`] in a graph.
///
/// A graph is always compiled before it runs: by the decompose pass for luminal's own CPU
/// compiler, or into a program by a vitx backend. An uncompiled node decomposes itself when
/// luminal executes it, which is slow but right.
#[derive(Debug)]
pub struct Node(pub Box<dyn Operation>);

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name() && self.0.attributes() == other.0.attributes()
    }
}

impl Operator for Node {
    fn process(&mut self, inputs: Vec<(InputTensor, ShapeTracker)>) -> Vec<Tensor> {
        let mut builder = Builder::new();
        let values: Vec<Value> = inputs
            .iter()
            .enumerate()
            .map(|(index, (tensor, shape))| {
                let dims: Vec<usize> = shape.shape().iter().filter_map(|d| d.to_usize()).collect();
                let value = builder.input(&format!("input{index}")[..], &dims);
                builder.graph.set_tensor(value.node, 0, tensor.borrowed().clone());
                value
            })
            .collect();
        let outputs = self.0.decompose(&mut builder, &values);
        for output in &outputs {
            builder.graph.keep_tensors(output.node);
        }
        builder.graph.execute();
        outputs.iter().filter_map(|output| builder.graph.get_tensor_ref(output.node, output.output).cloned()).collect()
    }

    fn custom(&mut self, _key: &str, _input: Box<dyn Any>) -> Option<Box<dyn Any>> {
        None
    }
}

/// The vitx operation of a node, if it is one.
pub fn operation(graph: &Graph, node: NodeIndex) -> Option<&dyn Operation> {
    let operator = graph.graph.node_weight(node)?;
    operator.as_any().downcast_ref::<Node>().map(|node| node.0.as_ref())
}
