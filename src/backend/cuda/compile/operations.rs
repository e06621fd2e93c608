//! The graph as a flat list of operations on numbered tensors, which fusion can rewrite.

use std::{fmt, rc::Rc};

use luminal::prelude::NodeIndex;
use rustc_hash::FxHashMap;

use super::emit::Emitter;
use crate::{
    backend::cuda::{
        kernels::{attention_projected::Projected, depthwise::Depthwise, head_product::Shaped},
        launch::{Element, Precision},
        ops::{Reading, Stored, read},
        region::Region,
    },
    graph::{
        Load, StepInput, Value, operation,
        ops::{self, Activation, ConvShape},
    },
    passes::{StepGraph, inputs, ordered},
};

/// Number of a tensor.
pub type Id = usize;

/// What a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Made by an operation.
    Computed,
    /// The parameter of this index.
    Parameter(usize),
    /// Part of another tensor `[rows, stride]`: its columns from here on.
    Columns {
        of: Id,
        start: usize,
        stride: usize,
    },
    Images,
    Labels,
    /// Read from the step's state, or known: nothing in memory.
    Implicit,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub elements: usize,
    pub element: Element,
    pub origin: Origin,
}

/// What happens to a tensor on its way: `dropout(activation(x))`, to which a residual may be added.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pointwise {
    pub activation: Option<Activation>,
    pub dropout: Option<ops::Dropout>,
}

/// What happens to normalised numbers before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AfterNorm {
    pub activation: Option<Activation>,
    pub sum: Option<Sum>,
}

/// Where a tensor is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// To what the activation makes.
    AfterActivation,
    /// To what the activation takes.
    BeforeActivation,
}

/// What an operation does. Extents are `[outer, axis, inner]` around an axis, or `[rows, width]`.
#[derive(Debug, Clone)]
pub enum Kind {
    /// x `[rows, k]`, kernel `[k, n]`, then a bias `[n]` or none.
    Dense {
        rows: usize,
        k: usize,
        n: usize,
        bias: bool,
    },
    /// dy `[rows, n]`, kernel `[k, n]`.
    DenseInputGradient {
        rows: usize,
        k: usize,
        n: usize,
    },
    /// x `[rows, k]`, dy `[rows, n]`; outputs `[k, n]` and, if asked, the sum of dy's rows.
    DenseKernelGradient {
        rows: usize,
        k: usize,
        n: usize,
        bias: bool,
    },
    SumRows {
        rows: usize,
        width: usize,
    },
    /// x, gamma, beta, then with a residual b: the normalised tensor is `x + dropout(b)`, a fourth output.
    LayerNorm {
        rows: usize,
        width: usize,
        epsilon: f32,
        residual: Option<Pointwise>,
    },
    /// dy, x, gamma, mean, rstd, then with a residual the gradient that is added to dx.
    LayerNormGradient {
        rows: usize,
        width: usize,
        added: bool,
    },
    /// x, shift; outputs the sums of x - shift and of its square, `[2, channels]`.
    BatchMoments {
        rows: usize,
        channels: usize,
    },
    /// x, gamma, beta, mean, variance, then what is added if something is.
    BatchNorm {
        rows: usize,
        channels: usize,
        epsilon: f32,
        then: AfterNorm,
    },
    /// dy, x, mean, variance, with an activation gamma and beta; outputs the gradients of gamma and beta.
    BatchNormSums {
        rows: usize,
        channels: usize,
        epsilon: f32,
        activation: Option<Activation>,
    },
    /// dy, x, gamma, mean, variance, the gradients of gamma and beta, with an activation beta. `share` is one by how many numbers a channel
    /// has, or 0 for statistics that are not the batch's.
    BatchNormGradient {
        rows: usize,
        channels: usize,
        epsilon: f32,
        share: f32,
        activation: Option<Activation>,
    },
    /// dy, the kernel, then what is added to the gradient of the input.
    Conv2dInputGradient {
        shape: ConvShape,
        added: bool,
    },
    /// A convolution of each channel by itself: x, kernel `[taps, channels]`, then a bias or none.
    Depthwise {
        shape: Depthwise,
    },
    /// dy, the kernel, then what is added to the gradient of the input.
    DepthwiseInputGradient {
        shape: Depthwise,
        added: bool,
    },
    /// x, dy; outputs `[taps, channels]`.
    DepthwiseKernelGradient {
        shape: Depthwise,
    },
    /// query, key, value; outputs the result and statistics of the softmax. The result is that of each head, even where the operator adds
    /// them, and so is the gradient by shared keys: [`Kind::SumHeads`] follows.
    Attention {
        shape: ops::AttentionShape,
        operator: ops::Attention,
    },
    /// dy, query, key, value, result, statistics; outputs gradients of the first three.
    AttentionGradient {
        shape: ops::AttentionShape,
        operator: ops::Attention,
    },
    /// Tokens `[batch, tokens, dim]`, the kernels `[dim, heads · dim]` of queries and of values, then both biases or none: an attention
    /// whose heads have the tokens as keys, with its projections; last a bias `[dim]` of the output or none. Outputs the sum over heads, and
    /// statistics.
    ProjectedAttention {
        projected: Projected,
        shape: ops::AttentionShape,
        operator: ops::Attention,
        bias: bool,
    },
    /// dy, the inputs of [`Kind::ProjectedAttention`] without the last bias, statistics; outputs gradients of queries, of the tokens as keys, and of values.
    ProjectedAttentionGradient {
        projected: Projected,
        shape: ops::AttentionShape,
        operator: ops::Attention,
    },
    /// Two operands of each product; the output is the sum of the products, of which there are two at most.
    HeadProduct(Vec<Shaped>),
    /// x `[rows, heads, width]`, then a bias `[width]` or none; outputs `[rows, width]`.
    SumHeads {
        rows: usize,
        heads: usize,
        width: usize,
        bias: bool,
    },
    /// x, then the residual if there is one.
    Pointwise(Pointwise),
    /// dy and, with an activation, its input.
    PointwiseGradient(Pointwise),
    /// a `[rows, width]`, b `[width]` repeated, or as large as a.
    Add {
        rows: usize,
        width: usize,
    },
    /// logits, labels; outputs the loss and, fused, the gradient of the logits.
    CrossEntropy {
        rows: usize,
        width: usize,
        loss: ops::CrossEntropy,
        /// Labels `[rows, 3]`: the label, the other one, and the share of the first.
        mixed: bool,
    },
    /// logits, labels; outputs the gradient of the logits.
    CrossEntropyGradient,
    /// What no rewrite looks into: its file alone knows.
    Call(Calls),
    /// Several of these in one kernel.
    Region(Rc<Region>),
}

