//! Sums of rows in a fixed order that vectors can follow.
//!
//! Element `i` of a row goes to accumulator `i % 32`; the accumulators are then added in a tree. The
//! order depends on the length of the row only.

/// Accumulators: enough independent chains to hide the latency of an addition.
pub const LANES: usize = 32;

/// Half of the accumulators: a step that rows of 16, 48, 80, .. elements end in.
const HALF: usize = LANES / 2;

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
    let mut first = full;
    if len - full >= HALF {
        for lane in 0..HALF {
            sums[lane] += f(full + lane);
        }
        first += HALF;
    }
    if first < len {
        // The rest goes through an array: accumulators addressed by a variable would live in memory.
        let mut rest = [0.0; HALF];
        for lane in 0..len - first {
            rest[lane] = f(first + lane);
        }
        for lane in 0..HALF {
            if first == full {
                sums[lane] += rest[lane];
            } else {
                sums[HALF + lane] += rest[lane];
            }
        }
    }
    tree(sums, |a, b| a + b)
}

/// Largest element of a row; negative infinity for an empty one. A NaN is skipped.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut best = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let mut rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            best[lane] = larger(best[lane], chunk[lane]);
        }
    }
    if let Some((half, after)) = rest.split_first_chunk::<HALF>() {
        for lane in 0..HALF {
            best[lane] = larger(best[lane], half[lane]);
        }
        rest = after;
    }
    let best = tree(best, larger);
    rest.iter().fold(best, |best, &value| larger(best, value))
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
