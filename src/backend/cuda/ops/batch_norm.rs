//! Batch normalisation, and the moving averages of its statistics.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::{Emitter, Symbol, gradient_place},
            operations::Origin,
        },
        kernels::batch_norm,
        launch::Element,
        program::{Base, Call, Cost, Line, Output, Place, Work},
        state,
    },
    graph::ops::{self, flat},
};

impl Read for ops::BatchMoments {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [rows, channels] = flat(shapes[0]);
        let reading = Reading::call(move |emitter, operation| {
            let (x, shift) = (emitter.stored(operation.inputs[0]), emitter.at(operation.inputs[1]));
            let workspace = emitter.scratch(batch_norm::workspace(rows, channels));
            let out = emitter.at(operation.outputs[0]);
            let launches = batch_norm::moments(rows, channels, x, shift, workspace, out);
            emitter.launches(launches, &operation.outputs);
        });
        Some(reading.stored(&[Stored::Exact]))
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
        Some(Reading::call(move |emitter, operation| {
            let (x, y) = (emitter.stored(operation.inputs[0]), emitter.stored(operation.outputs[0]));
            let parameters = [1, 2, 3, 4].map(|input| emitter.at(operation.inputs[input]));
            let launch = batch_norm::normalise(rows * channels, channels, epsilon, x, parameters, y);
            emitter.launch(launch, &operation.outputs);
        }))
    }
}

impl Read for ops::BatchNormSums {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let ([rows, channels], epsilon) = (flat(shapes[1]), self.epsilon);
        let reading = Reading::call(move |emitter, operation| {
            let [dy, x] = [0, 1].map(|input| emitter.stored(operation.inputs[input]));
            let statistics = [2, 3].map(|input| emitter.at(operation.inputs[input]));
            let workspace = emitter.scratch(batch_norm::workspace(rows, channels));
            // Both sums come as one tensor; the layout puts beta behind gamma, so that this is where they belong.
            let sums = emitter.pair(operation.outputs[0], operation.outputs[1], channels);
            let launches = batch_norm::gradient_sums(rows, channels, epsilon, dy, x, statistics, workspace, sums);
            emitter.launches(launches, &operation.outputs);
        });
        Some(reading.stored(&[Stored::Exact; 2]))
    }
}

impl Read for ops::BatchNormGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [rows, channels] = flat(shapes[1]);
        let (epsilon, share) = (self.0.epsilon, if self.0.of_batch { 1.0 / rows as f32 } else { 0.0 });
        Some(Reading::call(move |emitter, operation| {
            let [dy, x] = [0, 1].map(|input| emitter.stored(operation.inputs[input]));
            let parameters = [2, 3, 4, 5, 6].map(|input| emitter.at(operation.inputs[input]));
            let dx = emitter.stored(operation.outputs[0]);
            let count = rows * channels;
            let launch = batch_norm::gradient(count, channels, [epsilon, share], dy, x, parameters, dx);
            emitter.launch(launch, &operation.outputs);
        }))
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
