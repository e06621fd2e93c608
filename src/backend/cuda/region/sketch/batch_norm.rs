//! Batch normalisation: what is known of the whole batch comes from tensors, and what is summed over it goes to the blocks'
//! sums.

use super::{super::Parameter, Does, Memory, Sketcher};
use crate::{
    backend::cuda::compile::operations::{AfterNorm, Id, Operation, Sum as Where},
    graph::ops,
};

impl Sketcher<'_> {
    /// Room for two sums of each thread's eight columns.
    fn parts(&mut self) -> usize {
        let threads = 32 * self.sketch.warps();
        self.sketch.buffers.push(threads * 16 * size_of::<f32>());
        self.sketch.buffers.len() - 1
    }

    /// Tensors with a number for each channel, from the tile's first one on.
    pub(super) fn exact(&mut self, ids: &[Id]) -> String {
        let channel = if self.sketch.slice.is_some() { " + channel" } else { "" };
        let of = |id: &Id| format!("p{}{channel}", self.parameter(Parameter::Exact(*id)));
        ids.iter().map(of).collect::<Vec<String>>().join(", ")
    }

    /// The parameters of a norm, of which gamma and beta are read where there is an activation.
    fn normal(&mut self, gamma: Id, beta: Option<Id>, [mean, variance]: [Id; 2]) -> String {
        let gamma = self.exact(&[gamma]);
        let beta = beta.map_or("nullptr".to_owned(), |beta| self.exact(&[beta]));
        format!("{gamma}, {beta}, {}", self.exact(&[mean, variance]))
    }

    fn slope(&mut self, activation: Option<ops::Activation>) -> String {
        activation.map_or("One()".to_owned(), |activation| self.function(&activation.expression().derivative(0)))
    }

    pub(super) fn batch_moments(&mut self, operation: &Operation) {
        let (x, (rows, width, here)) = (self.tile(operation.inputs[0]), self.extent(operation.inputs[0]));
        let (shift, parts) = (self.exact(&operation.inputs[1..2]), self.parts());
        let sum = self.sum(2 * width, operation.outputs.clone());
        self.done_with(&operation.inputs, 0);
        let text = format!(
            "moments<{rows}, {width}>(t{x}, {shift}, reinterpret_cast<float*>(t{parts}), sums + {sum}, first, {here});"
        );
        self.phase(Does::Other, text, vec![Memory::Buffer(x)], vec![Memory::Buffer(parts)]);
    }

    pub(super) fn batch_norm(&mut self, operation: &Operation, epsilon: f32, then: AfterNorm) {
        let (inputs, output) = (&operation.inputs, operation.outputs[0]);
        let (rows, width, here) = self.extent(output);
        let x = self.tile(inputs[0]);
        let residual = then.sum.map(|_| self.tile(inputs[5]));
        let added = match then.sum {
            None => 0,
            Some(Where::AfterActivation) => 1,
            Some(Where::BeforeActivation) => 2,
        };
        let normal = self.normal(inputs[1], Some(inputs[2]), [inputs[3], inputs[4]]);
        let f = then.activation.map_or("Same()".to_owned(), |activation| self.function(&activation.expression()));
        let mut free = self.done_with(inputs, width);
        let y = self.result(output, width, &mut free);
        let name = residual.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let text =
            format!("batch_norm<{rows}, {width}, {added}>(t{y}, t{x}, {name}, {f}, {normal}, {epsilon:e}f, {here});");
        let statistics = [3, 4].map(|input| Memory::Tensor(inputs[input]));
        let tiles = [Some(x), residual].into_iter().flatten().map(Memory::Buffer);
        self.phase(Does::Other, text, tiles.chain(statistics).collect(), vec![Memory::Buffer(y)]);
        self.keep(output);
    }

    pub(super) fn batch_norm_sums(&mut self, operation: &Operation, epsilon: f32, activation: Option<ops::Activation>) {
        let (inputs, (rows, width, here)) = (&operation.inputs, self.extent(operation.inputs[0]));
        let [dy, x] = [0, 1].map(|input| self.tile(inputs[input]));
        // Without an activation there is no use for gamma and beta: any channel's numbers do.
        let gamma = if activation.is_some() { inputs[4] } else { inputs[2] };
        let normal = self.normal(gamma, activation.map(|_| inputs[5]), [inputs[2], inputs[3]]);
        let (slope, parts) = (self.slope(activation), self.parts());
        let sum = self.sum(2 * width, operation.outputs.clone());
        self.done_with(inputs, 0);
        let text = format!(
            "batch_norm_sums<{rows}, {width}>(t{dy}, t{x}, {slope}, {normal}, {epsilon:e}f, \
             reinterpret_cast<float*>(t{parts}), sums + {sum}, first, {here});"
        );
        self.phase(Does::Other, text, vec![Memory::Buffer(dy), Memory::Buffer(x)], vec![Memory::Buffer(parts)]);
    }

    pub(super) fn batch_norm_gradient(
        &mut self,
        operation: &Operation,
        [epsilon, share]: [f32; 2],
        activation: Option<ops::Activation>,
    ) {
        let (inputs, output) = (&operation.inputs, operation.outputs[0]);
        let (rows, width, here) = self.extent(output);
        let [dy, x] = [0, 1].map(|input| self.tile(inputs[input]));
        let normal = self.normal(inputs[2], activation.map(|_| inputs[7]), [inputs[3], inputs[4]]);
        let (slope, of_batch) = (self.slope(activation), self.exact(&inputs[5..7]));
        let mut free = self.done_with(inputs, width);
        let dx = self.result(output, width, &mut free);
        let text = format!(
            "batch_norm_gradient<{rows}, {width}>(t{dx}, t{dy}, t{x}, {slope}, {normal}, {of_batch}, {epsilon:e}f, {share:e}f, {here});"
        );
        self.phase(Does::Other, text, vec![Memory::Buffer(dy), Memory::Buffer(x)], vec![Memory::Buffer(dx)]);
        self.keep(output);
    }
}
