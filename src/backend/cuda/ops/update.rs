//! Gradients in the places where the update reads them, and the update.

use super::{Read, Reading};
use crate::{
    backend::cuda::{
        compile::emit::{Emitter, Symbol, gradient_place},
        kernels::{global_norm, pointwise, update},
        launch::Element,
        program::{Base, Cost, Output, Place, Work},
        state,
    },
    graph::{
        ops::{ClipFactor, Total, Update},
        optimizers::Optimizer,
    },
};

impl Read for Update {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::Update(self.optimizer.clone()))
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

impl Emitter<'_> {
    /// The norm of all gradients, which lie in a row, and the factor that the update reads.
    fn clip(&mut self, factor: ClipFactor) {
        let count = self.layout.len();
        (self.name, self.reads) = ("clip_factor".to_owned(), Vec::new());
        (self.inputs, self.results) = (Vec::new(), Vec::new());
        let gradients =
            Symbol::Fixed(Place { base: Base::Store, offset: size_of::<f32>() * self.layout.states() * count });
        let parts = self.scratch(global_norm::workspace(count));
        let launches = global_norm::clip_factor(count, factor, gradients, parts, Symbol::Fixed(state::CLIP));
        for (launch, floats) in launches.into_iter().zip([count, 0]) {
            let cost = Cost { bytes: (size_of::<f32>() * floats) as u64, flops: 0 };
            self.push_costing(Work::Launch(launch), &[], cost);
        }
    }

    /// One update of all parameters; their shadows follow.
    pub fn update(&mut self, optimizer: &Optimizer) {
        if let Some(clip_norm) = optimizer.clip_norm {
            self.clip(ClipFactor { clip_norm });
        }
        let count = self.layout.table(0, 0).len();
        (self.name, self.reads) = (optimizer.rule.name.to_owned(), Vec::new());
        (self.inputs, self.results) = (Vec::new(), Vec::new());
        let [table, step, stop, clip] = [state::TABLE, state::STEP, state::STOP, state::CLIP].map(Symbol::Fixed);
        // Reads the gradient, reads and writes the parameter and its slots, writes the shadow.
        let shadow = if self.precision.element() == Element::Bf16 { 2 } else { 0 };
        let cost = Cost {
            bytes: ((2 * self.layout.states() + 1) * size_of::<f32>() + shadow) as u64 * self.layout.len() as u64,
            flops: 0,
        };
        self.push_costing(Work::Launch(update::step(count, table, step, stop, clip, optimizer)), &[], cost);
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
