//! Attention, whose weights are never in memory.

use super::{Read, Reading, Stored};
use crate::{
    backend::cuda::{
        compile::{
            emit::{Emitter, Symbol},
            operations::{Id, Kind, Operation},
        },
        kernels::{
            attention::{Attention, Backward, Columns, Inputs, Statistics, kept_bytes},
            attention_projected::{self, Gradients, Projected, Projection},
        },
        launch::{Launch, Precision},
        program::{Cost, Work},
    },
    graph::ops::{self, AttentionShape},
};

impl Read for ops::Attention {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let shape = AttentionShape::new(self, shapes[0], shapes[1], shapes[2]);
        let kind = Kind::Attention { shape, operator: *self };
        let statistics = Stored::Numbers(statistics_len(&shape, &self.dropout));
        Some(Reading::storing(kind, &[Stored::Activations, statistics]))
    }
}

impl Read for ops::AttentionGradient {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let Self(operator) = self;
        let shape = AttentionShape::new(operator, shapes[1], shapes[2], shapes[3]);
        let kind = Kind::AttentionGradient { shape, operator: *operator };
        Some(Reading::of(kind))
    }
}

/// Floats of an attention's statistics before the bits of dropout.
fn kept_offset(shape: &ops::AttentionShape) -> usize {
    // The bits are read in words.
    (shape.batch * shape.heads * shape.tokens).next_multiple_of(4)
}

/// Floats of all statistics of an attention, the bits of dropout included.
fn statistics_len(shape: &ops::AttentionShape, dropout: &ops::Dropout) -> usize {
    let &ops::AttentionShape { batch, heads, tokens, sources, .. } = shape;
    let bits = if dropout.rate > 0.0 { kept_bytes(batch, heads, tokens, sources) } else { 0 };
    kept_offset(shape) + bits / size_of::<f32>()
}

/// The kernels of an attention.
pub fn kernel(
    shape: &AttentionShape,
    operator: &ops::Attention,
    precision: Precision,
    block_memory: usize,
) -> Attention {
    let &AttentionShape { batch, tokens, sources, heads, key_dim, value_dim } = shape;
    Attention {
        batch,
        tokens,
        sources,
        heads,
        key_dim,
        value_dim,
        scale: operator.scale(key_dim),
        diagonal: operator.diagonal,
        shared_keys: operator.shared_keys,
        summed: operator.summed,
        precision,
        block_memory,
    }
}

