use super::{Argument, Inputs, Kind, Layer, LayerKind, Misfit, batched, show};
use crate::graph::{Builder, Value};

/// `patches(size)`: an image `[height, width, channels]` cut into squares, or with `size = [height, width]` into
/// rectangles, row by row, each flattened in (row, column, channel) order: `[patches, size * size * channels]`.
pub const KIND: LayerKind = LayerKind {
    name: "patches",
    meaning: "cuts the image into patches: squares, or rectangles of `size = [height, width]`",
    shape: "`[h, w, c]` to `[h/size * w/size, size * size * c]`",
    source: "`tf.image.extract_patches`",
    inputs: Inputs::Current,
    arguments: &[Argument::required("size", Kind::Extent)],
    build: |_, shapes, arguments| {
        let size = arguments.extent("size");
        let [height, width, channels] = match shapes {
            [shape] if shape.len() == 3 => [shape[0], shape[1], shape[2]],
            _ => {
                return Err(Misfit::new(
                    format!("`patches` takes an image, not a tensor of shape {}", show(shapes)),
                    "needs [height, width, channels]",
                ));
            }
        };
        for (name, length, size) in [("height", height, size[0]), ("width", width, size[1])] {
            if length % size != 0 {
                let near = match arguments.extent("size") {
                    [rows, columns] if rows == columns => near_divisors(&[height, width], size),
                    _ => near_divisors(&[length], size),
                };
                let near: Vec<String> = near.iter().map(usize::to_string).collect();
                let [rows, columns] = arguments.extent("size");
                let fit = if rows == columns { "patch sizes that fit".to_owned() } else { format!("{name}s that fit") };
                return Err(Misfit::new(
                    format!("the image's {name} {length} is not divisible by the patch size {size}"),
                    format!("patches of {rows}x{columns} pixels"),
                )
                .blame("size")
                .help(format!("{fit}: {}", near.join(", "))));
            }
        }
        Ok(Box::new(Patches { rows: height / size[0], columns: width / size[1], size, channels }))
    },
};

/// The divisors of all lengths that are nearest to `size`, four at most.
fn near_divisors(lengths: &[usize], size: usize) -> Vec<usize> {
    let most = lengths.iter().copied().min().unwrap_or(1).min(4096);
    let mut divisors: Vec<usize> =
        (1..=most).filter(|d| lengths.iter().all(|length| length.is_multiple_of(*d))).collect();
    divisors.sort_by_key(|divisor| divisor.abs_diff(size));
    divisors.truncate(4);
    divisors.sort_unstable();
    divisors
}

#[derive(Debug)]
struct Patches {
    rows: usize,
    columns: usize,
    /// Height and width of a patch.
    size: [usize; 2],
    channels: usize,
}

impl Layer for Patches {
    fn output_shape(&self) -> Vec<usize> {
        vec![self.rows * self.columns, self.size[0] * self.size[1] * self.channels]
    }

    fn lower(&self, builder: &mut Builder, inputs: &[Value], _: &[Value]) -> Value {
        let image = &inputs[0];
        let grid = [self.rows, self.size[0], self.columns, self.size[1], self.channels];
        let cut = builder.reshape(image, &batched(image, &grid));
        let sorted = builder.transpose(&cut, &[0, 1, 3, 2, 4, 5]);
        builder.reshape(&sorted, &batched(image, &self.output_shape()))
    }
}
