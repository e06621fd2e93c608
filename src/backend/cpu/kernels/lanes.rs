//! Sums of rows in a fixed order that vectors can follow.
//!
//! Element `i` of a row goes to accumulator `i % 32`; the accumulators are then added in a tree. The
//! order depends on the length of the row only.

/// Accumulators: enough independent chains to hide the latency of an addition.
pub const LANES: usize = 32;

/// Sum of `f` over the indices of a row. `f(i)` must accept any index below `len`.
#[inline(always)]
pub(crate) fn sum_by(len: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let full = len / LANES * LANES;
    for i in (0..full).step_by(LANES) {
        for lane in 0..LANES {
            sums[lane] += f(i + lane);
        }
    }
    for lane in 0..len - full {
        sums[lane] += f(full + lane);
    }
    tree(sums, |a, b| a + b)
}

/// Two sums at once.
#[inline(always)]
pub(crate) fn sum_pair_by(len: usize, f: impl Fn(usize) -> (f32, f32)) -> (f32, f32) {
    let (mut left, mut right) = ([0.0; LANES], [0.0; LANES]);
    let full = len / LANES * LANES;
    for i in (0..full).step_by(LANES) {
        for lane in 0..LANES {
            let (l, r) = f(i + lane);
            left[lane] += l;
            right[lane] += r;
        }
    }
    for lane in 0..len - full {
        let (l, r) = f(full + lane);
        left[lane] += l;
        right[lane] += r;
    }
    (tree(left, |a, b| a + b), tree(right, |a, b| a + b))
}

/// Largest element of a row; negative infinity for an empty one. A NaN is skipped.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut best = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            best[lane] = larger(best[lane], chunk[lane]);
        }
    }
    for (best, &value) in best.iter_mut().zip(rest) {
        *best = larger(*best, value);
    }
    tree(best, larger)
}

#[inline(always)]
fn tree(mut values: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            values[lane] = combine(values[lane], values[lane + half]);
        }
        half /= 2;
    }
    values[0]
}