impl Emitter<'_> {
    pub fn attention(&mut self, operation: &Operation, shape: AttentionShape, operator: ops::Attention) {
        let (inputs, outputs) = (&operation.inputs[..], &operation.outputs[..]);
        let inputs = self.attention_inputs(&inputs[..3], shape, operator);
        let (out, statistics) = (self.at(outputs[0]), self.statistics(outputs[1], shape));
        let attention = self.of_shape(shape, operator);
        self.attention_masks(&attention, operator, outputs[1], statistics);
        self.pass(attention.forward(inputs, out, statistics), outputs, shape, [1, 1]);
        self.only_numbers(&attention);
    }

    fn attention_masks(&mut self, of: &Attention, operator: ops::Attention, to: Id, statistics: Statistics<Symbol>) {
        if let Some(masks) = of.masks(self.dropout(Some(operator.dropout)), statistics.kept) {
            self.ahead("attention_masks", masks, to, kept_bytes(of.batch, of.heads, of.tokens, of.sources));
        }
    }

    /// The bits of dropout behind an attention's statistics are no numbers.
    fn only_numbers(&mut self, attention: &Attention) {
        if let Some([_, statistics]) = self.calls.last_mut().map(|call| &mut call.outputs[..]) {
            statistics.elements = attention.logsum_len();
        }
    }

    pub fn projected_attention(
        &mut self,
        operation: &Operation,
        projected: &Projected,
        (shape, operator): (AttentionShape, ops::Attention),
        bias: bool,
    ) {
        let (inputs, outputs) = (&operation.inputs[..], &operation.outputs[..]);
        let attention = self.of_shape(shape, operator);
        let (inputs, bias) = match inputs {
            [inputs @ .., of_output] if bias => (inputs, Some(self.at(*of_output))),
            inputs => (inputs, None),
        };
        let inputs = self.projected_inputs(inputs, shape, operator);
        let (out, statistics) = (self.at(outputs[0]), self.statistics(outputs[1], shape));
        self.attention_masks(&attention, operator, outputs[1], statistics);
        self.with_projections(projected.forward(&inputs, bias, out, statistics), outputs, shape, 2);
        self.only_numbers(&attention);
    }

    pub fn projected_attention_gradient(
        &mut self,
        operation: &Operation,
        projected: &Projected,
        (shape, operator): (AttentionShape, ops::Attention),
    ) {
        let outputs = &operation.outputs[..];
        let [dout, inputs @ .., statistics] = &operation.inputs[..] else { return };
        let inputs = self.projected_inputs(inputs, shape, operator);
        let [query, keys, value] = self.attention_columns(outputs, shape, 1);
        let dout = Columns { at: self.activation(*dout), row: self.stride(*dout, shape.value_dim) };
        let statistics = self.statistics(*statistics, shape);
        let launch = projected.backward(&inputs, dout, statistics, Gradients { query, keys, value });
        self.with_projections(launch, outputs, shape, 5);
    }

    /// Of tokens, the two kernels, and both biases or none.
    fn projected_inputs(
        &self,
        ids: &[Id],
        shape: AttentionShape,
        operator: ops::Attention,
    ) -> attention_projected::ProjectedInputs<Symbol> {
        let columns = |id: Id, width: usize| Columns { at: self.activation(id), row: self.stride(id, width) };
        let projection = |side: usize| Projection {
            kernel: columns(ids[1 + side], shape.heads * shape.key_dim),
            bias: ids.get(3 + side).map(|&id| self.at(id)),
        };
        attention_projected::ProjectedInputs {
            x: columns(ids[0], shape.key_dim),
            query: projection(0),
            value: projection(1),
            dropout: self.dropout(Some(operator.dropout)),
        }
    }

    /// A launch of two projections and of so many products of tokens with tokens.
    fn with_projections(&mut self, launch: Launch<Symbol>, outputs: &[Id], shape: AttentionShape, products: usize) {
        let AttentionShape { batch, tokens, heads, key_dim, .. } = shape;
        let projections = ops::flops([batch, heads, tokens, key_dim, 2 * key_dim]);
        let flops = projections + ops::flops([batch, heads, tokens, tokens, products * key_dim]);
        let bytes = self.bytes(self.inputs.iter().chain(outputs));
        self.push_costing(Work::Launch(launch), outputs, Cost { bytes, flops });
    }

    pub fn attention_gradient(&mut self, operation: &Operation, shape: AttentionShape, operator: ops::Attention) {
        let (inputs, outputs) = (&operation.inputs[..], &operation.outputs[..]);
        debug_assert_eq!(inputs.len(), 6);
        let [dout, _, _, _, out, statistics] = inputs[..] else { return };
        let attention = self.of_shape(shape, operator);
        let [dq, dk, dv] = self.attention_columns(&outputs[..3], shape, shape.heads);
        let heads = if operator.summed { 1 } else { shape.heads };
        let dout_row = self.stride(dout, heads * shape.value_dim);
        let with = Backward {
            out: self.at(out),
            dout: Columns { at: self.activation(dout), row: dout_row },
            statistics: self.statistics(statistics, shape),
            delta: self.scratch(attention.logsum_len()),
            dq,
            dk,
            dv,
        };
        let inputs = self.attention_inputs(&inputs[1..4], shape, operator);
        let mut launches = attention.backward(&inputs, &with);
        // Scores and their gradient, S = QK' and dP = dO V', are made once in each pass.
        match launches.pop() {
            Some(all) if launches.is_empty() => self.pass(all, &outputs[..3], shape, [3, 2]),
            Some(by_key) => {
                launches.into_iter().for_each(|by_query| self.pass(by_query, &outputs[..1], shape, [2, 1]));
                self.pass(by_key, &outputs[1..], shape, [2, 2]);
            }
            None => {}
        }
    }

    fn statistics(&self, id: Id, shape: AttentionShape) -> Statistics<Symbol> {
        let logsum = self.at(id);
        Statistics { logsum, kept: logsum.plus(size_of::<f32>() * kept_offset(&shape)) }
    }

    /// A launch of so many products over the key's width, and over the value's.
    fn pass(&mut self, launch: Launch<Symbol>, outputs: &[Id], shape: AttentionShape, [by_key, by_value]: [usize; 2]) {
        let AttentionShape { batch, tokens, sources, heads, key_dim, value_dim } = shape;
        let widths = by_key * key_dim + by_value * value_dim;
        let flops = ops::flops([batch, heads, tokens, sources, widths]);
        let bytes = self.bytes(self.inputs.iter().chain(outputs));
        self.push_costing(Work::Launch(launch), outputs, Cost { bytes, flops });
    }

    fn of_shape(&self, shape: AttentionShape, operator: ops::Attention) -> Attention {
        kernel(&shape, &operator, self.precision, self.block_memory)
    }

    fn attention_inputs(&self, ids: &[Id], shape: AttentionShape, operator: ops::Attention) -> Inputs<Symbol> {
        let [q, k, v] = self.attention_columns(ids, shape, if operator.shared_keys { 1 } else { shape.heads });
        Inputs { q, k, v, dropout: self.dropout(Some(operator.dropout)) }
    }

    /// Query, key of so many heads, and value, which may be columns of one tensor.
    fn attention_columns(&self, ids: &[Id], shape: AttentionShape, key_heads: usize) -> [Columns<Symbol>; 3] {
        let AttentionShape { heads, key_dim, value_dim, .. } = shape;
        let widths = [heads * key_dim, key_heads * key_dim, heads * value_dim];
        std::array::from_fn(|index| {
            let row = self.stride(ids[index], widths[index]);
            Columns { at: self.activation(ids[index]), row }
        })
    }
}
