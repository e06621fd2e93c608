use super::{Argument, Inputs, Kind, Layer, LayerKind, Misfit, batched, show};
use crate::graph::{Builder, Value};

/// `patches(size)`: an image `[height, width, channels]` cut into squares, row by row, each
/// flattened in (row, column, channel) order: `[patches, size * size * channels]`.
pub const KIND: LayerKind = LayerKind {
    name: "patches",
    meaning: "cuts the image into square patches",
    shape: "`[h, w, c]` to `[h/size * w/size, size * size * c]`",
    source: "`tf.image.extract_patches`",
    inputs: Inputs::Current,
    arguments: &[Argument::required("size", Kind::Size)],
    build: |_, shapes, arguments| {
        let size = arguments.size("size");
        let [height, width, channels] = match shapes {
            [shape] if shape.len() == 3 => [shape[0], shape[1], shape[2]],
            _ => {
                return Err(Misfit::new(
                    format!("`patches` takes an image, not a tensor of shape {}", show(shapes)),
                    "needs [height, width, channels]",
                ));
            }
        };
        for (name, length) in [("height", height), ("width", width)] {
            if length % size != 0 {
                let near: Vec<String> = near_divisors(height, width, size).iter().map(usize::to_string).collect();
                return Err(Misfit::new(
                    format!("the image's {name} {length} is not divisible by the patch size {size}"),
                    format!("patches of {size}x{size} pixels"),
                )
                .blame("size")
                .help(format!("patch sizes that fit: {}", near.join(", "))));
            }
        }
        Ok(Box::new(Patches { rows: height / size, columns: width / size, size, channels }))
    },
};

/// The divisors of both sides that are nearest to `size`, four at most.
fn near_divisors(height: usize, width: usize, size: usize) -> Vec<usize> {
    let most = height.min(width).min(4096);
    let mut divisors: Vec<usize> =
        (1..=most).filter(|d| height.is_multiple_of(*d) && width.is_multiple_of(*d)).collect();
    divisors.sort_by_key(|divisor| divisor.abs_diff(size));
    divisors.truncate(4);
    divisors.sort_unstable();
    divisors
}

#[derive(Debug)]
struct Patches {
    rows: usize,
    columns: usize,
    size: usize,
    channels: usize,
}

impl Layer for Patches {
    fn output_shape(&self) -> Vec<usize> {
        vec![self.rows * self.columns, self.size * self.size * self.channels]
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        let image = &inputs[0];
        let grid = [self.rows, self.size, self.columns, self.size, self.channels];
        let cut = builder.reshape(image, &batched(image, &grid));
        let sorted = builder.transpose(&cut, &[0, 1, 3, 2, 4, 5]);
        builder.reshape(&sorted, &batched(image, &self.output_shape()))
    }
}
