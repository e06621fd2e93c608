//! What layers share that move windows over an image.

use super::{Misfit, Padding, show};
use crate::graph::ops::{Conv2d, Windows};

/// The one input, as `[height, width, channels]`.
pub fn image(layer: &str, shapes: &[Vec<usize>]) -> Result<[usize; 3], Misfit> {
    let from = match shapes {
        [shape] => <[usize; 3]>::try_from(shape.as_slice()).ok(),
        _ => None,
    };
    from.ok_or_else(|| {
        Misfit::new(
            format!("`{layer}` takes an image, not a tensor of shape {}", show(shapes)),
            "needs [height, width, channels]",
        )
        .help("`reshape` makes an image of tokens")
    })
}

/// A convolution of a kernel over an image of these sizes.
pub fn convolution(
    [height, width]: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
) -> Result<Conv2d, Misfit> {
    let reach = [0, 1].map(|axis| (kernel[axis] - 1).saturating_mul(dilation[axis]).saturating_add(1));
    let sizes = [height, width];
    let padding = match padding {
        Padding::Same => {
            [0, 1].map(|axis| Windows::same(sizes[axis], kernel[axis], strides[axis], dilation[axis]).beside())
        }
        Padding::Zeros(sides) => sides.map(|side| [side; 2]),
    };
    for (axis, name) in [(0, "height"), (1, "width")] {
        let room = sizes[axis].saturating_add(padding[axis][0]).saturating_add(padding[axis][1]);
        if reach[axis] > room {
            return Err(Misfit::new(
                format!(
                    "the image's {name} {} has no room for a kernel that reaches over {}",
                    sizes[axis], reach[axis]
                ),
                format!("a kernel of {}x{}", kernel[0], kernel[1]),
            )
            .blame("kernel_size")
            .help("`padding = same` puts zeros beside the image"));
        }
    }
    Ok(Conv2d { strides, padding, dilation, groups })
}
