//! Sums of what the heads of an attention have made.

use super::{flat, int, source, vector};
use crate::backend::cuda::launch::{Arg, Launch, Precision, Source};

pub const SOURCE: Source = source!("sum_heads");

/// `y[i, j] = bias[j] + Σ_h x[i, h, j]`: x `[rows, heads, width]`, y `[rows, width]` activations, bias `[width]` float32 or none.
pub fn sum_heads<P>([rows, heads, width]: [usize; 3], precision: Precision, x: P, bias: Option<P>, y: P) -> Launch<P> {
    let element = precision.element();
    let vector = vector(width, element.vector());
    let defines =
        vec![("ACT", element.name().to_owned()), ("HEADS", heads.to_string()), ("VECTOR", vector.to_string())];
    let args = vec![
        Arg::U64((rows * width) as u64),
        Arg::I32(int(width)),
        Arg::Pointer(x),
        bias.map_or(Arg::Null, Arg::Pointer),
        Arg::Pointer(y),
    ];
    flat(SOURCE, "sum_heads", (defines, vector), rows * width, args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::isa::tests::noise,
        cuda::{
            emulator::{Memory, run_all},
            kernels::tests::{PRECISIONS, assert_near_floats, tolerance},
        },
    };

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn sums_of_heads() {
        for precision in PRECISIONS {
            for [rows, heads, width] in [[7, 3, 24], [5, 2, 7], [40, 4, 64]] {
                let element = precision.element();
                let x = Memory::of_floats(&noise(1, rows * heads * width), element);
                let bias = noise(2, width);
                let given = Memory::of(&bias);
                for bias in [None, Some(&bias)] {
                    let y = Memory::empty(rows * width, element);
                    run_all([sum_heads([rows, heads, width], precision, x.at(), bias.map(|_| given.at()), y.at())]);
                    let x = x.floats(element);
                    let one = |at: usize| -> f32 {
                        let (row, column) = (at / width, at % width);
                        let heads = (0..heads).map(|head| x[(row * heads + head) * width + column]);
                        heads.sum::<f32>() + bias.map_or(0.0, |bias| bias[column])
                    };
                    let expected: Vec<f32> = (0..rows * width).map(one).collect();
                    assert_near_floats(&y.floats(element), &expected, tolerance(precision), &format!("{rows} {width}"));
                }
            }
        }
    }
}
