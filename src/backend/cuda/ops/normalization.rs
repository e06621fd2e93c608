//! Layer normalisation, with the residual sum before it.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::Emitter,
            operations::{Kind, Operation, Pointwise},
        },
        kernels::layer_norm,
    },
    graph::ops::{self, flat},
};

impl Read for ops::LayerNorm {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let ([rows, width], &Self { epsilon }) = (flat(shapes[0]), self);
        let kind = Kind::LayerNorm { rows, width, epsilon, residual: None };
        Some(Reading::storing(kind, &[Stored::Activations, Stored::Exact, Stored::Exact]))
    }
}

impl Read for ops::LayerNormGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let [rows, width] = flat(shapes[0]);
        let kind = Kind::LayerNormGradient { rows, width, added: false };
        Some(Reading::storing(kind, &[Stored::Activations, Stored::Exact, Stored::Exact]))
    }
}

impl Emitter<'_> {
    pub fn layer_norm(
        &mut self,
        operation: &Operation,
        [rows, width]: [usize; 2],
        epsilon: f32,
        residual: Option<Pointwise>,
    ) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let x = self.activation(inputs[0]);
        let residual = residual.map(|Pointwise { dropout, .. }| layer_norm::Residual {
            b: self.activation(inputs[3]),
            bias: None,
            dropout: self.dropout_once(dropout, rows * width),
            sum: self.at(outputs[3]),
        });
        let [gamma, beta] = [1, 2].map(|input| self.at(inputs[input]));
        let [y, mean, rstd] = [0, 1, 2].map(|output| self.at(outputs[output]));
        let precision = self.precision;
        let launch = layer_norm::forward(rows, width, epsilon, precision, x, residual, gamma, beta, y, mean, rstd);
        self.launch(launch, outputs);
    }

    pub fn layer_norm_gradient(&mut self, operation: &Operation, [rows, width]: [usize; 2]) {
        let (inputs, outputs) = (&operation.inputs, &operation.outputs);
        let [dy, x] = [0, 1].map(|input| self.activation(inputs[input]));
        let [gamma, mean, rstd] = [2, 3, 4].map(|input| self.at(inputs[input]));
        let added = inputs.get(5).map(|&id| self.activation(id));
        let workspace = self.scratch(layer_norm::backward_workspace(rows, width, self.precision));
        let dx = self.at(outputs[0]);
        // Both sums come as one tensor; the layout puts beta behind gamma, so that this is where they belong.
        let sums = self.pair(outputs[1], outputs[2], width);
        let precision = self.precision;
        let [by_rows, sum] =
            layer_norm::backward(rows, width, precision, dy, x, gamma, mean, rstd, added, dx, workspace, sums);
        self.launch(by_rows, &outputs[..1]);
        self.finish(sum, &outputs[1..]);
    }
}
