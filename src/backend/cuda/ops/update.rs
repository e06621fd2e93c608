//! Gradients in the places where the update reads them, and the update.

use std::ops::Range;

use super::{Read, Reading};
use crate::{
    backend::cuda::{
        compile::{
            emit::{Emitter, Symbol, gradient_place},
            operations::Origin,
        },
        gemm::{Epilogue, Gemm, Matrix},
        kernels::{accumulate, global_norm, orthogonal, pointwise, update},
        launch::{Element, Launch},
        program::{Base, Call, Cost, Line, Output, Place, Work},
        state,
    },
    graph::{
        Operation as _,
        ops::{Accumulate, ClipFactor, Direction, Total, Update, flat},
        optimizers::Optimizer,
    },
};

/// What an update of a part of the table reads besides: the part, the step's state, whether to stop, the factor of clipping.
fn of_table(part: &Range<usize>) -> [Symbol; 4] {
    let table = state::TABLE.plus(part.start * size_of::<update::Chunk>());
    [table, state::STEP, state::STOP, state::CLIP].map(Symbol::Fixed)
}

/// What is left of a range without parts of it, in order.
fn without<'a>(all: Range<usize>, parts: impl Iterator<Item = &'a Range<usize>>) -> Vec<Range<usize>> {
    let mut left = vec![all];
    for part in parts {
        let cut = |range: Range<usize>| {
            let inside = part.start.clamp(range.start, range.end)..part.end.clamp(range.start, range.end);
            [range.start..inside.start, inside.end..range.end]
        };
        left = left.into_iter().flat_map(cut).filter(|range| !range.is_empty()).collect();
    }
    left
}

impl Read for Update {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::Update)
    }
}

impl Read for Accumulate {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::Accumulate(*self))
    }
}

impl Read for Total {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::OfUpdate)
    }
}

impl Read for ClipFactor {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::OfUpdate)
    }
}

impl Read for Direction {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::OfUpdate)
    }
}

