use super::{Argument, Default, Inputs, Kind, Layer, LayerKind, Misfit, windows};
use crate::graph::{Builder, Value, ops::Pad};

/// `zero_padding2d(padding = 1)`: `[rows, columns]`, or `[top, bottom, left, right]`.
pub const KIND: LayerKind = LayerKind {
    name: "zero_padding2d",
    meaning: "zeros around the image: one number, [rows, columns], or [top, bottom, left, right]",
    shape: "`[h, w, c]` to `[h + top + bottom, w + left + right, c]`",
    source: "`keras.layers.ZeroPadding2D`",
    inputs: Inputs::Current,
    arguments: &[Argument::optional("padding", Kind::Indices, Default::Int(1))],
    build: |_, shapes, arguments| {
        let from = windows::image("zero_padding2d", shapes)?;
        let sides = match arguments.sizes("padding")[..] {
            [all] => [[all; 2]; 2],
            [rows, columns] => [[rows; 2], [columns; 2]],
            [top, bottom, left, right] => [[top, bottom], [left, right]],
            ref other => {
                return Err(Misfit::new(
                    format!("{other:?} has {} numbers", other.len()),
                    "one number, [rows, columns], or [top, bottom, left, right]",
                )
                .blame("padding"));
            }
        };
        Ok(Box::new(ZeroPadding2d { from, sides }))
    },
};

#[derive(Debug)]
struct ZeroPadding2d {
    from: [usize; 3],
    /// Before and after the rows, and the columns.
    sides: [[usize; 2]; 2],
}

impl Layer for ZeroPadding2d {
    fn output_shape(&self) -> Vec<usize> {
        let [height, width, channels] = self.from;
        let wide = |length: usize, [before, after]: [usize; 2]| length.saturating_add(before).saturating_add(after);
        vec![wide(height, self.sides[0]), wide(width, self.sides[1]), channels]
    }

    fn keeps_last_axis(&self) -> bool {
        true
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        let mut x = inputs[0].clone();
        for (axis, [before, after]) in self.sides.into_iter().enumerate() {
            if before + after > 0 {
                x = builder.apply_one(Pad { axis: axis + 1, before, after }, &[&x]);
            }
        }
        x
    }
}