/// Makes the calls of an operation.
#[derive(Clone)]
pub struct Calls(pub Rc<Emit>);

/// Emits the calls of an operation.
pub type Emit = dyn Fn(&mut Emitter, &Operation);

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Calls")
    }
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Operation {
    pub kind: Kind,
    pub name: String,
    pub inputs: Vec<Id>,
    pub outputs: Vec<Id>,
}

/// Operations in order, and their tensors.
#[derive(Debug)]
pub struct Operations {
    pub tensors: Vec<Tensor>,
    pub list: Vec<Operation>,
    pub loss: Id,
    pub logits: Id,
    pub images: Id,
    pub labels: Id,
    /// One per parameter; empty when evaluating.
    pub gradients: Vec<Option<Id>>,
    /// Whether parameters are updated.
    pub trains: bool,
    /// How gradients are added up, if they are.
    pub accumulates: Option<ops::Accumulate>,
}

impl Operations {
    /// Reads a graph.
    ///
    /// # Errors
    /// The name of an operator that this backend does not know.
    pub fn read(graph: &StepGraph, precision: Precision) -> Result<Self, String> {
        let luminal = &graph.builder.graph;
        let activations = precision.element();
        let mut ids: FxHashMap<(NodeIndex, u8), Id> = FxHashMap::default();
        let mut tensors: Vec<Tensor> = Vec::new();
        let (mut list, mut trains, mut accumulates) = (Vec::new(), false, None);
        for node in ordered(luminal) {
            let Some(operation) = operation(luminal, node) else {
                if let Some(load) = luminal.graph[node].as_any().downcast_ref::<Load>() {
                    ids.insert((node, 0), tensors.len());
                    tensors.push(loaded(graph, node, load, activations));
                }
                continue;
            };
            let sources = inputs(luminal, node);
            let shapes: Vec<&[usize]> = sources.iter().map(|source| source.shape.as_slice()).collect();
            let mut input_ids: Vec<Id> = sources.iter().map(|source| ids[&(source.node, source.output)]).collect();
            let (kind, stored) = match read(operation, &shapes).ok_or_else(|| operation.name().to_owned())? {
                Reading::View => {
                    ids.insert((node, 0), input_ids[0]);
                    continue;
                }
                Reading::Update => {
                    trains = true;
                    continue;
                }
                Reading::Average => continue,
                Reading::OfUpdate => {
                    ids.insert((node, 0), tensors.len());
                    tensors.push(Tensor { elements: 0, element: Element::F32, origin: Origin::Implicit });
                    continue;
                }
                Reading::Accumulate(operator) => {
                    accumulates = Some(operator);
                    for output in 0..operation.output_shapes(&shapes).len() {
                        ids.insert((node, output as u8), tensors.len());
                        tensors.push(Tensor { elements: 0, element: Element::F32, origin: Origin::Implicit });
                    }
                    continue;
                }
                Reading::Operation { kind, stored } => (kind, stored),
            };
            // Random state and the gradient of the loss are no memory here.
            input_ids.retain(|&id| tensors[id].origin != Origin::Implicit);
            let exact = input_ids.iter().all(|&id| tensors[id].element == Element::F32);
            let mut outputs = Vec::new();
            for (output, shape) in operation.output_shapes(&shapes).iter().enumerate() {
                let (mut elements, mut element) = (shape.iter().product(), activations);
                match stored.get(output) {
                    Some(Stored::Exact) => element = Element::F32,
                    Some(&Stored::Numbers(count)) => (elements, element) = (count, Element::F32),
                    Some(Stored::AsInputs) if exact => element = Element::F32,
                    Some(Stored::AsInputs | Stored::Activations) | None => {}
                }
                ids.insert((node, output as u8), tensors.len());
                outputs.push(tensors.len());
                tensors.push(Tensor { elements, element, origin: Origin::Computed });
            }
            list.push(Operation { kind, name: operation.name().to_owned(), inputs: input_ids, outputs });
        }
        let id = |value: &Value| ids[&(value.node, value.output)];
        let mut operations = Self {
            loss: id(&graph.loss),
            logits: id(&graph.network.logits),
            images: id(&graph.network.images),
            labels: id(&graph.labels),
            gradients: graph.gradients.iter().map(|gradient| gradient.as_ref().map(id)).collect(),
            tensors,
            list,
            trains,
            accumulates,
        };
        operations.keep_logits_exact();
        Ok(operations)
    }

