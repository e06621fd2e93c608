//! Gradients in the places where the update reads them, and the update.

use super::{Read, Reading};
use crate::{
    backend::cuda::{
        compile::emit::{Emitter, Symbol, gradient_place},
        kernels::{adamw, pointwise},
        launch::Element,
        program::{Cost, Output, Work},
        state,
    },
    graph::ops,
};

impl Read for ops::AdamWUpdate {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::Update(*self))
    }
}

impl Emitter<'_> {
    /// One update of all parameters; their shadows follow.
    pub fn update(&mut self, rule: &ops::AdamWUpdate) {
        let count = self.layout.table(0, 0).len();
        (self.name, self.reads) = ("adamw".to_owned(), Vec::new());
        (self.inputs, self.results) = (Vec::new(), Vec::new());
        let [table, step, stop] = [state::TABLE, state::STEP, state::STOP].map(Symbol::Fixed);
        // Reads w, g, m and v; writes w, m, v and the shadow.
        let shadow = if self.precision.element() == Element::Bf16 { 2 } else { 0 };
        let cost = Cost { bytes: (7 * size_of::<f32>() + shadow) as u64 * self.layout.len() as u64, flops: 0 };
        self.push_costing(Work::Launch(adamw::step(count, table, step, stop, rule)), &[], cost);
    }

    /// Puts the gradient of a parameter where the update reads it, unless it was made there.
    pub fn settle_gradient(&mut self, index: usize) {
        let (gradient, place) = (self.operations.gradients[index], gradient_place(self.layout, index));
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
