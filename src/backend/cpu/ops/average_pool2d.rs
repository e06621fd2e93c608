//! The mean over windows of an image.

use super::{Lower, Site, image, image_mut};
use crate::{
    backend::cpu::kernel::Kernel,
    graph::ops::{AveragePool2d, AveragePool2dGradient},
};

impl Lower for AveragePool2d {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (operator, shape) = (*self, site.shapes[0].to_vec());
        let ([rows, columns], width, channels) = (operator.0.windows_of(&shape), shape[2], shape[3]);
        let shares = operator.shares(&shape);
        Some(Kernel::per_image(move |call| {
            for index in 0..call.images {
                let x = image(call.inputs[0], call.images, index);
                let y = image_mut(call.outputs[0], call.images, index);
                for ((window, y), share) in y.chunks_mut(channels).enumerate().zip(&shares) {
                    y.fill(0.0);
                    for row in rows.places(window / columns.count) {
                        for column in columns.places(window % columns.count) {
                            for (y, x) in y.iter_mut().zip(&x[(row * width + column) * channels..]) {
                                *y += x;
                            }
                        }
                    }
                    y.iter_mut().for_each(|y| *y *= share);
                }
            }
        }))
    }
}

impl Lower for AveragePool2dGradient {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (operator, shape) = (self.pool, self.of(site.shapes[0]));
        let ([rows, columns], width, channels) = (operator.0.windows_of(&shape), shape[2], shape[3]);
        let shares = operator.shares(&shape);
        Some(Kernel::per_image(move |call| {
            for index in 0..call.images {
                let dy = image(call.inputs[0], call.images, index);
                let dx = image_mut(call.outputs[0], call.images, index);
                dx.fill(0.0);
                for ((window, dy), share) in dy.chunks(channels).enumerate().zip(&shares) {
                    for row in rows.places(window / columns.count) {
                        for column in columns.places(window % columns.count) {
                            for (dx, dy) in dx[(row * width + column) * channels..].iter_mut().zip(dy) {
                                *dx += dy * share;
                            }
                        }
                    }
                }
            }
        }))
    }
}