    /// Logits that only the loss reads are stored as float32: rounded to bfloat16, they would tie.
    fn keep_logits_exact(&mut self) {
        let logits = self.logits;
        let dense = self.maker(logits).is_some_and(|maker| matches!(self.list[maker].kind, Kind::Dense { .. }));
        let only_loss = self
            .list
            .iter()
            .filter(|operation| operation.inputs.contains(&logits))
            .all(|operation| matches!(operation.kind, Kind::CrossEntropy { .. } | Kind::CrossEntropyGradient));
        if dense && only_loss {
            self.tensors[logits].element = Element::F32;
        }
    }

    /// A new tensor.
    pub fn tensor(&mut self, elements: usize, element: Element, origin: Origin) -> Id {
        self.tensors.push(Tensor { elements, element, origin });
        self.tensors.len() - 1
    }

    /// How many operations read a tensor; results of the program count as read once more.
    pub fn uses(&self, id: Id) -> usize {
        let results = [self.loss, self.logits];
        let read = self
            .list
            .iter()
            .flat_map(|operation| &operation.inputs)
            .chain(&results)
            .chain(self.gradients.iter().flatten());
        read.filter(|&&other| other == id).count()
    }

    /// Whether a tensor is a product of the kernels of projections.
    pub fn is_head_product(&self, id: Id) -> bool {
        self.maker(id).is_some_and(|maker| matches!(self.list[maker].kind, Kind::HeadProduct(_)))
    }

    /// Index of the operation that makes a tensor.
    pub fn maker(&self, id: Id) -> Option<usize> {
        self.list.iter().position(|operation| operation.outputs.contains(&id))
    }
}

fn loaded(graph: &StepGraph, node: NodeIndex, load: &Load, activations: Element) -> Tensor {
    let (elements, element, origin) = match (load, graph.builder.parameter_index(node)) {
        (_, Some(index)) => (graph.builder.parameters[index].value.len(), Element::F32, Origin::Parameter(index)),
        (Load::Step(StepInput::Images), None) => (graph.network.images.len(), activations, Origin::Images),
        (Load::Step(StepInput::Labels), None) => (graph.labels.len(), Element::F32, Origin::Labels),
        _ => (0, Element::F32, Origin::Implicit),
    };
    Tensor { elements, element, origin }
}
