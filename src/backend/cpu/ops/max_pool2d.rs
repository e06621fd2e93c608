//! The maximum over windows of an image. Channels lie side by side, and are treated together.

use super::{Lower, Site, image, image_mut};
use crate::{
    backend::cpu::kernel::Kernel,
    graph::ops::{MaxPool2d, MaxPool2dGradient},
};

/// Where the pixels of a window are, in elements, row by row.
fn pixels(operator: MaxPool2d, shape: &[usize], [row, column]: [usize; 2]) -> impl Iterator<Item = usize> {
    let ([rows, columns], width, channels) = (operator.0.windows_of(shape), shape[2], shape[3]);
    rows.places(row).flat_map(move |y| columns.places(column).map(move |x| (y * width + x) * channels))
}

impl Lower for MaxPool2d {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (operator, shape) = (*self, site.shapes[0].to_vec());
        let ([_, columns], channels) = (operator.0.windows_of(&shape), shape[3]);
        Some(Kernel::per_image(move |call| {
            for index in 0..call.images {
                let x = image(call.inputs[0], call.images, index);
                let y = image_mut(call.outputs[0], call.images, index);
                for (window, y) in y.chunks_mut(channels).enumerate() {
                    y.fill(f32::NEG_INFINITY);
                    for at in pixels(operator, &shape, [window / columns.count, window % columns.count]) {
                        for (y, &x) in y.iter_mut().zip(&x[at..at + channels]) {
                            // What is not a number stays.
                            *y = if *y < x || x.is_nan() { x } else { *y };
                        }
                    }
                }
            }
        }))
    }
}

impl Lower for MaxPool2dGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (operator, shape) = (self.0, site.shapes[1].to_vec());
        let ([_, columns], channels) = (operator.0.windows_of(&shape), shape[3]);
        let kernel = Kernel::per_image(move |call| {
            let (largest, of) = call.scratch[..2 * channels].split_at_mut(channels);
            for index in 0..call.images {
                let [dy, x] = [0, 1].map(|input| image(call.inputs[input], call.images, index));
                let dx = image_mut(call.outputs[0], call.images, index);
                dx.fill(0.0);
                for (window, dy) in dy.chunks(channels).enumerate() {
                    let window = [window / columns.count, window % columns.count];
                    largest.fill(f32::NEG_INFINITY);
                    of.fill(0.0);
                    // The number of the first pixel that is the largest, for each channel.
                    for (number, at) in pixels(operator, &shape, window).enumerate() {
                        for ((largest, of), &x) in largest.iter_mut().zip(&mut *of).zip(&x[at..at + channels]) {
                            let larger = *largest < x;
                            *largest = if larger { x } else { *largest };
                            *of = if larger { number as f32 } else { *of };
                        }
                    }
                    for (number, at) in pixels(operator, &shape, window).enumerate() {
                        for ((dx, &of), &dy) in dx[at..at + channels].iter_mut().zip(&*of).zip(dy) {
                            *dx += if of == number as f32 { dy } else { 0.0 };
                        }
                    }
                }
            }
        });
        Some(kernel.scratch(move |_| 2 * channels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::cpu::{kernel::Call, ops::kernel},
        graph::ops::Pool2d,
    };

    /// By hand, as TensorFlow's rules have it.
    #[test]
    fn of_equal_pixels_the_first_has_the_gradient() {
        let operator = MaxPool2d(Pool2d { pool: [2, 2], strides: [1, 1], same: true });
        let x = [1.0, 3.0, 3.0, 3.0, 2.0, 2.0];
        let shape: &[usize] = &[1, 2, 3, 1];
        let run = |kernel: Kernel, inputs: &[&[f32]]| {
            let (mut out, mut scratch) = (vec![7.0; 6], vec![7.0; 2]);
            let inputs = inputs.iter().copied().collect();
            let outputs = [&mut out[..]].into_iter().collect();
            let (scratch, part) = (&mut scratch[..], 0..0);
            (kernel.run)(&mut Call { inputs, outputs, scratch, first: 0, images: 1, begin: false, part, iteration: 0 });
            out
        };
        let forward = kernel(&operator, &Site { shapes: &[shape], panels: None }).unwrap();
        assert_eq!(run(forward, &[&x]), [3.0, 3.0, 3.0, 3.0, 2.0, 2.0]);
        let backward = kernel(&MaxPool2dGradient(operator), &Site { shapes: &[shape, shape], panels: None }).unwrap();
        let dy = [1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0];
        assert_eq!(run(backward, &[&dy, &x]), [0.0, 11.0, 100.0, 1000.0, 10_000.0, 100_000.0]);
    }
}
