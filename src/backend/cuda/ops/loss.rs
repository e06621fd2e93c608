//! The loss.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::{Emitter, Symbol},
            operations::{Kind, Operation},
        },
        kernels::cross_entropy,
        state,
    },
    graph::ops::{self, flat},
};

/// Labels among so many first count for the second metric: Keras' top-5 accuracy.
const TOP: u32 = 5;

impl Read for ops::CrossEntropy {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [rows, width] = flat(shapes[0]);
        Some(Reading::storing(
            Kind::CrossEntropy { rows, width, loss: self.clone(), mixed: shapes[1].len() > 1 },
            &[Stored::Exact],
        ))
    }
}

impl Read for ops::CrossEntropyGradient {
    fn read(&self, _: &[&[usize]]) -> Option<Reading> {
        Some(Reading::of(Kind::CrossEntropyGradient))
    }
}

impl Emitter<'_> {
    /// The losses of the rows with the gradient of the logits, then their mean and the metrics.
    pub fn cross_entropy(
        &mut self,
        operation: &Operation,
        [rows, width]: [usize; 2],
        loss: &ops::CrossEntropy,
        mixed: bool,
    ) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let (logits, element) = (self.at(inputs[0]), self.element(inputs[0]));
        let gradient = outputs.get(1).map(|&id| (self.element(id), self.at(id)));
        let (losses, places) = (self.scratch(rows), self.scratch(rows));
        let to = cross_entropy::Rows { losses, places };
        let (labels, scale) = (self.at(inputs[1]), 1.0 / rows as f32);
        let launch =
            cross_entropy::rows(rows, width, element, logits, (labels, mixed), loss, scale, gradient, to.clone());
        self.launch(launch, &outputs[1..]);
        let [state, metrics, stop] = [state::STEP, state::METRICS, state::STOP].map(Symbol::Fixed);
        self.fixed.insert(outputs[0], state::LOSS);
        let mean = self.at(outputs[0]);
        self.finish(cross_entropy::finish(rows, TOP, to, state, mean, metrics, stop), &outputs[..1]);
        self.loss_known = self.calls.len() - 1;
    }
}
