//! From operations to calls: kernels and products, on memory that has no place yet.

mod attention;
mod layer_norm;
mod layouts;
mod products;
mod touched;

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::operations::{Id, Kind, Operation, Operations, Origin, Pointwise};
use crate::{
    backend::cuda::{
        kernels::{Dropout, cross_entropy, pointwise, reduce, softmax},
        launch::{Element, Launch, Precision},
        layout::Layout,
        program::{Base, Call, Cost, Line, Output, Place, Work},
        state,
    },
    graph::{Parameter, ops},
};

/// Labels among so many first count for the second metric: Keras' top-5 accuracy.
const TOP: u32 = 5;

/// Memory of a call: a fixed place, or part of a tensor that is still to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Symbol {
    Fixed(Place),
    /// Bytes into a tensor.
    Tensor(Id, usize),
}

impl Symbol {
    pub fn plus(self, bytes: usize) -> Self {
        match self {
            Self::Fixed(place) => Self::Fixed(place.plus(bytes)),
            Self::Tensor(id, offset) => Self::Tensor(id, offset + bytes),
        }
    }
}

/// What is known while calls are made.
pub struct Emitter<'a> {
    pub operations: Operations,
    pub layout: &'a Layout,
    pub parameters: &'a [Parameter],
    pub precision: Precision,
    /// Of dropout.
    pub seed: u64,
    /// Bytes of shared memory that a block may have.
    pub block_memory: usize,
    pub calls: Vec<Call<Symbol>>,
    /// Index of the call after which the loss is known.
    pub loss_known: usize,
    /// Tensors that have a place of their own: gradients of parameters.
    pub fixed: FxHashMap<Id, Place>,
    /// The operation under way, the parameters that it reads, all that it reads, and all that it writes.
    pub name: String,
    pub reads: Vec<String>,
    pub inputs: Vec<Id>,
    pub results: Vec<Id>,
}

