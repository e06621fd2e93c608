//! Sums of the gradients of micro-batches.

use super::{flat, int, source};
use crate::{
    backend::cuda::launch::{Arg, Launch, Source},
    graph::ops::Accumulate,
};

pub const SOURCE: Source = source!("accumulate");

/// Adds `count` float32 gradients to their sum or, at the end of all micro-batches, puts the mean in place of the gradients
/// and 0 in place of the sum; see [`Accumulate`]. While the u32 `stop` is not 0 nothing changes.
pub fn accumulate<P>(count: usize, operator: Accumulate, stop: P, gradient: P, sum: P) -> Launch<P> {
    let count_arg = Arg::U32(int(count) as u32);
    let (entry, mut args) = match operator.share() {
        None => ("accumulate", vec![count_arg]),
        Some(share) => ("end_accumulation", vec![count_arg, Arg::F32(share)]),
    };
    args.extend([stop, gradient, sum].map(Arg::Pointer));
    flat(SOURCE, entry, (Vec::new(), 1), count, args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::{accumulate as cpu, isa::tests::noise},
        cuda::emulator::{Memory, run_all},
    };

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn as_on_the_cpu() {
        for count in [1, 7, 300, 5000] {
            for ends in [None, Some(3)] {
                let (gradient, sum) = (noise(1, count), noise(2, count));
                let (mut expected, mut mean) = (sum.clone(), gradient.clone());
                let operator = Accumulate { ends };
                match operator.share() {
                    None => cpu::add(&gradient, &mut expected),
                    Some(share) => cpu::end(share, &gradient, &mut expected, &mut mean),
                }
                for stopped in [1_u32, 0] {
                    let [stop, ours, own] = [Memory::of(&[stopped]), Memory::of(&gradient), Memory::of(&sum)];
                    run_all([accumulate(count, operator, stop.at(), ours.at(), own.at())]);
                    let (expected, mean) = if stopped == 1 { (&sum, &gradient) } else { (&expected, &mean) };
                    assert_eq!(&own.read::<f32>(), expected, "{count} {ends:?}");
                    assert_eq!(&ours.read::<f32>(), mean, "{count} {ends:?}");
                }
            }
        }
    }
}
