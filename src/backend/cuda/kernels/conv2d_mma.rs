//! Convolutions by tensor cores, in bfloat16 with sums in float32, whose patches are never in memory ("implicit GEMM";
//! Chetlur et al. 2014). A block keeps the pixels that its windows touch in shared memory, a chunk of channels at a time, and
//! all taps read them there.
//!
//! How the work is cut depends on the shape alone, so that sums have the same order on all devices.

mod geometry;
mod kernel_gradient;
mod product;

use self::{
    geometry::{Axis, Geometry},
    product::Product,
};
use super::source;
use crate::{
    backend::cuda::launch::{Launch, Source},
    graph::ops::{ConvShape, Windows},
};

pub const SOURCE: Source = source!("conv2d_mma");
pub const KERNEL_SOURCE: Source = source!("conv2d_kernel_mma");

/// Bytes of shared memory of a multiprocessor on Hopper, and what each block takes besides its own.
const MEMORY: usize = 228 << 10;
const RESERVED: usize = 1 << 10;

/// Chunks of channels with the fewest zeros behind the last one, the widest first; narrower ones where memory is short.
fn chunks(depth: usize) -> impl Iterator<Item = (usize, usize)> {
    [64, 32, 16].into_iter().map(move |chunk| (depth.next_multiple_of(chunk), chunk))
}

/// A convolution that goes by tensor cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    images: usize,
    channels: usize,
    filters: usize,
    windows: [Windows; 2],
}

impl Conv {
    /// Of convolutions of all channels to all filters those whose rows of filters are whole 16-byte vectors. With a single
    /// tap there is nothing to share: the explicit product does as well.
    pub fn new(shape: &ConvShape) -> Option<Self> {
        let ConvShape { images, channels, windows, taps, filters, groups, .. } = *shape;
        let fits = groups == 1 && filters.is_multiple_of(8) && taps > 1;
        fits.then_some(Self { images, channels, filters, windows })
    }

    fn geometry(&self) -> Geometry {
        let axes = self.windows.each_ref().map(Axis::forward);
        Geometry { images: self.images, depth: self.channels, axes }
    }

    fn product(&self) -> Product {
        let kernel_columns = self.windows[1].pool;
        Product { geometry: self.geometry(), result: self.filters, kernel_columns, transposed: false }
    }

    /// One for each class of the input's places that meet the same taps.
    fn input_products(&self) -> Option<Vec<Product>> {
        if !self.channels.is_multiple_of(8) {
            return None;
        }
        let [down, across] = &self.windows;
        let (rows, columns) = (Axis::gradients(down)?, Axis::gradients(across)?);
        let product = |axes| Product {
            geometry: Geometry { images: self.images, depth: self.filters, axes },
            result: self.channels,
            kernel_columns: across.pool,
            transposed: true,
        };
        Some(rows.iter().flat_map(|&row| columns.iter().map(move |&column| product([row, column]))).collect())
    }

    /// `y = x * kernel + bias`: x `[images, height, width, channels]`, kernel `[rows, columns, channels, filters]`, y
    /// `[images, windows down, windows across, filters]`, all bfloat16; bias float32 `[filters]`. `None` where windows
    /// touch too many pixels at a time.
    pub fn forward<P>(&self, x: P, kernel: P, bias: Option<P>, y: P) -> Option<Launch<P>> {
        let product = self.product();
        Some(product.launch(&product.tile()?, [x, kernel], bias, None, y))
    }

    /// The gradient of the input, plus another tensor like it if there is one: launches that each make some of its
    /// pixels. `None` where channels are no whole vectors, some pixels meet no tap, or windows touch too many pixels at
    /// a time.
    pub fn input_gradient<P: Clone>(&self, dy: &P, kernel: &P, other: Option<&P>, dx: &P) -> Option<Vec<Launch<P>>> {
        let launch = |product: Product| {
            let tile = product.tile()?;
            Some(product.launch(&tile, [dy.clone(), kernel.clone()], None, other.cloned(), dx.clone()))
        };
        self.input_products()?.into_iter().map(launch).collect()
    }
}

#[cfg(test)]
mod tests;