impl<'a> Emitter<'a> {
    pub fn new(
        operations: Operations,
        layout: &'a Layout,
        parameters: &'a [Parameter],
        precision: Precision,
        seed: u64,
        block_memory: usize,
    ) -> Self {
        let mut fixed = FxHashMap::default();
        for (index, &gradient) in operations.gradients.iter().enumerate() {
            let place = gradient_place(layout, index);
            let slot = layout.slot(index);
            let tensor = &operations.tensors[gradient];
            let direct = |id: Id| operations.maker(id).is_some() && operations.tensors[id].element == Element::F32;
            match tensor.origin {
                Origin::Columns { of, start: 0, .. } if direct(of) => {
                    fixed.entry(of).or_insert(place);
                }
                // Strided memory is written by products alone.
                Origin::Computed
                    if direct(gradient) && (slot.stride == slot.width || product(&operations, gradient)) =>
                {
                    fixed.entry(gradient).or_insert(place);
                }
                _ => {}
            }
        }
        Self {
            operations,
            layout,
            parameters,
            precision,
            seed,
            block_memory,
            calls: Vec::new(),
            loss_known: 0,
            fixed,
            name: String::new(),
            reads: Vec::new(),
            inputs: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Makes the calls of all operations.
    pub fn run(&mut self) {
        for operation in self.operations.list.clone() {
            self.begin(&operation);
            self.operation(&operation);
        }
        for index in 0..self.operations.gradients.len() {
            self.settle_gradient(index);
        }
        if let Some(rule) = self.operations.update {
            self.update(&rule);
        }
    }

    /// Names the operation that the next calls are of.
    fn begin(&mut self, operation: &Operation) {
        self.name = operation.name.clone();
        self.inputs = operation.inputs.clone();
        self.results = operation.outputs.clone();
        let parameter = |&id: &Id| match self.operations.tensors[id].origin {
            Origin::Parameter(index) => Some(self.parameters[index].name.clone()),
            _ => None,
        };
        self.reads = operation.inputs.iter().filter_map(parameter).collect();
    }

    /// Adds a call of the operation's that reads its inputs and writes tensors.
    pub fn push(&mut self, work: Work<Symbol>, outputs: &[Id]) {
        let bytes = self.bytes(self.inputs.iter().chain(outputs));
        let flops = match &work {
            Work::Gemm(gemm, _) => gemm.flops(),
            Work::Launch(_) => 0,
        };
        self.push_costing(work, outputs, Cost { bytes, flops });
    }

    /// The size of tensors, each counted once.
    pub fn bytes<'b>(&self, ids: impl Iterator<Item = &'b Id>) -> u64 {
        let ids: BTreeSet<Id> = ids.copied().collect();
        let stored = self.precision.element().size();
        let size = |id: Id| {
            let tensor = &self.operations.tensors[id];
            // Products read a parameter's shadow.
            let size = if matches!(tensor.origin, Origin::Parameter(_)) { stored } else { tensor.element.size() };
            (tensor.elements * size) as u64
        };
        ids.into_iter().map(size).sum()
    }

    pub fn push_costing(&mut self, work: Work<Symbol>, outputs: &[Id], cost: Cost) {
        let outputs = outputs
            .iter()
            .map(|&id| {
                let tensor = &self.operations.tensors[id];
                Output { place: self.at(id), elements: tensor.elements, element: tensor.element }
            })
            .collect();
        self.add(work, outputs, cost);
    }

    pub fn add(&mut self, work: Work<Symbol>, outputs: Vec<Output<Symbol>>, cost: Cost) {
        let touched = self.touched(&work);
        let (name, parameters) = (self.name.clone(), self.reads.clone());
        self.calls.push(Call { name, parameters, work, outputs, cost, line: Line::Main, touched });
    }

    pub fn launch(&mut self, launch: Launch<Symbol>, outputs: &[Id]) {
        self.push(Work::Launch(launch), outputs);
    }

    /// Adds a launch that does no more than finish what the one before has done.
    pub fn finish(&mut self, launch: Launch<Symbol>, outputs: &[Id]) {
        let cost = Cost { bytes: self.bytes(outputs.iter()), flops: 0 };
        self.push_costing(Work::Launch(launch), outputs, cost);
    }

    /// Adds launches, of which the first reads the inputs and the last writes the outputs.
    pub fn launches(&mut self, launches: impl IntoIterator<Item = Launch<Symbol>>, outputs: &[Id]) {
        let launches: Vec<_> = launches.into_iter().collect();
        let last = launches.len().saturating_sub(1);
        for (index, launch) in launches.into_iter().enumerate() {
            let outputs = if index == last { outputs } else { &[] };
            if index == 0 { self.launch(launch, outputs) } else { self.finish(launch, outputs) }
        }
    }

    /// Where a tensor is, a parameter as float32.
    pub fn at(&self, id: Id) -> Symbol {
        if let Some(&place) = self.fixed.get(&id) {
            return Symbol::Fixed(place);
        }
        let tensor = &self.operations.tensors[id];
        match tensor.origin {
            Origin::Parameter(index) => {
                let offset = size_of::<f32>() * self.layout.slot(index).offset;
                Symbol::Fixed(Place { base: Base::Store, offset })
            }
            Origin::Columns { of, start, .. } => self.at(of).plus(start * tensor.element.size()),
            Origin::Computed | Origin::Images | Origin::Labels | Origin::Implicit => Symbol::Tensor(id, 0),
        }
    }

    /// A tensor as activations are stored: a parameter by its shadow.
    pub fn activation(&self, id: Id) -> Symbol {
        let element = self.precision.element();
        match self.operations.tensors[id].origin {
            Origin::Parameter(index) if element == Element::Bf16 => {
                let offset = element.size() * self.layout.slot(index).offset;
                Symbol::Fixed(Place { base: Base::Shadow, offset })
            }
            _ => self.at(id),
        }
    }

    /// Elements from row to row of a parameter, or of a gradient in a parameter's place.
    pub fn stride(&self, id: Id, width: usize) -> usize {
        let of = |index: usize| self.layout.slot(index).stride;
        match self.operations.tensors[id].origin {
            Origin::Parameter(index) => of(index),
            Origin::Columns { stride, .. } => stride,
            _ if self.fixed.contains_key(&id) => {
                self.operations.gradients.iter().position(|&gradient| gradient == id).map_or(width, of)
            }
            _ => width,
        }
    }

    /// Memory for one operation.
    pub fn scratch(&mut self, floats: usize) -> Symbol {
        Symbol::Tensor(self.operations.tensor(floats.max(1), Element::F32, Origin::Computed), 0)
    }

    pub fn dropout(&self, layer: Option<ops::Dropout>) -> Option<Dropout<Symbol>> {
        let layer = layer.filter(|layer| layer.rate > 0.0)?;
        Some(Dropout::new(&layer, self.seed, Symbol::Fixed(state::STEP)))
    }

    pub fn elements(&self, id: Id) -> usize {
        self.operations.tensors[id].elements
    }

    pub fn element(&self, id: Id) -> Element {
        self.operations.tensors[id].element
    }

    fn operation(&mut self, operation: &Operation) {
        let (inputs, outputs) = (&operation.inputs[..], &operation.outputs[..]);
        match &operation.kind {
            Kind::Dense { .. } | Kind::DenseInputGradient { .. } | Kind::DenseKernelGradient { .. } => {
                self.product(operation);
            }
            &Kind::SumRows { rows, width } => {
                let element = self.element(inputs[0]);
                let workspace = self.scratch(reduce::sum_rows_workspace(rows, width, element));
                let (x, y) = (self.at(inputs[0]), self.at(outputs[0]));
                self.launches(reduce::sum_rows(rows, width, element, x, workspace, y), outputs);
            }
            &Kind::LayerNorm { rows, width, epsilon, residual } => {
                self.layer_norm(operation, [rows, width], epsilon, residual);
            }
            &Kind::LayerNormGradient { rows, width, .. } => self.layer_norm_gradient(operation, [rows, width]),
            &Kind::Pointwise(Pointwise { activation, dropout }) => {
                let count = self.elements(outputs[0]);
                let residual = inputs.get(1).map(|&id| self.activation(id));
                let epilogue = pointwise::Epilogue {
                    activation,
                    dropout: self.dropout(dropout),
                    residual,
                    ..pointwise::Epilogue::default()
                };
                let (x, y) = (self.activation(inputs[0]), self.at(outputs[0]));
                self.launch(pointwise::forward(count, 1, self.precision, x, epilogue, y), outputs);
            }
            &Kind::PointwiseGradient(Pointwise { activation, dropout }) => {
                let count = self.elements(outputs[0]);
                let activation = activation.map(|activation| (activation, self.activation(inputs[1])));
                let (dy, dx) = (self.activation(inputs[0]), self.at(outputs[0]));
                let dropout = self.dropout(dropout);
                self.launch(pointwise::backward(count, self.precision, dy, activation, dropout, dx), outputs);
            }
            &Kind::Add { width, .. } => {
                let (count, element) = (self.elements(outputs[0]), self.element(outputs[0]));
                let own = |id: Id| if element == Element::F32 { self.at(id) } else { self.activation(id) };
                let a = own(inputs[0]);
                // A repeated parameter is read in full precision.
                let (b, other) = (self.at(inputs[1]), self.element(inputs[1]));
                let y = self.at(outputs[0]);
                self.launch(pointwise::add(count, element, a, width, other, b, y), outputs);
            }
            &Kind::Softmax { rows, width } => {
                let (x, y) = (self.activation(inputs[0]), self.at(outputs[0]));
                self.launch(softmax::forward(rows, width, self.precision, x, y), outputs);
            }
            &Kind::SoftmaxGradient { rows, width } => {
                let (dy, y, dx) = (self.activation(inputs[0]), self.activation(inputs[1]), self.at(outputs[0]));
                self.launch(softmax::backward(rows, width, self.precision, dy, y, dx), outputs);
            }
            &Kind::Scale { factor } => {
                let (from, to) = (self.element(inputs[0]), self.element(outputs[0]));
                let (x, y) = (self.at(inputs[0]), self.at(outputs[0]));
                self.launch(pointwise::scale(self.elements(outputs[0]), factor, from, x, to, y), outputs);
            }
            &Kind::Attention { shape, dropout } => self.attention(operation, shape, dropout),
            &Kind::AttentionGradient { shape, dropout } => self.attention_gradient(operation, shape, dropout),
            &Kind::CrossEntropy { rows, width } => self.cross_entropy(operation, [rows, width]),
            _ => self.move_elements(operation),
        }
    }

    /// The losses of the rows with the gradient of the logits, then their mean and the metrics.
    fn cross_entropy(&mut self, operation: &Operation, [rows, width]: [usize; 2]) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let (logits, element) = (self.at(inputs[0]), self.element(inputs[0]));
        let gradient = outputs.get(1).map(|&id| (self.element(id), self.at(id)));
        let (losses, places) = (self.scratch(rows), self.scratch(rows));
        let to = cross_entropy::Rows { losses, places };
        let (labels, scale) = (self.at(inputs[1]), 1.0 / rows as f32);
        let launch = cross_entropy::rows(rows, width, element, logits, labels, scale, gradient, to.clone());
        self.launch(launch, &outputs[1..]);
        let [state, metrics, stop] = [state::STEP, state::METRICS, state::STOP].map(Symbol::Fixed);
        self.fixed.insert(outputs[0], state::LOSS);
        let loss = self.at(outputs[0]);
        self.finish(cross_entropy::finish(rows, TOP, to, state, loss, metrics, stop), &outputs[..1]);
        self.loss_known = self.calls.len() - 1;
    }
}

/// Where the update reads a parameter's gradient: the fourth group of the store.
pub fn gradient_place(layout: &Layout, index: usize) -> Place {
    Place { base: Base::Store, offset: size_of::<f32>() * (3 * layout.len() + layout.slot(index).offset) }
}

fn product(operations: &Operations, id: Id) -> bool {
    operations.maker(id).is_some_and(|maker| {
        let operation = &operations.list[maker];
        matches!(operation.kind, Kind::DenseKernelGradient { .. }) && operation.outputs[0] == id
    })
}
