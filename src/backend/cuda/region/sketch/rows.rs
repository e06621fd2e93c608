//! What treats each row, or each element, alone.

use super::{
    super::{Parameter, WARPS},
    Does, Memory, Sketcher,
};
use crate::backend::cuda::compile::operations::{Operation, Pointwise};

impl Sketcher<'_> {
    pub(super) fn layer_norm(
        &mut self,
        operation: &Operation,
        width: usize,
        epsilon: f32,
        residual: Option<Pointwise>,
    ) {
        let (inputs, outputs, rows) = (&operation.inputs, &operation.outputs, self.sketch.tile_rows);
        let x = self.tile(inputs[0]);
        let b = residual.map(|_| self.tile(inputs[3]));
        let drop = self.dropout(residual.and_then(|residual| residual.dropout), width);
        let [gamma, beta] = [1, 2].map(|input| self.parameter(Parameter::Exact(inputs[input])));
        let [mean, rstd] = [1, 2].map(|output| self.parameter(Parameter::Exact(outputs[output])));
        let mut free = self.done_with(inputs, width);
        let sum = residual.map(|_| self.result(outputs[3], width, &mut free));
        let y = self.result(outputs[0], width, &mut free);
        let name = |tile: Option<usize>| tile.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let text = format!(
            "norm<{rows}, {width}, {}>(t{y}, {}, t{x}, {}, {drop}, p{gamma}, p{beta}, {epsilon:e}f, p{mean} + row, p{rstd} + row, row, here);",
            residual.is_some(),
            name(sum),
            name(b)
        );
        let reads = [Some(x), b].into_iter().flatten().map(Memory::Buffer).collect();
        let written = [Some(y), sum].into_iter().flatten().map(Memory::Buffer);
        let writes = written.chain([1, 2].map(|output| Memory::Tensor(outputs[output]))).collect();
        self.phase(Does::Other, text, reads, writes);
        if residual.is_some() {
            self.keep(outputs[3]);
        }
        self.keep(outputs[0]);
    }

    pub(super) fn layer_norm_gradient(&mut self, operation: &Operation, width: usize) {
        let (inputs, outputs, rows) = (&operation.inputs, &operation.outputs, self.sketch.tile_rows);
        let [dy, x] = [0, 1].map(|input| self.tile(inputs[input]));
        let added = inputs.get(5).map(|&id| self.tile(id));
        let [gamma, mean, rstd] = [2, 3, 4].map(|input| self.parameter(Parameter::Exact(inputs[input])));
        let sum = self.sum(2 * width, outputs[1..3].to_vec());
        // [WARPS, 2, width] floats.
        self.sketch.buffers.push(WARPS * 2 * width * size_of::<f32>());
        let sums = self.sketch.buffers.len() - 1;
        let mut free = self.done_with(inputs, width);
        let dx = self.result(outputs[0], width, &mut free);
        let name = added.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let text = format!(
            "norm_gradient<{rows}, {width}>(t{dx}, t{dy}, t{x}, {name}, p{gamma}, p{mean} + row, p{rstd} + row, \
             reinterpret_cast<float*>(t{sums}), sums + {sum}, first, here);"
        );
        let tiles = [Some(dy), Some(x), added].into_iter().flatten().map(Memory::Buffer);
        let reads = tiles.chain([3, 4].map(|input| Memory::Tensor(inputs[input]))).collect();
        self.phase(Does::Other, text, reads, vec![Memory::Buffer(dx), Memory::Buffer(sums)]);
        self.keep(outputs[0]);
    }

    /// The tensor's row that a tile begins with, of which dropout is told. Tiles of images have none.
    fn first_row(&self) -> &'static str {
        if self.sketch.slice.is_some() { "0" } else { "row" }
    }

    /// The heads are read from memory, where attention has left them.
    pub(super) fn sum_heads(&mut self, operation: &Operation, heads: usize, width: usize) {
        let (from, output, rows) = (operation.inputs[0], operation.outputs[0], self.sketch.tile_rows);
        let at = self.parameter(Parameter::Activation(from));
        let bias = operation.inputs.get(1).map(|&id| self.parameter(Parameter::Exact(id)));
        let bias = bias.map_or("nullptr".to_owned(), |bias| format!("p{bias}"));
        self.done_with(&operation.inputs, 0);
        let y = self.result(output, width, &mut Vec::new());
        let text = format!("sum_heads<{rows}, {width}, {heads}>(t{y}, p{at} + row * {}, {bias}, here);", heads * width);
        self.phase(Does::Other, text, vec![Memory::Tensor(from)], vec![Memory::Buffer(y)]);
        self.keep(output);
    }

    pub(super) fn pointwise(&mut self, operation: &Operation, Pointwise { activation, dropout }: Pointwise) {
        let (inputs, output) = (&operation.inputs, operation.outputs[0]);
        let (rows, width, here) = self.extent(output);
        let x = self.tile(inputs[0]);
        let residual = inputs.get(1).map(|&id| self.tile(id));
        let first = self.first_row();
        let f = activation.map_or("Same()".to_owned(), |activation| self.function(&activation.expression()));
        let drop = self.dropout(dropout, width);
        let mut free = self.done_with(inputs, width);
        let y = self.result(output, width, &mut free);
        let name = residual.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let text = format!("pointwise<{rows}, {width}>(t{y}, t{x}, {name}, {f}, {drop}, {first}, {here});");
        let reads = [Some(x), residual].into_iter().flatten().map(Memory::Buffer).collect();
        self.phase(Does::Other, text, reads, vec![Memory::Buffer(y)]);
        self.keep(output);
    }

    pub(super) fn pointwise_gradient(&mut self, operation: &Operation, Pointwise { activation, dropout }: Pointwise) {
        let (inputs, output) = (&operation.inputs, operation.outputs[0]);
        let (rows, width, here) = self.extent(output);
        let dy = self.tile(inputs[0]);
        let z = activation.map(|_| self.tile(inputs[1]));
        let first = self.first_row();
        let slope =
            activation.map_or("One()".to_owned(), |activation| self.function(&activation.expression().derivative(0)));
        let drop = self.dropout(dropout, width);
        let mut free = self.done_with(inputs, width);
        let dz = self.result(output, width, &mut free);
        let name = z.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let text =
            format!("pointwise_gradient<{rows}, {width}>(t{dz}, t{dy}, {name}, {slope}, {drop}, {first}, {here});");
        let reads = [Some(dy), z].into_iter().flatten().map(Memory::Buffer).collect();
        self.phase(Does::Other, text, reads, vec![Memory::Buffer(dz)]);
        self.keep(output);
    }

    pub(super) fn add(&mut self, operation: &Operation) {
        let (inputs, output) = (&operation.inputs, operation.outputs[0]);
        let (rows, width, _) = self.extent(output);
        let [a, b] = [0, 1].map(|input| self.tile(inputs[input]));
        let mut free = self.done_with(inputs, width);
        let y = self.result(output, width, &mut free);
        let text = format!("add<{rows}, {width}>(t{y}, t{a}, t{b});");
        self.phase(Does::Other, text, vec![Memory::Buffer(a), Memory::Buffer(b)], vec![Memory::Buffer(y)]);
        self.keep(output);
    }
}
