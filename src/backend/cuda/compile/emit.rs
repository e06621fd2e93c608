//! From operations to calls: kernels and products, on memory that has no place yet.

mod touched;

use std::{cell::RefCell, collections::BTreeSet};

use rustc_hash::FxHashMap;

use super::operations::{Id, Kind, Operation, Operations, Origin};
use crate::{
    backend::cuda::{
        kernels::Dropout,
        launch::{Element, Launch, Precision},
        layout::Layout,
        ops,
        program::{Base, Call, Cost, Extent, Line, Output, Place, Work},
        state,
    },
    graph::{self, Parameter},
};

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
    /// Calls that the step begins with, on a line of their own.
    ahead: Vec<Call<Symbol>>,
    /// What dropout has kept of so many elements, where the bits are written down.
    written: Vec<(graph::ops::Dropout, usize, Symbol)>,
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
            let Some(gradient) = gradient else { continue };
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
            ahead: Vec::new(),
            written: Vec::new(),
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
            ops::emit(self, &operation);
        }
        for index in 0..self.operations.gradients.len() {
            self.settle_gradient(index);
        }
        if let Some(accumulates) = self.operations.accumulates {
            self.accumulate(accumulates);
        }
        if self.operations.trains {
            self.update();
        }
        if self.operations.trains || self.operations.accumulates.is_some() {
            self.averages();
        }
        self.loss_known += self.ahead.len();
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.sort_by_cached_key(|call| self.first_reader(call));
        self.calls.splice(0..0, ahead);
    }

    /// Index of the first call that reads what a call ahead writes.
    fn first_reader(&self, ahead: &Call<Symbol>) -> usize {
        let written = |place: Symbol| ahead.touched.iter().flatten().any(|own| own.written && own.place == place);
        let reads = |call: &Call<Symbol>| call.touched.iter().flatten().any(|extent| written(extent.place));
        self.calls.iter().position(reads).unwrap_or(usize::MAX)
    }

    /// Adds a launch that needs the step's state alone and writes so many bytes of a tensor: it runs where the device is idle,
    /// from the beginning of the step on.
    pub fn ahead(&mut self, name: &str, launch: Launch<Symbol>, to: Id, bytes: usize) {
        let tensor = &self.operations.tensors[to];
        let whole = Extent { place: self.at(to), bytes: tensor.elements * tensor.element.size(), written: true };
        let state =
            state::bytes(state::STEP).map(|bytes| Extent { place: Symbol::Fixed(state::STEP), bytes, written: false });
        self.ahead.push(Call {
            cost: Cost { bytes: bytes as u64, flops: 0 },
            line: Line::Fill,
            touched: Some([whole].into_iter().chain(state).collect()),
            ..Call::unseen(name, Work::Launch(launch))
        });
    }

    /// The call that was added last reads parameters alone: it runs from the beginning of the step on, as those of
    /// [`Emitter::ahead`].
    pub fn move_ahead(&mut self) {
        self.ahead.extend(self.calls.pop().map(|call| Call { line: Line::Fill, ..call }));
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
                self.operations.gradients.iter().position(|&gradient| gradient == Some(id)).map_or(width, of)
            }
            _ => width,
        }
    }

    /// Memory for one operation.
    pub fn scratch(&mut self, floats: usize) -> Symbol {
        Symbol::Tensor(self.operations.tensor(floats.max(1), Element::F32, Origin::Computed), 0)
    }

    pub fn dropout(&self, layer: Option<graph::ops::Dropout>) -> Option<Dropout<Symbol>> {
        let layer = layer.filter(|layer| layer.rate > 0.0)?;
        Some(Dropout::new(&layer, self.seed, Symbol::Fixed(state::STEP)))
    }

    /// The same on `count` elements, for a pass that can write down what stays: the first that has this dropout does, if there
    /// are others, which read it.
    pub fn dropout_once(&mut self, layer: Option<graph::ops::Dropout>, count: usize) -> Option<Dropout<Symbol>> {
        let dropout = self.dropout(layer)?;
        let same =
            |(known, elements, _): &&(graph::ops::Dropout, usize, Symbol)| Some(*known) == layer && *elements == count;
        if let Some((.., bits)) = self.written.iter().find(same) {
            return Some(dropout.read(*bits));
        }
        let has = |operation: &&Operation| match &operation.kind {
            Kind::Pointwise(of) | Kind::PointwiseGradient(of) | Kind::LayerNorm { residual: Some(of), .. } => {
                of.dropout == layer
            }
            Kind::Region(region) => layer.is_some_and(|layer| region.drops(layer)),
            _ => false,
        };
        if self.operations.list.iter().filter(has).count() < 2 {
            return Some(dropout);
        }
        let bits = self.scratch(Dropout::<Symbol>::bytes(count).div_ceil(size_of::<f32>()));
        self.written.push((layer?, count, bits));
        Some(dropout.written(bits))
    }

    /// A tensor as it is stored, a parameter in full precision.
    pub fn stored(&self, id: Id) -> (Element, Symbol) {
        (self.element(id), self.at(id))
    }

    pub fn elements(&self, id: Id) -> usize {
        self.operations.tensors[id].elements
    }

    pub fn element(&self, id: Id) -> Element {
        self.operations.tensors[id].element
    }
}

/// Names each tensor that a call has to do with, as often as it does.
pub fn each_tensor(call: &Call<Symbol>, visit: impl FnMut(Id)) {
    let visit = RefCell::new(visit);
    call.map(&|symbol| {
        if let Symbol::Tensor(id, _) = symbol {
            (visit.borrow_mut())(id);
        }
    });
}

/// Where the update reads a parameter's gradient: the last group of the store.
pub fn gradient_place(layout: &Layout, index: usize) -> Place {
    Place { base: Base::Store, offset: size_of::<f32>() * (layout.states() * layout.len() + layout.slot(index).offset) }
}

fn product(operations: &Operations, id: Id) -> bool {
    operations.maker(id).is_some_and(|maker| {
        let operation = &operations.list[maker];
        matches!(operation.kind, Kind::DenseKernelGradient { .. } | Kind::HeadProduct(_)) && operation.outputs[0] == id
    })
}
