//! The norm of all gradients, and what clips them.

use super::{BLOCKS, int, source};
use crate::{
    backend::cuda::launch::{Arg, Launch, Source},
    graph::ops::ClipFactor,
};

pub const SOURCE: Source = source!("global_norm");

const THREADS: usize = 256;
/// Elements that a thread reads at once.
const VECTOR: usize = 4;

/// Elements of a block.
fn chunk(count: usize) -> usize {
    count.div_ceil(4 * BLOCKS).next_multiple_of(THREADS * VECTOR)
}

/// Floats of workspace for [`clip_factor`].
#[must_use]
pub fn workspace(count: usize) -> usize {
    count.div_ceil(chunk(count)).max(1)
}

/// Writes two float32: what `count` gradients in a row are multiplied by, see [`ClipFactor`], and their norm. `count` is a
/// multiple of 4; the workspace has [`workspace`] floats.
pub fn clip_factor<P: Clone>(
    count: usize,
    ClipFactor { clip_norm }: ClipFactor,
    gradients: P,
    parts: P,
    result: P,
) -> [Launch<P>; 2] {
    let blocks = workspace(count);
    let squares = vec![
        Arg::U64(count as u64),
        Arg::U64(chunk(count) as u64),
        Arg::Pointer(gradients),
        Arg::Pointer(parts.clone()),
    ];
    let factor = vec![Arg::U32(int(blocks) as u32), Arg::F32(clip_norm), Arg::Pointer(parts), Arg::Pointer(result)];
    [launch("sum_of_squares", blocks, squares), launch("clip_factor", 1, factor)]
}

fn launch<P>(entry: &'static str, blocks: usize, args: Vec<Arg<P>>) -> Launch<P> {
    Launch {
        source: SOURCE,
        defines: Vec::new(),
        entry,
        grid: [blocks as u32, 1, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        args,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::isa::tests::noise,
        cuda::{
            emulator::{Memory, run_all},
            launch::Element,
        },
    };

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn factors_and_norms() {
        for count in [4, 64, 1000, 70_004, 2_000_000] {
            let x = noise(1, count);
            let norm = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            let gradients = Memory::of(&x);
            for (clip_norm, expected) in [(0.5, 0.5 / norm), (1e6, 1.0)] {
                let (parts, result) = (Memory::empty(workspace(count), Element::F32), Memory::of(&[0.0_f32; 2]));
                let factor = ClipFactor { clip_norm };
                run_all(clip_factor(count, factor, gradients.at(), parts.at(), result.at()));
                let [actual, length] = result.read::<f32>()[..] else { panic!("two numbers") };
                assert!((f64::from(actual) - expected).abs() <= 1e-5 * expected, "{count} {clip_norm}: {actual}");
                assert!((f64::from(length) - norm).abs() <= 1e-5 * norm, "{count}: {length}, not {norm}");
                assert!(clip_norm < 1e3 || actual == 1.0);
            }
        }
    }
}
