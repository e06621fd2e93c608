//! The graph as a flat list of operations on numbered tensors, which fusion can rewrite.

use luminal::prelude::NodeIndex;
use rustc_hash::FxHashMap;

use crate::{
    backend::cuda::{
        kernels::attention::kept_bytes,
        launch::{Element, Precision},
    },
    graph::{
        Load, Operation as GraphOperation, Value, operation,
        ops::{self, Activation, ActivationGradient, AttentionGradient, around, flat},
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

/// What an operation does. Extents are `[outer, axis, inner]` around an axis, or `[rows, width]`.
#[derive(Debug, Clone, PartialEq)]
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
    /// query, key, value; outputs the result and statistics of the softmax.
    Attention {
        shape: ops::AttentionShape,
        dropout: ops::Dropout,
    },
    /// dy, query, key, value, result, statistics; outputs gradients of the first three.
    AttentionGradient {
        shape: ops::AttentionShape,
        dropout: ops::Dropout,
    },
    /// x, then the residual if there is one.
    Pointwise(Pointwise),
    /// dy and, with an activation, its input.
    PointwiseGradient(Pointwise),
    Softmax {
        rows: usize,
        width: usize,
    },
    /// dy, y.
    SoftmaxGradient {
        rows: usize,
        width: usize,
    },
    /// a `[rows, width]`, b `[width]` repeated, or as large as a.
    Add {
        rows: usize,
        width: usize,
    },
    Scale {
        factor: f32,
    },
    /// logits, labels; outputs the loss and, fused, the gradient of the logits.
    CrossEntropy {
        rows: usize,
        width: usize,
    },
    /// logits, labels; outputs the gradient of the logits.
    CrossEntropyGradient {
        rows: usize,
        width: usize,
    },
    Transpose {
        shape: Vec<usize>,
        permutation: Vec<usize>,
    },
    Mean {
        around: [usize; 3],
    },
    /// Output extents.
    MeanGradient {
        around: [usize; 3],
    },
    Slice {
        around: [usize; 3],
        start: usize,
        length: usize,
    },
    /// Input extents.
    Pad {
        around: [usize; 3],
        before: usize,
        after: usize,
    },
    /// Extents of each input.
    Concat {
        parts: Vec<[usize; 3]>,
    },
    Expand {
        count: usize,
    },
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
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
    pub gradients: Vec<Id>,
    /// Of the update, when training.
    pub update: Option<ops::AdamWUpdate>,
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
        let (mut list, mut update) = (Vec::new(), None);
        for node in ordered(luminal) {
            let Some(operation) = operation(luminal, node) else {
                if luminal.graph[node].as_any().is::<Load>() {
                    ids.insert((node, 0), tensors.len());
                    tensors.push(load(graph, node, activations));
                }
                continue;
            };
            let sources = inputs(luminal, node);
            let shapes: Vec<&[usize]> = sources.iter().map(|source| source.shape.as_slice()).collect();
            let mut input_ids: Vec<Id> = sources.iter().map(|source| ids[&(source.node, source.output)]).collect();
            let any = operation.as_any();
            if any.is::<ops::Reshape>() {
                ids.insert((node, 0), input_ids[0]);
                continue;
            }
            if let Some(&rule) = any.downcast_ref::<ops::AdamWUpdate>() {
                update = Some(rule);
                continue;
            }
            // Random state and the gradient of the loss are no memory here.
            input_ids.retain(|&id| tensors[id].origin != Origin::Implicit);
            let kind = kind(operation, &shapes).ok_or_else(|| operation.name().to_owned())?;
            let mut outputs = Vec::new();
            for (output, shape) in operation.output_shapes(&shapes).iter().enumerate() {
                let mut elements: usize = shape.iter().product();
                let element = match (&kind, output) {
                    (Kind::DenseKernelGradient { .. } | Kind::SumRows { .. } | Kind::CrossEntropy { .. }, _)
                    | (Kind::LayerNorm { .. } | Kind::LayerNormGradient { .. }, 1..) => Element::F32,
                    (Kind::Attention { shape, dropout }, 1) => {
                        elements = statistics_len(shape, dropout);
                        Element::F32
                    }
                    (Kind::Add { .. } | Kind::Scale { .. }, _)
                        if input_ids.iter().all(|&id| tensors[id].element == Element::F32) =>
                    {
                        Element::F32
                    }
                    _ => activations,
                };
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
            gradients: graph.gradients.iter().map(id).collect(),
            tensors,
            list,
            update,
        };
        operations.keep_logits_exact();
        Ok(operations)
    }

    /// Logits that only the loss reads are stored as float32: rounded to bfloat16, they would tie.
    fn keep_logits_exact(&mut self) {
        let logits = self.logits;
        let dense = self.maker(logits).is_some_and(|maker| matches!(self.list[maker].kind, Kind::Dense { .. }));
        let only_loss =
            self.list.iter().filter(|operation| operation.inputs.contains(&logits)).all(|operation| {
                matches!(operation.kind, Kind::CrossEntropy { .. } | Kind::CrossEntropyGradient { .. })
            });
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
        let read = self.list.iter().flat_map(|operation| &operation.inputs).chain(&results).chain(&self.gradients);
        read.filter(|&&other| other == id).count()
    }

    /// Index of the operation that makes a tensor.
    pub fn maker(&self, id: Id) -> Option<usize> {
        self.list.iter().position(|operation| operation.outputs.contains(&id))
    }
}

/// Floats of an attention's statistics before the bits of dropout.
pub fn kept_offset(shape: &ops::AttentionShape) -> usize {
    // The bits are read in words.
    (shape.batch * shape.heads * shape.tokens).next_multiple_of(4)
}

/// Floats of all statistics of an attention, the bits of dropout included.
fn statistics_len(shape: &ops::AttentionShape, dropout: &ops::Dropout) -> usize {
    let &ops::AttentionShape { batch, heads, tokens, sources, .. } = shape;
    let bits = if dropout.rate > 0.0 { kept_bytes(batch, heads, tokens, sources) } else { 0 };
    kept_offset(shape) + bits / size_of::<f32>()
}

fn load(graph: &StepGraph, node: NodeIndex, activations: Element) -> Tensor {
    let (elements, element, origin) = if let Some(index) = graph.builder.parameter_index(node) {
        (graph.builder.parameters[index].value.len(), Element::F32, Origin::Parameter(index))
    } else if node == graph.network.images.node {
        (graph.network.images.len(), activations, Origin::Images)
    } else if node == graph.labels.node {
        (graph.labels.len(), Element::F32, Origin::Labels)
    } else {
        (0, Element::F32, Origin::Implicit)
    };
    Tensor { elements, element, origin }
}

fn kind(operation: &dyn GraphOperation, shapes: &[&[usize]]) -> Option<Kind> {
    let any = operation.as_any();
    let [rows, width] = flat(shapes[0]);
    Some(if any.is::<ops::Dense>() {
        Kind::Dense { rows, k: width, n: shapes[1][1], bias: shapes.len() == 3 }
    } else if any.is::<ops::DenseInputGradient>() {
        Kind::DenseInputGradient { rows, k: shapes[1][0], n: width }
    } else if any.is::<ops::DenseKernelGradient>() {
        Kind::DenseKernelGradient { rows, k: width, n: flat(shapes[1])[1], bias: false }
    } else if let Some(sum) = any.downcast_ref::<ops::SumLeading>() {
        let width: usize = sum.shape.iter().product();
        Kind::SumRows { rows: rows * flat(shapes[0])[1] / width, width }
    } else if let Some(&ops::LayerNorm { epsilon }) = any.downcast_ref() {
        Kind::LayerNorm { rows, width, epsilon, residual: None }
    } else if any.is::<ops::LayerNormGradient>() {
        Kind::LayerNormGradient { rows, width, added: false }
    } else if let Some(operator) = any.downcast_ref::<ops::Attention>().filter(|operator| of_projections(operator)) {
        let shape = ops::AttentionShape::new(operator, shapes[0], shapes[1], shapes[2]);
        Kind::Attention { shape, dropout: operator.dropout }
    } else if let Some(AttentionGradient(operator)) =
        any.downcast_ref().filter(|AttentionGradient(operator)| of_projections(operator))
    {
        let shape = ops::AttentionShape::new(operator, shapes[1], shapes[2], shapes[3]);
        Kind::AttentionGradient { shape, dropout: operator.dropout }
    } else if let Some(&activation) = any.downcast_ref::<Activation>() {
        Kind::Pointwise(Pointwise { activation: Some(activation), dropout: None })
    } else if let Some(&ActivationGradient(activation)) = any.downcast_ref() {
        Kind::PointwiseGradient(Pointwise { activation: Some(activation), dropout: None })
    } else if let Some(&dropout) = any.downcast_ref::<ops::Dropout>() {
        Kind::Pointwise(Pointwise { activation: None, dropout: Some(dropout) })
    } else if any.is::<ops::Softmax>() {
        Kind::Softmax { rows, width }
    } else if any.is::<ops::SoftmaxGradient>() {
        Kind::SoftmaxGradient { rows, width }
    } else if any.is::<ops::Add>() {
        let repeated: usize = shapes[1].iter().product();
        Kind::Add { rows: rows * width / repeated.max(1), width: repeated }
    } else if let Some(&ops::Scale { factor }) = any.downcast_ref() {
        Kind::Scale { factor }
    } else if any.is::<ops::CrossEntropy>() {
        Kind::CrossEntropy { rows, width }
    } else if any.is::<ops::CrossEntropyGradient>() {
        let [rows, width] = flat(shapes[1]);
        Kind::CrossEntropyGradient { rows, width }
    } else {
        return layout(operation, shapes);
    })
}

/// The form that models are written in: a key for each head, and heads side by side.
fn of_projections(operator: &ops::Attention) -> bool {
    operator.scale.is_none() && !operator.shared_keys && !operator.summed
}

/// Operations that only move elements, or average them along an axis.
fn layout(operation: &dyn GraphOperation, shapes: &[&[usize]]) -> Option<Kind> {
    let any = operation.as_any();
    Some(if let Some(operator) = any.downcast_ref::<ops::Transpose>() {
        Kind::Transpose { shape: shapes[0].to_vec(), permutation: operator.permutation.clone() }
    } else if let Some(operator) = any.downcast_ref::<ops::Mean>() {
        Kind::Mean { around: around(shapes[0], operator.axis) }
    } else if let Some(operator) = any.downcast_ref::<ops::MeanGradient>() {
        Kind::MeanGradient { around: around(&operation.output_shapes(shapes)[0], operator.axis) }
    } else if let Some(&ops::Slice { axis, start, length }) = any.downcast_ref() {
        Kind::Slice { around: around(shapes[0], axis), start, length }
    } else if let Some(&ops::Pad { axis, before, after }) = any.downcast_ref() {
        Kind::Pad { around: around(shapes[0], axis), before, after }
    } else if let Some(operator) = any.downcast_ref::<ops::Concat>() {
        Kind::Concat { parts: shapes.iter().map(|shape| around(shape, operator.axis)).collect() }
    } else if let Some(&ops::Expand { count }) = any.downcast_ref() {
        Kind::Expand { count }
    } else {
        return None;
    })
}
