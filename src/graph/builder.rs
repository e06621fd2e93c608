use luminal::{
    op::Operator,
    prelude::{Graph, NodeIndex, ShapeTracker},
};
use rustc_hash::FxHashSet;

use super::{
    Initializer, Load, Node, Operation, StepInput, Value,
    expression::Expression,
    ops::{
        Activation, Add, Attention, BatchMoments, BatchNorm, BatchStatistics, Concat, CrossEntropy, Dense, Dropout,
        Expand, LayerNorm, Mean, MeanGradient, Operand, Pointwise, RandomState, Reshape, Scale, Slice, Softmax,
        Transpose,
    },
    value::tracker,
};
use crate::random;

/// A tensor that is set before each run.
#[derive(Debug, Clone)]
pub struct GraphInput {
    /// What is set.
    pub load: Load,
    /// The tensor in the graph.
    pub value: Value,
}

/// A tensor that is learned, or kept from step to step.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Path of the layer instance and the variable, e.g. `patch_encoder/projection/kernel`.
    pub name: String,
    /// Shape shown and stored, as Keras has it (`[dim, heads, key_dim]` for an attention kernel);
    /// the graph's value may merge dimensions.
    pub shape: Vec<usize>,
    /// How it starts.
    pub initializer: Initializer,
    /// The tensor in the graph.
    pub value: Value,
    /// The momentum of a moving average of a statistic of the batches; the optimizer changes all other parameters.
    pub averaged: Option<f32>,
    /// Whether it stays as it is: no gradient, no update, and nothing that an optimizer keeps of it.
    pub frozen: bool,
}

impl Parameter {
    /// Of its start among the draws of a seed.
    pub fn address(&self) -> u64 {
        random::address(&self.name)
    }
}

/// Builds a graph on luminal's [`Graph`], node by node, with shapes known at run time.
///
/// Methods take and give row-major contiguous tensors. They panic on shapes that do not fit: a
/// network is checked by the model room first, so a misfit here is a bug of a layer's lowering.
///
/// ```
/// use vitx::graph::{Builder, Initializer, StepInput};
///
/// let mut builder = Builder::new();
/// let x = builder.input(StepInput::Images, &[2, 5, 3]);
/// let kernel = builder.parameter("dense/kernel", &[3, 4], &[3, 4], Initializer::Zeros);
/// let y = builder.dense(&x, &kernel, None);
/// assert_eq!(y.shape, [2, 5, 4]);
/// let y = builder.mean(&y, 1);
/// assert_eq!(y.shape, [2, 4]);
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    /// The luminal graph so far.
    pub graph: Graph,
    /// In the order in which they were added.
    pub inputs: Vec<GraphInput>,
    /// In the order in which they were added, which is that of checkpoints and summaries.
    pub parameters: Vec<Parameter>,
    /// Whether dropout is active.
    pub training: bool,
    /// Whether a batch is normalised by its own statistics rather than by their moving averages.
    pub batch_statistics: bool,
    /// Moving averages by their index, and the statistic of the batch that each takes up.
    pub averages: Vec<(usize, Value)>,
    /// Path of the layer that is being added, and how many dropouts it has so far.
    layer: String,
    dropouts: u32,
    /// How many nodes there were where each layer began, and its path.
    layers: Vec<(usize, String)>,
    /// Streams of all dropouts.
    streams: FxHashSet<u32>,
}

impl Builder {
    /// An empty graph for evaluation: no dropout, batches normalised by moving averages.
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder whose dropout layers are active, and whose batches are normalised by their own statistics.
    pub fn for_training() -> Self {
        Self { training: true, batch_statistics: true, ..Self::default() }
    }

    fn load(&mut self, load: Load, shape: &[usize]) -> Value {
        let node = self.graph.graph.add_node(Box::new(load));
        Value { node, output: 0, shape: shape.to_vec() }
    }