impl Emitter<'_> {
    /// Adds all gradients, which lie in a row, to their sums or, at the end of all micro-batches, puts their means in their
    /// place.
    pub fn accumulate(&mut self, operator: Accumulate) {
        let Some(sums) = self.layout.accumulator_group() else { return };
        let (group, count) = (self.layout.len(), self.layout.learned());
        let place = |offset: usize| Symbol::Fixed(Place { base: Base::Store, offset });
        let gradients = place(size_of::<f32>() * self.layout.states() * group);
        let sums = place(self.layout.group_start(sums));
        let launch = accumulate::accumulate(count, operator, Symbol::Fixed(state::STOP), gradients, sums);
        self.calls.push(Call {
            name: operator.name().to_owned(),
            parameters: Vec::new(),
            work: Work::Launch(launch),
            outputs: Vec::new(),
            cost: Cost { bytes: (3 * size_of::<f32>() * count) as u64, flops: 0 },
            line: Line::Main,
            // It reads what others make: it runs alone.
            touched: None,
        });
    }

    /// The norm of all gradients, which lie in a row, and the factor that the update reads.
    fn clip(&mut self, factor: ClipFactor) {
        // Statistics that moving averages take up lie after the gradients.
        let (group, count) = (self.layout.len(), self.layout.learned());
        (self.name, self.reads) = ("clip_factor".to_owned(), Vec::new());
        (self.inputs, self.results) = (Vec::new(), Vec::new());
        let gradients =
            Symbol::Fixed(Place { base: Base::Store, offset: size_of::<f32>() * self.layout.states() * group });
        let parts = self.scratch(global_norm::workspace(count));
        let launches = global_norm::clip_factor(count, factor, gradients, parts, Symbol::Fixed(state::CLIP));
        for (launch, floats) in launches.into_iter().zip([count, 0]) {
            let cost = Cost { bytes: (size_of::<f32>() * floats) as u64, flops: 0 };
            self.push_costing(Work::Launch(launch), &[], cost);
            // It reads all gradients, not only those of the segment that it is given the start of: it runs alone.
            if let (Some(call), 1..) = (self.calls.last_mut(), floats) {
                call.touched = None;
            }
        }
    }

    /// The update of all parameters of each rule; their shadows follow. What is wide is updated as soon as it can be.
    pub fn update(&mut self) {
        let layout = self.layout;
        let rules = layout.rules();
        if let Some(clip_norm) = rules.first().and_then(|(_, optimizer, ..)| optimizer.clip_norm) {
            self.clip(ClipFactor { clip_norm });
        }
        let early = self.early_updates();
        for (rule, optimizer, part, _) in rules {
            if optimizer.rule.direction.is_some() {
                let [table, step, stop, clip] = of_table(&part);
                self.call_on_all(optimizer);
                let launch = update::direction(part.len(), table, step, stop, clip, optimizer);
                let elements = layout.elements_of(&part);
                let bytes = (2 * optimizer.states() * size_of::<f32>() * elements) as u64;
                self.push_costing(Work::Launch(launch), &[], Cost { bytes, flops: 0 });
                for index in (0..self.parameters.len()).filter(|&index| layout.rule_of(index) == Some(rule)) {
                    self.direction(index, optimizer);
                }
            }
            for part in without(part, early.iter().flat_map(|early| &early.parts)) {
                self.call_on_all(optimizer);
                let (launch, cost) = self.update_of(&part, optimizer);
                self.push_costing(Work::Launch(launch), &[], cost);
            }
        }
        self.insert_early(early);
    }

    /// The update of a part of the table.
    pub(super) fn update_of(&self, part: &Range<usize>, optimizer: &Optimizer) -> (Launch<Symbol>, Cost) {
        let [table, step, stop, clip] = of_table(part);
        // Reads the gradient, reads and writes the parameter and its slots, writes the shadow.
        let shadow = if self.precision.element() == Element::Bf16 { 2 } else { 0 };
        let each = (2 * optimizer.states() + 1) * size_of::<f32>() + shadow;
        let bytes = each as u64 * self.layout.elements_of(part) as u64;
        (update::step(part.len(), table, step, stop, clip, optimizer), Cost { bytes, flops: 0 })
    }

    /// Names the calls of an update.
    fn call_on_all(&mut self, optimizer: &Optimizer) {
        (self.name, self.reads) = (optimizer.rule.name.to_owned(), Vec::new());
        (self.inputs, self.results) = (Vec::new(), Vec::new());
    }

    /// Makes the direction of a matrix, in place, of what lies in place of its gradient: see [`Direction`].
    fn direction(&mut self, index: usize, optimizer: &Optimizer) {
        let shape @ [rows, columns] = flat(&self.parameters[index].value.shape);
        let operator = Direction { optimizer: optimizer.clone(), first_scalar: 0 };
        (self.name, self.reads) = (operator.name().to_owned(), vec![self.parameters[index].name.clone()]);
        (self.inputs, self.results) = (Vec::new(), Vec::new());
        let (small, large) = (rows.min(columns), rows.max(columns));
        let (element, slot) = (self.precision.element(), self.layout.slot(index));
        let place = Symbol::Fixed(gradient_place(self.layout, index));
        let mut matrix = |width: usize, elements: usize| {
            let id = self.operations.tensor(elements, element, Origin::Computed);
            Matrix { place: Symbol::Tensor(id, 0), element, stride: width, transposed: false }
        };
        let [mut x, mut next] = [0; 2].map(|_| matrix(columns, rows * columns));
        let [square, fourth, factor] = [0; 3].map(|_| matrix(small, small * small));
        let parts = self.scratch(orthogonal::workspace(rows * columns));
        for launch in orthogonal::normalise(shape, slot.stride, place, parts, (element, x.place)) {
            let bytes = (size_of::<f32>() * rows * columns) as u64;
            self.push_costing(Work::Launch(launch), &[], Cost { bytes, flops: 0 });
        }
        for step in 1..=operator.steps() {
            let last = step == operator.steps();
            let across = Matrix { transposed: true, ..x };
            let (left, right) = if rows <= columns { (x, across) } else { (across, x) };
            self.of_matrices([small, small, large], [left, right, square]);
            self.of_matrices([small; 3], [square, square, fourth]);
            let scale = if last { Direction::scale(shape) } else { 1.0 };
            let launch = orthogonal::polynomial(small, scale, element, square.place, fourth.place, factor.place);
            let bytes = (3 * element.size() * small * small) as u64;
            self.push_costing(Work::Launch(launch), &[], Cost { bytes, flops: 0 });
            let (left, right) = if rows <= columns { (factor, x) } else { (x, factor) };
            let direction = Matrix { place, element: Element::F32, stride: slot.stride, transposed: false };
            self.of_matrices([rows, columns, small], [left, right, if last { direction } else { next }]);
            std::mem::swap(&mut x, &mut next);
        }
    }

    fn of_matrices(&mut self, [m, n, k]: [usize; 3], [a, b, d]: [Matrix<Symbol>; 3]) {
        let gemm = Gemm { m, n, k, a, b, d, epilogue: Epilogue::None, precision: self.precision };
        let sizes = [(m * k, a), (k * n, b), (m * n, d)];
        let bytes = sizes.iter().map(|(elements, matrix)| (elements * matrix.element.size()) as u64).sum();
        let cost = Cost { bytes, flops: gemm.flops() };
        self.push_costing(Work::Gemm(gemm, Vec::new()), &[], cost);
    }

    /// Puts the gradient of a parameter where the update reads it, unless it was made there.
    pub fn settle_gradient(&mut self, index: usize) {
        let Some(gradient) = self.operations.gradients[index] else { return };
        let place = gradient_place(self.layout, index);
        if self.at(gradient) == Symbol::Fixed(place) {
            return;
        }
        let slot = self.layout.slot(index);
        let element = self.element(gradient);
        (self.name, self.reads) = ("gradient".to_owned(), vec![self.parameters[index].name.clone()]);
        (self.inputs, self.results) = (vec![gradient], Vec::new());
        let (parts, part) =
            if slot.stride == slot.width { (1, slot.rows * slot.width) } else { (slot.rows, slot.width) };
        for row in 0..parts {
            let from = self.at(gradient).plus(row * part * element.size());
            let to = Symbol::Fixed(place.plus(row * slot.stride * size_of::<f32>()));
            let output = Output { place: to, elements: part, element: Element::F32 };
            let work = Work::Launch(pointwise::scale(part, 1.0, element, from, Element::F32, to));
            let cost = Cost { bytes: (part * (element.size() + size_of::<f32>())) as u64, flops: 0 };
            self.add(work, vec![output], cost);
        }
    }
}
