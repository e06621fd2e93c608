//! The kernels: each a `.cu` file of CUDA C++ and, beside it, the typed functions that launch it.
//!
//! Memory of every tensor starts at a multiple of 16 bytes. Tensors are row-major and contiguous
//! unless a function says otherwise. No kernel adds floats atomically: a launch gives the same bits
//! every time.

// A kernel is its shapes and its operands, as on the CPU.
#![allow(clippy::too_many_arguments)]

use super::launch::{Arg, Launch, Source};

pub mod accumulate;
pub mod attention;
pub mod attention_projected;
pub mod batch_norm;
pub mod bytes;
pub mod channels;
pub mod conv2d;
pub mod conv2d_mma;
pub mod cross_entropy;
pub mod depthwise;
mod dropout;
pub mod expression;
pub mod global_norm;
pub mod head_product;
pub mod images;
pub mod layer_norm;
pub mod layout;
pub mod masks;
#[cfg(test)]
mod nvrtc;
pub mod orthogonal;
pub mod pointwise;
pub mod reduce;
#[cfg(test)]
mod resources;
pub mod softmax;
pub mod step;
pub mod sum_heads;
pub mod update;

pub use dropout::Dropout;
#[cfg(test)]
pub use step::State;

/// What sources include, by name: each of these includes only ones before it.
pub const HEADERS: [(&str, &str); 7] = [
    ("common.cuh", include_str!("common.cuh")),
    ("halo.cuh", include_str!("halo.cuh")),
    ("windows.cuh", include_str!("windows.cuh")),
    ("mma.cuh", include_str!("mma.cuh")),
    ("attention.cuh", include_str!("attention.cuh")),
    ("region.cuh", include_str!("region.cuh")),
    ("region_images.cuh", include_str!("region_images.cuh")),
];

/// Most blocks of a launch whose threads go on until all is done: about two for each multiprocessor
/// of a large device. Not asked of the device, so that sums have the same order on all.
const BLOCKS: usize = 264;

/// The `.cu` file of this name.
macro_rules! source {
    ($name:literal) => {
        crate::backend::cuda::launch::Source { name: $name, text: include_str!(concat!($name, ".cu")) }
    };
}
use source;

/// The sources of all kernels.
#[cfg(test)]
pub const SOURCES: &[Source] = &[
    accumulate::SOURCE,
    batch_norm::SOURCE,
    bytes::SOURCE,
    conv2d::SOURCE,
    conv2d_mma::SOURCE,
    conv2d_mma::KERNEL_SOURCE,
    cross_entropy::SOURCE,
    depthwise::SOURCE,
    expression::SOURCE,
    global_norm::SOURCE,
    head_product::SOURCE,
    layer_norm::SOURCE,
    masks::SOURCE,
    orthogonal::SOURCE,
    pointwise::SOURCE,
    reduce::SOURCE,
    step::SOURCE,
    sum_heads::SOURCE,
    update::SOURCE,
];

/// A launch over `count` elements in one dimension, `vector` of them at a time, whose threads go on until all is
/// done.
pub fn flat<P>(
    source: Source,
    entry: &'static str,
    (defines, vector): (Vec<(&'static str, String)>, usize),
    count: usize,
    args: Vec<Arg<P>>,
) -> Launch<P> {
    const THREADS: usize = 256;
    Launch {
        source,
        defines,
        entry,
        grid: [count.div_ceil(THREADS * vector).clamp(1, 16 * BLOCKS) as u32, 1, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        args,
    }
}

/// An extent or count as the kernels take it. Larger ones make a program that is refused: `compile` checks all tensors
/// when their calls are made.
pub fn int(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Elements that a thread may move at once, of a tensor whose rows have this width.
fn vector(width: usize, largest: usize) -> usize {
    if width.is_multiple_of(largest) { largest } else { 1 }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{super::launch::Precision, *};
    use crate::{
        backend::{
            cpu::kernels::dropout::Mask,
            cuda::{emulator::Memory, launch::Element},
        },
        random::{Philox, Stream},
    };

    pub const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];
    pub const ELEMENTS: [Element; 2] = [Element::F32, Element::Bf16];

    /// How far a result may be from one in float32 on the same inputs.
    pub fn tolerance(precision: Precision) -> f64 {
        match precision.element() {
            Element::F32 => 1e-4,
            Element::Bf16 => 1e-2,
        }
    }

    /// A step's state, a mask of its iteration, and the same as a kernel takes it.
    pub fn mask(rate: f32) -> (Memory, Mask, Dropout<()>) {
        let iteration = 0x9ABC_DEF0;
        let state = Memory::of(&[State { iteration, ..State::default() }]);
        let dropout = Dropout::new(&crate::graph::ops::Dropout::new(rate, 3), 7, ());
        (state, Mask::new(Philox::new(7, Stream::Dropout), 3, iteration, rate), dropout)
    }

    /// Asserts that every element lies within `tolerance` of the expected, absolutely or relatively,
    /// and all of them together within it relatively: small values count too.
    #[track_caller]
    pub fn assert_near(actual: &[f32], expected: &[f64], tolerance: f64, what: &str) {
        crate::backend::cpu::kernels::isa::tests::assert_close(actual, expected, tolerance, what);
        assert!(actual.iter().all(|value| value.is_finite()), "{what}");
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let size = norm(&mut expected.iter().copied());
        let distance = norm(&mut actual.iter().zip(expected).map(|(&actual, expected)| f64::from(actual) - expected));
        let least = 1e-6 * (actual.len() as f64).sqrt();
        assert!(distance <= tolerance * size + least, "{what}: {distance:e} away from a tensor of norm {size}");
    }

    #[track_caller]
    pub fn assert_near_floats(actual: &[f32], expected: &[f32], tolerance: f64, what: &str) {
        assert_near(actual, &expected.iter().map(|&value| f64::from(value)).collect::<Vec<_>>(), tolerance, what);
    }

    #[test]
    fn every_source_has_entries() {
        for source in SOURCES {
            assert!(!source.entries().is_empty(), "{}", source.name);
            assert!(source.entries().iter().all(|entry| entry.chars().all(|c| c.is_alphanumeric() || c == '_')));
        }
    }
}