    /// A tensor that is set before each run: a [`StepInput`], or one of any name where the graph is no step.
    pub fn input(&mut self, load: impl Into<Load>, shape: &[usize]) -> Value {
        let load = load.into();
        let value = self.load(load.clone(), shape);
        self.graph.no_delete.insert(value.node);
        self.inputs.push(GraphInput { load, value: value.clone() });
        value
    }

    /// A trainable tensor; `stored_shape` is what checkpoints and summaries show, `shape` what the
    /// graph computes with. Both have the same number of elements.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        stored_shape: &[usize],
        initializer: Initializer,
    ) -> Value {
        let elements = |shape: &[usize]| shape.iter().product::<usize>();
        assert_eq!(elements(shape), elements(stored_shape), "parameter {name}");
        let value = self.load(Load::Parameter(name.to_owned()), shape);
        self.graph.no_delete.insert(value.node);
        let (name, shape) = (name.to_owned(), stored_shape.to_vec());
        self.parameters.push(Parameter {
            name,
            shape,
            initializer,
            value: value.clone(),
            averaged: None,
            frozen: false,
        });
        value
    }

    /// As [`Builder::parameter`], a moving average with this momentum.
    pub fn moving_average(&mut self, name: &str, shape: &[usize], initializer: Initializer, momentum: f32) -> Value {
        let value = self.parameter(name, shape, shape, initializer);
        if let Some(parameter) = self.parameters.last_mut() {
            parameter.averaged = Some(momentum);
        }
        value
    }

    /// Keeps the parameter that was added last as it is, see [`Parameter::frozen`].
    pub fn freeze_last(&mut self) {
        if let Some(parameter) = self.parameters.last_mut() {
            parameter.frozen = true;
        }
    }

    /// The index of the parameter that a node is.
    pub fn parameter_index(&self, node: NodeIndex) -> Option<usize> {
        self.parameters.iter().position(|parameter| parameter.value.node == node)
    }

    /// Adds a vitx operation.
    pub fn apply(&mut self, operation: impl Operation, inputs: &[&Value]) -> Vec<Value> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|value| value.shape.as_slice()).collect();
        let outputs = operation.output_shapes(&shapes);
        let node = self.add_node(Node(Box::new(operation)), inputs);
        outputs.into_iter().enumerate().map(|(index, shape)| Value { node, output: index as u8, shape }).collect()
    }

    /// Adds a vitx operation of one output.
    pub fn apply_one(&mut self, operation: impl Operation, inputs: &[&Value]) -> Value {
        self.apply(operation, inputs).swap_remove(0)
    }

    /// Adds any luminal operator over contiguous inputs.
    pub fn add_node(&mut self, operator: impl Operator + 'static, inputs: &[&Value]) -> NodeIndex {
        let views: Vec<(&Value, ShapeTracker)> = inputs.iter().map(|value| (*value, value.tracker())).collect();
        self.add_viewed(operator, &views)
    }

    /// Adds any luminal operator over views of its inputs.
    pub fn add_viewed(&mut self, operator: impl Operator + 'static, inputs: &[(&Value, ShapeTracker)]) -> NodeIndex {
        let mut op = self.graph.add_op(operator);
        for (value, shape) in inputs {
            op = op.input(value.node, value.output, *shape);
        }
        op.finish()
    }

    /// `x W + bias`: x `[.., in]`, kernel `[in, out]`, bias `[out]`.
    pub fn dense(&mut self, x: &Value, kernel: &Value, bias: Option<&Value>) -> Value {
        match bias {
            Some(bias) => self.apply_one(Dense, &[x, kernel, bias]),
            None => self.apply_one(Dense, &[x, kernel]),
        }
    }

    /// Layer normalisation over the last axis; gamma and beta are `[last]`.
    pub fn layer_norm(&mut self, x: &Value, gamma: &Value, beta: &Value, epsilon: f32) -> Value {
        self.apply(LayerNorm { epsilon }, &[x, gamma, beta]).swap_remove(0)
    }

    /// Batch normalisation over all axes but the last (Ioffe & Szegedy 2015); all parameters are `[last]`. The moving
    /// averages take up the mean and the biased variance of a batch, as in Keras. Where they are frozen, it is by them in
    /// training, too, as a layer of Keras that is not trainable.
    pub fn batch_norm(&mut self, x: &Value, [gamma, beta]: [&Value; 2], moving: [&Value; 2], epsilon: f32) -> Value {
        let [moving_mean, moving_variance] = moving;
        let frozen = moving
            .iter()
            .any(|average| self.parameter_index(average.node).is_some_and(|index| self.parameters[index].frozen));
        if frozen || !self.batch_statistics {
            let norm = BatchNorm { epsilon, of_batch: false };
            return self.apply_one(norm, &[x, gamma, beta, moving_mean, moving_variance]);
        }
        let sums = self.apply_one(BatchMoments, &[x, moving_mean]);
        let statistics = self.apply(BatchStatistics { count: x.rows() }, &[&sums, moving_mean]);
        for (moving, statistic) in moving.into_iter().zip(&statistics) {
            let index = self.parameter_index(moving.node);
            self.averages.extend(index.map(|index| (index, statistic.clone())));
        }
        let norm = BatchNorm { epsilon, of_batch: true };
        self.apply_one(norm, &[x, gamma, beta, &statistics[0], &statistics[1]])
    }

    /// Scaled dot-product attention of already projected queries `[batch, tokens, heads * key_dim]`,
    /// keys `[batch, sources, heads * key_dim]` and values `[batch, sources, heads * value_dim]`,
    /// with dropout on the weights when training. Gives `[batch, tokens, heads * value_dim]`.
    pub fn attention(&mut self, query: &Value, key: &Value, value: &Value, heads: usize, dropout: f32) -> Value {
        self.attention_of([query, key, value], heads, dropout, None, false)
    }

    /// The same with what scores are multiplied by, where it is not `1 / sqrt(key_dim)`, and whether no token attends to
    /// itself.
    pub fn attention_of(
        &mut self,
        [query, key, value]: [&Value; 3],
        heads: usize,
        dropout: f32,
        scale: Option<f32>,
        diagonal: bool,
    ) -> Value {
        let dropout = self.next_dropout(dropout);
        let mut inputs = vec![query, key, value];
        let random = (dropout.rate > 0.0).then(|| self.random());
        inputs.extend(&random);
        let operator = Attention { heads, dropout, scale, shared_keys: false, summed: false, diagonal };
        self.apply(operator, &inputs).swap_remove(0)
    }

    /// An elementwise activation.
    pub fn activation(&mut self, x: &Value, activation: Activation) -> Value {
        self.apply_one(activation, &[x])
    }

    /// Softmax over the last axis.
    pub fn softmax(&mut self, x: &Value) -> Value {
        self.apply_one(Softmax, &[x])
    }

    /// Inverted dropout: zero with probability `rate`, else scaled by `1 / (1 - rate)`; the
    /// identity when not training.
    pub fn dropout(&mut self, x: &Value, rate: f32) -> Value {
        let dropout = self.next_dropout(rate);
        if dropout.rate == 0.0 {
            return x.clone();
        }
        let random = self.random();
        self.apply_one(dropout, &[x, &random])
    }

    /// Stochastic depth (Huang et al. 2016): with probability `rate` all of an image is zero, else it is scaled by
    /// `1 / (1 - rate)`; the identity when not training.
    pub fn drop_path(&mut self, x: &Value, rate: f32) -> Value {
        let dropout = self.next_dropout(rate);
        if dropout.rate == 0.0 {
            return x.clone();
        }
        let random = self.random();
        let product = Expression::new(2, |x| &x[0] * &x[1]);
        self.pointwise("drop_path", product, &[(x, Operand::Whole), (&random, Operand::ImageMask(dropout))])
    }

    /// A scalar function of tensors, element by element, see [`Pointwise`].
    pub fn pointwise(&mut self, name: &'static str, expression: Expression, inputs: &[(&Value, Operand)]) -> Value {
        let (values, operands): (Vec<&Value>, Vec<Operand>) = inputs.iter().copied().unzip();
        self.apply_one(Pointwise::new(name, expression, operands), &values)
    }

    /// `a + b`, where `b`'s shape is `a`'s or a suffix of it (then `b` repeats over the leading axes).
    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.apply_one(Add, &[a, b])
    }

    /// Joins along `axis`; all other axes agree.
    pub fn concat(&mut self, values: &[&Value], axis: usize) -> Value {
        self.apply_one(Concat { axis }, values)
    }

    /// `length` entries of `axis` from `start` on.
    pub fn slice(&mut self, x: &Value, axis: usize, start: usize, length: usize) -> Value {
        self.apply_one(Slice { axis, start, length }, &[x])
    }

    /// The same elements in the same order under another shape.
    pub fn reshape(&mut self, x: &Value, shape: &[usize]) -> Value {
        if x.shape == shape { x.clone() } else { self.apply_one(Reshape { shape: shape.to_vec() }, &[x]) }
    }

    /// Output axis `i` is input axis `permutation[i]`.
    pub fn transpose(&mut self, x: &Value, permutation: &[usize]) -> Value {
        self.apply_one(Transpose { permutation: permutation.to_vec() }, &[x])
    }

    /// Mean over one axis, which disappears.
    pub fn mean(&mut self, x: &Value, axis: usize) -> Value {
        self.apply_one(Mean { axis }, &[x])
    }

    /// Divides by `length` and repeats that so often along a new axis: the sum over it is `x` again. `[.., ..]` to
    /// `[.., length, ..]`.
    pub fn spread(&mut self, x: &Value, axis: usize, length: usize) -> Value {
        self.apply_one(MeanGradient { axis, length }, &[x])
    }

    /// `factor * x`.
    pub fn scale(&mut self, x: &Value, factor: f32) -> Value {
        self.apply_one(Scale { factor }, &[x])
    }

    /// Repeats the whole tensor `count` times along a new first axis.
    pub fn expand(&mut self, x: &Value, count: usize) -> Value {
        self.apply_one(Expand { count }, &[x])
    }

    /// Mean softmax cross-entropy of logits `[batch, classes]` against class indices `[batch]`
    /// (held as float32). Gives `[1]`.
    pub fn cross_entropy(&mut self, logits: &Value, labels: &Value) -> Value {
        self.apply_one(CrossEntropy::default(), &[logits, labels])
    }

    /// The input that carries the step's [`RandomState`].
    fn random(&mut self) -> Value {
        match self.inputs.iter().find(|input| input.load == Load::Step(StepInput::Random)) {
            Some(input) => input.value.clone(),
            None => self.input(StepInput::Random, &[RandomState::LEN]),
        }
    }

    /// Begins a layer: what follows belongs to it. Its path addresses the random streams of its dropouts, so that a
    /// layer that is added elsewhere leaves their masks as they are.
    pub fn enter(&mut self, path: &str) {
        path.clone_into(&mut self.layer);
        self.dropouts = 0;
        self.layers.push((self.graph.graph.node_count(), path.to_owned()));
    }

    /// The path of the layer that added a node, in a graph of which no node was removed. Empty before the first layer.
    pub fn layer_of(&self, node: NodeIndex) -> &str {
        let after = self.layers.partition_point(|(first, _)| *first <= node.index());
        after.checked_sub(1).map_or("", |layer| &self.layers[layer].1)
    }

    /// The next dropout of the layer, whether or not it is active.
    fn next_dropout(&mut self, rate: f32) -> Dropout {
        let mut stream = random::address(&format!("{}/{}", self.layer, self.dropouts)) as u32;
        self.dropouts += 1;
        // Of a thousand dropouts two meet once in ten thousand networks.
        while !self.streams.insert(stream) {
            stream = stream.wrapping_add(1);
        }
        Dropout::new(if self.training { rate } else { 0.0 }, stream)
    }

    /// The tracker of a contiguous tensor of this shape.
    pub fn tracker(shape: &[usize]) -> ShapeTracker {
        tracker(shape)
    }
}
