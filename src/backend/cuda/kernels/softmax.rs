//! Softmax over the last axis, and its gradient.

use super::{int, source};
use crate::backend::cuda::launch::{Arg, Launch, Precision, Source};

pub const SOURCE: Source = source!("softmax");

/// `y = softmax(x)` by rows; both `[rows, width]` activations.
pub fn forward<P>(rows: usize, width: usize, precision: Precision, x: P, y: P) -> Launch<P> {
    launch("forward", rows, width, precision, [x, y])
}

/// `dx = y · (dy - Σ y·dy)` by rows, from the softmax y; all `[rows, width]` activations. dx may be dy.
pub fn backward<P>(rows: usize, width: usize, precision: Precision, dy: P, y: P, dx: P) -> Launch<P> {
    launch("backward", rows, width, precision, [dy, y, dx])
}

fn launch<P, const N: usize>(
    entry: &'static str,
    rows: usize,
    width: usize,
    precision: Precision,
    tensors: [P; N],
) -> Launch<P> {
    let mut args = vec![Arg::I32(int(rows)), Arg::I32(int(width))];
    args.extend(tensors.map(Arg::Pointer));
    Launch {
        source: SOURCE,
        defines: vec![("ACT", precision.element().name().to_owned())],
        entry,
        grid: [rows.div_ceil(4) as u32, 1, 1],
        block: [128, 1, 1],
        shared_bytes: 0,
        args,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::{isa::tests::noise, softmax as cpu},
        cuda::{
            emulator::{Memory, run_all},
            kernels::tests::{PRECISIONS, assert_near_floats, tolerance},
        },
    };

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn as_on_the_cpu() {
        for precision in PRECISIONS {
            let element = precision.element();
            for (rows, width) in [(1, 1), (9, 7), (5, 33), (3, 144)] {
                let values: Vec<f32> = noise(1, rows * width).iter().map(|x| 9.0 * x).collect();
                let (x, dy) =
                    (Memory::of_floats(&values, element), Memory::of_floats(&noise(2, rows * width), element));
                let [y, dx] = [0, 1].map(|_| Memory::empty(rows * width, element));
                run_all([
                    forward(rows, width, precision, x.at(), y.at()),
                    backward(rows, width, precision, dy.at(), y.at(), dx.at()),
                ]);
                let what = format!("{precision:?} {rows}x{width}");
                let mut expected = vec![0.0; rows * width];
                cpu::forward(rows, width, &x.floats(element), &mut expected);
                assert_near_floats(&y.floats(element), &expected, tolerance(precision), &what);
                cpu::backward(rows, width, &y.floats(element), &dy.floats(element), &mut expected);
                assert_near_floats(&dx.floats(element), &expected, tolerance(precision), &what);
            }
        }
    }
}
