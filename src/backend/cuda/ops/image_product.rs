//! Products of activations, for each head of each image.

use super::{Read, Reading};
use crate::{
    backend::cuda::{
        kernels::int,
        launch::{Arg, Element, Launch, Source},
    },
    graph::{
        Operation as _,
        ops::{Axes, ImageProduct, Roles, position},
    },
};

const SOURCE: Source = Source { name: "image_product", text: include_str!("../kernels/image_product.cu") };

/// Rows and columns of the result that a block makes.
const TILE: usize = 16;

/// The launch of all products of operands of these shapes, which are stored in these types.
pub fn launch<P>(operator: &ImageProduct, shapes: [&[usize]; 2], [a, b, c]: [(Element, P); 3]) -> Launch<P> {
    let output = operator.output_shapes(&shapes).swap_remove(0);
    let (groups, [heads, rows, inner, columns]) = operator.lengths(&shapes);
    let Roles { head, row, inner: inner_axis, column } = operator.0.roles();
    let extent = |value: usize| Arg::I32(int(value));
    let mut args = vec![extent(rows), extent(columns), extent(inner)];
    let mut defines = vec![("HEADS", heads.to_string())];
    let mut operand = |name, (element, at): (Element, P), axes: Axes, shape: &[usize], names: [char; 3]| {
        defines.push((name, element.name().to_owned()));
        args.push(Arg::Pointer(at));
        let own = &shape[shape.len() - 3..];
        args.push(Arg::U32(int(own.iter().product()) as u32));
        args.extend(names.map(|name| {
            let stride = position(axes, name).map_or(0, |axis| own[axis + 1..].iter().product());
            Arg::U32(int(stride) as u32)
        }));
    };
    operand("LEFT", a, operator.0.a, shapes[0], [head, row, inner_axis]);
    operand("RIGHT", b, operator.0.b, shapes[1], [head, inner_axis, column]);
    operand("TO", c, operator.0.c, &output, [head, row, column]);
    let tiles = rows.div_ceil(TILE) * columns.div_ceil(TILE);
    Launch {
        source: SOURCE,
        defines,
        entry: "product",
        grid: [int(groups * heads) as u32, int(tiles) as u32, 1],
        block: [(TILE * TILE) as u32, 1, 1],
        shared_bytes: 0,
        args,
    }
}

impl Read for ImageProduct {
    fn read(&self, shapes: &[&[usize]]) -> Option<Reading> {
        let (operator, a, b) = (*self, shapes[0].to_vec(), shapes[1].to_vec());
        Some(Reading::call(move |emitter, operation| {
            let operands =
                [operation.inputs[0], operation.inputs[1], operation.outputs[0]].map(|tensor| emitter.stored(tensor));
            emitter.launch(launch(&operator, [&a, &b], operands), &operation.outputs);
        }))
    }
}
