use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, Misfit, windows};
use crate::graph::{Builder, Operation, Value, ops::AveragePool2d};

/// `average_pool2d(pool_size, strides, padding)`: the mean of each channel in windows of the image.
pub const KIND: LayerKind = LayerKind {
    name: "average_pool2d",
    meaning: "the mean of each channel in windows of the image",
    shape: "`[h, w, c]` to `[h/strides, w/strides, c]`",
    source: "`keras.layers.AveragePooling2D`",
    inputs: Inputs::Current,
    arguments: &[
        Argument::optional("pool_size", Kind::Sizes, Default::Int(2)),
        Argument::optional("strides", Kind::Sizes, Default::Same("pool_size")),
        Argument::optional("padding", Kind::Choice(&["valid", "same"]), Default::Word("valid")),
    ],
    build: |_, shapes, arguments| {
        let from @ [height, width, _] = windows::image("average_pool2d", shapes)?;
        let (pool, strides) = (arguments.pair("pool_size")?, arguments.pair("strides")?);
        let pool = AveragePool2d { pool, strides, same: arguments.word("padding") == "same" };
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
        Ok(Box::new(Pool { from, pool }))
    },
};

#[derive(Debug)]
struct Pool {
    from: [usize; 3],
    pool: AveragePool2d,
}

impl Layer for Pool {
    fn output_shape(&self) -> Vec<usize> {
        let [height, width, channels] = self.from;
        self.pool.output_shapes(&[&[1, height, width, channels]]).swap_remove(0).split_off(1)
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        builder.apply_one(self.pool, &[&inputs[0]])
    }
}
