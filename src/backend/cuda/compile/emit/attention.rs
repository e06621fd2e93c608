//! Attention, whose weights are never in memory.

use super::{Emitter, Id, Operation, Symbol};
use crate::{
    backend::cuda::{
        kernels::attention::{Attention, Backward, Columns, Inputs},
        launch::Launch,
        program::{Cost, Work},
    },
    graph::ops::{self, AttentionShape},
};

impl Emitter<'_> {
    pub(super) fn attention(&mut self, operation: &Operation, shape: AttentionShape, dropout: ops::Dropout) {
        let (inputs, outputs) = (&operation.inputs[..], &operation.outputs[..]);
        let inputs = self.attention_inputs(&inputs[..3], shape, dropout);
        let (out, logsum) = (self.at(outputs[0]), self.at(outputs[1]));
        self.pass(self.of_shape(shape).forward(inputs, out, logsum), outputs, shape, 1, 1);
    }

    pub(super) fn attention_gradient(&mut self, operation: &Operation, shape: AttentionShape, dropout: ops::Dropout) {
        let (inputs, outputs) = (&operation.inputs[..], &operation.outputs[..]);
        let [dout, _, _, _, out, logsum] = inputs[..] else { return };
        let attention = self.of_shape(shape);
        let [dq, dk, dv] = self.attention_columns(&outputs[..3], shape);
        let with = Backward {
            out: self.at(out),
            dout: self.activation(dout),
            logsum: self.at(logsum),
            delta: self.scratch(attention.logsum_len()),
            dq,
            dk,
            dv,
        };
        let inputs = self.attention_inputs(&inputs[1..4], shape, dropout);
        let [by_q, by_kv] = attention.backward(&inputs, &with);
        // Scores and their gradient are made again in each pass: S = QK', dP = dO V'.
        self.pass(by_q, &outputs[..1], shape, 2, 1);
        self.pass(by_kv, &outputs[1..], shape, 2, 2);
    }

    /// A launch of so many products over the key's width, and over the value's.
    fn pass(&mut self, launch: Launch<Symbol>, outputs: &[Id], shape: AttentionShape, by_key: usize, by_value: usize) {
        let AttentionShape { batch, tokens, sources, heads, key_dim, value_dim } = shape;
        let flops = 2 * batch * heads * tokens * sources * (by_key * key_dim + by_value * value_dim);
        let bytes = self.bytes(self.inputs.iter().chain(outputs));
        self.push_costing(Work::Launch(launch), outputs, Cost { bytes, flops: flops as u64 });
    }

    fn of_shape(&self, shape: AttentionShape) -> Attention {
        let AttentionShape { batch, tokens, sources, heads, key_dim, value_dim } = shape;
        Attention { batch, tokens, sources, heads, key_dim, value_dim, precision: self.precision }
    }

    fn attention_inputs(&self, ids: &[Id], shape: AttentionShape, dropout: ops::Dropout) -> Inputs<Symbol> {
        let [q, k, v] = self.attention_columns(ids, shape);
        Inputs { q, k, v, dropout: self.dropout(Some(dropout)) }
    }

    /// Query, key and value, which may be columns of one tensor.
    fn attention_columns(&self, ids: &[Id], shape: AttentionShape) -> [Columns<Symbol>; 3] {
        let widths = [shape.key_dim, shape.key_dim, shape.value_dim];
        std::array::from_fn(|index| {
            let row = self.stride(ids[index], shape.heads * widths[index]);
            Columns { at: self.activation(ids[index]), row }
        })
    }
}
