//! Tiles that are slices of images, and what treats each of their channels alone: convolutions of each channel by itself.

use super::{Does, Memory, Sketcher, Slice};
use crate::{
    backend::cuda::{
        compile::operations::{Id, Operation},
        kernels::depthwise::Depthwise,
    },
    graph::ops::Windows,
};

/// The windows along both axes, as types of the kernel.
fn windows(shape: &Depthwise) -> String {
    let along = |Windows { length, count, pool, stride, dilation, before }: Windows| {
        format!("Along<{length}, {count}, {pool}, {stride}, {dilation}, {before}>")
    };
    shape.windows.map(along).join(", ")
}

impl Sketcher<'_> {
    /// Columns of a tile.
    pub(super) fn width(&self, id: Id) -> usize {
        self.sketch.slice.map_or(self.operations.tensors[id].elements / self.rows, |slice| slice.width)
    }

    /// Rows of a tile.
    pub(super) fn tile_rows(&self, id: Id) -> usize {
        self.sketch.tile_rows * self.pixels(id)
    }

    /// Rows of an image, where tiles are of images.
    pub(super) fn pixels(&self, id: Id) -> usize {
        self.sketch.slice.map_or(1, |slice| self.operations.tensors[id].elements / (self.rows * slice.channels))
    }

    /// How many rows of a tile are there.
    pub(super) fn here(&self, id: Id) -> String {
        if self.sketch.slice.is_none() { "here".to_owned() } else { format!("here * {}", self.pixels(id)) }
    }

    /// Where a tile begins in its tensor, and elements from row to row.
    pub(super) fn place(&self, id: Id, column: usize) -> (String, usize) {
        match self.sketch.slice {
            Some(Slice { channels, .. }) => (format!("image * {} + channel", self.pixels(id) * channels), channels),
            None => {
                let stride = self.stride(id, self.width(id));
                (format!("row * {stride} + {column}"), stride)
            }
        }
    }

    /// Rows and columns of a tile, and how many rows of it are there.
    pub(super) fn extent(&self, id: Id) -> (usize, usize, String) {
        (self.tile_rows(id), self.width(id), self.here(id))
    }

    /// A convolution's kernel, from the tile's first channel on, and elements from tap to tap.
    fn taps(&mut self, id: Id, shape: &Depthwise) -> String {
        format!("{}, {}", self.exact(&[id]), shape.channels)
    }

    /// A new tile of an operation whose threads read others' inputs.
    fn apart(&mut self, id: Id) -> usize {
        let width = self.width(id);
        self.result(id, width, &mut Vec::new())
    }

    pub(super) fn depthwise(&mut self, operation: &Operation, shape: &Depthwise) {
        let (inputs, output, images) = (&operation.inputs, operation.outputs[0], self.sketch.tile_rows);
        let (x, width, taps) = (self.tile(inputs[0]), self.width(output), self.taps(inputs[1], shape));
        let bias = inputs.get(2).map_or("nullptr".to_owned(), |&bias| self.exact(&[bias]));
        self.done_with(inputs, width);
        let y = self.apart(output);
        let windows = windows(shape);
        let text = format!("depthwise<{images}, {width}, {windows}>(t{y}, t{x}, {taps}, {bias}, here);");
        self.phase(Does::Multiplies, text, vec![Memory::Buffer(x)], vec![Memory::Buffer(y)]);
        self.keep(output);
    }

    pub(super) fn depthwise_input_gradient(&mut self, operation: &Operation, shape: &Depthwise) {
        let (inputs, output, images) = (&operation.inputs, operation.outputs[0], self.sketch.tile_rows);
        let (dy, width, taps) = (self.tile(inputs[0]), self.width(output), self.taps(inputs[1], shape));
        let added = inputs.get(2).map(|&added| self.tile(added));
        // It may take the place of what is added to it, but not of what threads read of each other.
        let mut free = self.done_with(inputs, width);
        free.retain(|&buffer| Some(buffer) == added && buffer != dy);
        let dx = self.result(output, width, &mut free);
        let name = added.map_or("nullptr".to_owned(), |buffer| format!("t{buffer}"));
        let windows = windows(shape);
        let text = format!("depthwise_gradient<{images}, {width}, {windows}>(t{dx}, t{dy}, {name}, {taps}, here);");
        let reads = [Some(dy), added].into_iter().flatten().map(Memory::Buffer).collect();
        self.phase(Does::Multiplies, text, reads, vec![Memory::Buffer(dx)]);
        self.keep(output);
    }

    pub(super) fn depthwise_kernel_gradient(&mut self, operation: &Operation, shape: &Depthwise) {
        let (inputs, images) = (&operation.inputs, self.sketch.tile_rows);
        let [x, dy] = [0, 1].map(|input| self.tile(inputs[input]));
        let (width, [down, across]) = (self.width(inputs[0]), shape.windows.map(|along| along.pool));
        let shares = 32 * self.sketch.warps() / (width / 8 * down);
        self.sketch.buffers.push(shares * down * across * width * size_of::<f32>());
        let parts = self.sketch.buffers.len() - 1;
        let sum = self.sum(down * across * width, operation.outputs.clone());
        self.done_with(inputs, width);
        let windows = windows(shape);
        let text = format!(
            "depthwise_kernel_gradient<{images}, {width}, {windows}>(t{x}, t{dy}, reinterpret_cast<float*>(t{parts}), \
             sums + {sum}, first, here);"
        );
        self.phase(Does::Multiplies, text, vec![Memory::Buffer(x), Memory::Buffer(dy)], vec![Memory::Buffer(parts)]);
    }

    /// The sums of all pixels of each channel.
    pub(super) fn sum_pixels(&mut self, operation: &Operation) {
        let (x, (rows, width, _)) = (self.tile(operation.inputs[0]), self.extent(operation.inputs[0]));
        let sum = self.sum(width, operation.outputs.clone());
        self.done_with(&operation.inputs, width);
        let text = format!("sum_columns<{rows}, {width}, {}>(sums + {sum}, first, t{x});", self.pitch(width));
        self.phase(Does::Other, text, vec![Memory::Buffer(x)], Vec::new());
    }
}
