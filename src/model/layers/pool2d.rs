//! Windows of an image, of which one value is left for each channel.

use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, Misfit, windows};
use crate::graph::{
    Builder, Value,
    ops::{AveragePool2d, MaxPool2d, Pool2d},
};

const ARGUMENTS: &[Argument] = &[
    Argument::optional("pool_size", Kind::Sizes, Default::Int(2)),
    Argument::optional("strides", Kind::Sizes, Default::Same("pool_size")),
    Argument::optional("padding", Kind::Choice(&["valid", "same"]), Default::Word("valid")),
];

const SHAPE: &str = "`[h, w, c]` to `[h/strides, w/strides, c]`";

/// `max_pool2d(pool_size, strides, padding)`: the largest value of each channel in windows of the image.
pub const MAX: LayerKind = LayerKind {
    name: "max_pool2d",
    meaning: "the largest value of each channel in windows of the image",
    shape: SHAPE,
    source: "`keras.layers.MaxPooling2D`",
    inputs: Inputs::Current,
    arguments: ARGUMENTS,
    build: |kind, shapes, arguments| {
        build(kind, shapes, arguments, |builder, x, pool| builder.apply_one(MaxPool2d(pool), &[x]))
    },
};

/// `average_pool2d(pool_size, strides, padding)`: the mean of each channel in windows of the image.
pub const AVERAGE: LayerKind = LayerKind {
    name: "average_pool2d",
    meaning: "the mean of each channel in windows of the image",
    shape: SHAPE,
    source: "`keras.layers.AveragePooling2D`",
    inputs: Inputs::Current,
    arguments: ARGUMENTS,
    build: |kind, shapes, arguments| {
        build(kind, shapes, arguments, |builder, x, pool| builder.apply_one(AveragePool2d(pool), &[x]))
    },
};

/// Adds the operator of a pool to a graph.
type Lower = fn(&mut Builder, &Value, Pool2d) -> Value;

fn build(
    kind: &LayerKind,
    shapes: &[Vec<usize>],
    arguments: &super::Arguments,
    lower: Lower,
) -> Result<Box<dyn Layer>, Misfit> {
    let from @ [height, width, _] = windows::image(kind.name, shapes)?;
    let (pool, strides) = (arguments.pair("pool_size")?, arguments.pair("strides")?);
    let pool = Pool2d { pool, strides, same: arguments.word("padding") == "same" };
    for (name, length, window) in [("height", height, pool.pool[0]), ("width", width, pool.pool[1])] {
        if !pool.same && window > length {
            return Err(Misfit::new(
                format!("the image's {name} {length} has no room for a window of {window}"),
                format!("windows of {}x{}", pool.pool[0], pool.pool[1]),
            )
            .blame("pool_size")
            .help("`padding = same` takes windows that reach beyond the image"));
        }
    }
    Ok(Box::new(Pool { from, pool, lower }))
}

#[derive(Debug)]
struct Pool {
    from: [usize; 3],
    pool: Pool2d,
    lower: Lower,
}

impl Layer for Pool {
    fn output_shape(&self) -> Vec<usize> {
        let [height, width, channels] = self.from;
        self.pool.output_shape(&[1, height, width, channels]).split_off(1)
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        (self.lower)(builder, &inputs[0], self.pool)
    }
}
