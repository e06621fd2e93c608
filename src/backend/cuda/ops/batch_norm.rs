//! Batch normalisation, and the moving averages of its statistics.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::{Emitter, Symbol, gradient_place},
            operations::{AfterNorm, Kind, Operation, Origin, Sum},
        },
        kernels::batch_norm::{self, Addend, BatchNorm, Parameters},
        launch::Element,
        program::{Base, Call, Cost, Line, Output, Place, Work},
        state,
    },
    graph::ops::{self, Activation, flat},
};

impl Read for ops::BatchMoments {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [rows, channels] = flat(shapes[0]);
        Some(Reading::storing(Kind::BatchMoments { rows, channels }, &[Stored::Exact]))
    }
}

impl Read for ops::BatchStatistics {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (count, channels) = (self.count, shapes[1][0]);
        let reading = Reading::call(move |emitter, operation| {
            let [moments, shift] = [0, 1].map(|input| emitter.at(operation.inputs[input]));
            let [mean, variance] = [0, 1].map(|output| emitter.at(operation.outputs[output]));
            let launch = batch_norm::statistics(count, channels, moments, shift, mean, variance);
            emitter.launch(launch, &operation.outputs);
        });
        Some(reading.stored(&[Stored::Exact; 2]))
    }
}

impl Read for ops::BatchNorm {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let ([rows, channels], epsilon) = (flat(shapes[0]), self.epsilon);
        Some(Reading::of(Kind::BatchNorm { rows, channels, epsilon, then: AfterNorm::default() }))
    }
}

impl Read for ops::BatchNormSums {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let ([rows, channels], epsilon) = (flat(shapes[1]), self.epsilon);
        let kind = Kind::BatchNormSums { rows, channels, epsilon, activation: None };
        Some(Reading::storing(kind, &[Stored::Exact; 2]))
    }
}

impl Read for ops::BatchNormGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [rows, channels] = flat(shapes[1]);
        let (epsilon, share) = (self.0.epsilon, if self.0.of_batch { 1.0 / rows as f32 } else { 0.0 });
        Some(Reading::of(Kind::BatchNormGradient { rows, channels, epsilon, share, activation: None }))
    }
}

impl Emitter<'_> {
    pub fn batch_moments(&mut self, operation: &Operation, [rows, channels]: [usize; 2]) {
        let norm = BatchNorm { rows, channels, epsilon: 0.0 };
        let (x, shift) = (self.stored(operation.inputs[0]), self.at(operation.inputs[1]));
        let (workspace, out) = (self.scratch(norm.workspace()), self.at(operation.outputs[0]));
        self.launches(norm.moments(x, shift, workspace, out), &operation.outputs);
    }

    pub fn batch_norm(
        &mut self,
        operation: &Operation,
        [rows, channels]: [usize; 2],
        epsilon: f32,
        AfterNorm { activation, sum }: AfterNorm,
    ) {
        let inputs = &operation.inputs;
        let (x, y) = (self.stored(inputs[0]), self.stored(operation.outputs[0]));
        let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|input| self.at(inputs[input]));
        let parameters = Parameters { gamma, beta, mean, variance };
        let residual =
            sum.map(|sum| Addend { at: self.at(inputs[5]), before_activation: sum == Sum::BeforeActivation });
        let norm = BatchNorm { rows, channels, epsilon };
        self.launch(norm.normalise(x, parameters, activation, residual, y), &operation.outputs);
    }

    pub fn batch_norm_sums(
        &mut self,
        operation: &Operation,
        [rows, channels]: [usize; 2],
        epsilon: f32,
        activation: Option<Activation>,
    ) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let norm = BatchNorm { rows, channels, epsilon };
        let [dy, x] = [0, 1].map(|input| self.stored(inputs[input]));
        let [mean, variance] = [2, 3].map(|input| self.at(inputs[input]));
        // Without an activation the kernel has no use for gamma and beta.
        let [gamma, beta] = if activation.is_some() { [4, 5] } else { [2, 2] }.map(|input| self.at(inputs[input]));
        let parameters = Parameters { gamma, beta, mean, variance };
        let workspace = self.scratch(norm.workspace());
        // Both sums come as one tensor; the layout puts beta behind gamma, so that this is where they belong.
        let sums = self.pair(outputs[0], outputs[1], channels);
        self.launches(norm.gradient_sums(dy, x, parameters, activation, workspace, sums), outputs);
    }

    pub fn batch_norm_gradient(
        &mut self,
        operation: &Operation,
        [rows, channels]: [usize; 2],
        [epsilon, share]: [f32; 2],
        activation: Option<Activation>,
    ) {
        let inputs = &operation.inputs;
        let [dy, x] = [0, 1].map(|input| self.stored(inputs[input]));
        let [gamma, mean, variance, dgamma, dbeta] = [2, 3, 4, 5, 6].map(|input| self.at(inputs[input]));
        let beta = if activation.is_some() { self.at(inputs[7]) } else { gamma };
        let parameters = Parameters { gamma, beta, mean, variance };
        let norm = BatchNorm { rows, channels, epsilon };
        let dx = self.stored(operation.outputs[0]);
        let launch = norm.gradient(share, dy, x, parameters, [dgamma, dbeta], activation, dx);
        self.launch(launch, &operation.outputs);
    }
}

impl Read for ops::MovingAverage {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::Average)
    }
}

impl Emitter<'_> {
    /// Where two float32 tensors of `width` elements are written one after the other.
    pub fn pair(&mut self, first: usize, second: usize, width: usize) -> Symbol {
        let [a, b] = [first, second].map(|id| self.at(id));
        if b == a.plus(size_of::<f32>() * width) {
            return a;
        }
        let both = self.operations.tensor(2 * width, Element::F32, Origin::Computed);
        for (id, start) in [(first, 0), (second, width)] {
            self.fixed.remove(&id);
            self.operations.tensors[id].origin = Origin::Columns { of: both, start, stride: width };
        }
        self.at(both)
    }

    /// The steps of all moving averages, once the loss is known: each takes up the statistic that lies where other
    /// parameters have their gradient.
    pub fn averages(&mut self) {
        // Averages of parameters have it as it is.
        let copies = self.layout.ema_group();
        for (index, parameter) in self.parameters.iter().enumerate() {
            let Some(momentum) = parameter.averaged.filter(|_| !parameter.frozen) else { continue };
            let (count, slot) = (parameter.value.len(), self.layout.slot(index));
            let place = |group: usize| {
                let offset = self.layout.group_start(group) + size_of::<f32>() * slot.offset;
                Symbol::Fixed(Place { base: Base::Store, offset })
            };
            let (average, copy) = (place(0), copies.map(place));
            let statistic = Symbol::Fixed(gradient_place(self.layout, index));
            let launch =
                batch_norm::moving_average(count, momentum, Symbol::Fixed(state::STOP), statistic, average, copy);
            self.calls.push(Call {
                name: "moving_average".to_owned(),
                parameters: vec![parameter.name.clone()],
                work: Work::Launch(launch),
                outputs: vec![Output { place: average, elements: count, element: Element::F32 }],
                cost: Cost { bytes: (3 * size_of::<f32>() * count) as u64, flops: 0 },
                line: Line::Main,
                // It changes what others read: it runs alone.
                touched: None,
            });
        }
    }
}
