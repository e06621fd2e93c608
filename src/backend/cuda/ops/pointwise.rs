//! Operators that treat each element alone.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::{Emitter, Symbol},
            operations::{Id, Kind, Operation, Origin, Pointwise},
        },
        kernels::{
            Dropout,
            expression::{Operand, evaluate},
            pointwise,
        },
        launch::Element,
        state,
    },
    graph::{
        Operation as _,
        ops::{self, Activation, ActivationGradient},
    },
};

impl Read for Activation {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::of(Kind::Pointwise(Pointwise { activation: Some(*self), dropout: None })))
    }
}

impl Read for ActivationGradient {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::of(Kind::PointwiseGradient(Pointwise { activation: Some(self.0), dropout: None })))
    }
}

impl Read for ops::Dropout {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::of(Kind::Pointwise(Pointwise { activation: None, dropout: Some(*self) })))
    }
}

impl Read for ops::Add {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [elements, repeated] = [0, 1].map(|input| shapes[input].iter().product::<usize>());
        let kind = Kind::Add { rows: elements / repeated.max(1), width: repeated };
        Some(Reading::storing(kind, &[Stored::AsInputs]))
    }
}

impl Read for ops::Scale {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        let &Self { factor } = self;
        let reading = Reading::call(move |emitter, operation| {
            let (inputs, outputs) = (&operation.inputs, &operation.outputs);
            let (from, to) = (emitter.element(inputs[0]), emitter.element(outputs[0]));
            let (x, y) = (emitter.at(inputs[0]), emitter.at(outputs[0]));
            emitter.launch(pointwise::scale(emitter.elements(outputs[0]), factor, from, x, to, y), outputs);
            // The gradient of what has no effect.
            if matches!(emitter.operations.tensors[inputs[0]].origin, Origin::Parameter(_)) {
                emitter.move_ahead();
            }
        });
        Some(reading.stored(&[Stored::AsInputs]))
    }
}

impl Read for ops::Pointwise {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let shape = self.output_shapes(shapes).swap_remove(0);
        let extents = [shape.iter().product(), shape.iter().skip(1).product()];
        let suffixes: Vec<usize> = self
            .operands
            .iter()
            .zip(shapes)
            .map(|(operand, of)| of.iter().skip(usize::from(*operand == ops::Operand::PerImage)).product())
            .collect();
        let Self { expression, operands, .. } = self.clone();
        let reading = Reading::call(move |emitter, operation| {
            // Random state is no memory.
            let mut inputs = operation.inputs.iter();
            let mut operand = |(operand, &suffix): (&ops::Operand, &usize)| {
                if let Some(dropout) = operand.mask() {
                    let dropout = Dropout::new(&dropout, emitter.seed, Symbol::Fixed(state::STEP));
                    return Some(match operand {
                        ops::Operand::ImageMask(_) => Operand::ImageMask(dropout),
                        _ => Operand::Mask(dropout),
                    });
                }
                // A parameter is read in full precision.
                let (element, at) = emitter.stored(*inputs.next()?);
                Some(match operand {
                    ops::Operand::PerImage => Operand::PerImage { element, at, suffix },
                    ops::Operand::Shared => Operand::Shared { element, at, suffix },
                    _ => Operand::Whole { element, at },
                })
            };
            let operands = operands.iter().zip(&suffixes).filter_map(&mut operand).collect();
            let (element, y) = emitter.stored(operation.outputs[0]);
            emitter.launch(evaluate(&expression, extents, operands, element, y), &operation.outputs);
        });
        Some(reading.stored(&[Stored::AsInputs]))
    }
}

impl Emitter<'_> {
    pub fn pointwise(&mut self, operation: &Operation, Pointwise { activation, dropout }: Pointwise) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let count = self.elements(outputs[0]);
        let residual = inputs.get(1).map(|&id| self.activation(id));
        let epilogue = pointwise::Epilogue {
            activation,
            dropout: self.dropout_once(dropout, count),
            residual,
            ..pointwise::Epilogue::default()
        };
        let (x, y) = (self.activation(inputs[0]), self.at(outputs[0]));
        self.launch(pointwise::forward(count, 1, self.precision, x, epilogue, y), outputs);
    }

    pub fn pointwise_gradient(&mut self, operation: &Operation, Pointwise { activation, dropout }: Pointwise) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let count = self.elements(outputs[0]);
        let activation = activation.map(|activation| (activation, self.activation(inputs[1])));
        let (dy, dx) = (self.activation(inputs[0]), self.at(outputs[0]));
        let dropout = self.dropout_once(dropout, count);
        self.launch(pointwise::backward(count, self.precision, dy, activation, dropout, dx), outputs);
    }

    /// The second term repeats after `width` elements.
    pub fn sum(&mut self, operation: &Operation, width: usize) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let (count, element) = (self.elements(outputs[0]), self.element(outputs[0]));
        let own = |id: Id| if element == Element::F32 { self.at(id) } else { self.activation(id) };
        let a = own(inputs[0]);
        // A repeated parameter is read in full precision.
        let (b, other) = (self.at(inputs[1]), self.element(inputs[1]));
        let y = self.at(outputs[0]);
        self.launch(pointwise::add(count, element, a, width, other, b, y), outputs);
    }
}
