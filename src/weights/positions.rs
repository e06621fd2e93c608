//! Position embeddings for another grid, as timm's `resample_abs_pos_embed` makes them.

/// Tokens of no place that may stand before the grid: none, a class token, one for distillation besides, registers.
const PREFIXES: std::ops::RangeInclusive<usize> = 0..=5;

/// Embeddings `[prefix + side^2, dim]` for `[prefix + new^2, dim]`: the first stay, those of the square grid are resized
/// by a bicubic filter with antialiasing (`a = -0.5`, as PIL and PyTorch's `interpolate(.., "bicubic", antialias=True)`).
/// `None` where no count of first tokens makes both a square.
pub fn resized(values: &[f32], tokens: usize, dim: usize, wanted: usize) -> Option<Vec<f32>> {
    let side = |tokens: usize| {
        let side = tokens.isqrt();
        (side > 0 && side * side == tokens).then_some(side)
    };
    // One class token is what nearly all have.
    let mut prefixes: Vec<usize> = PREFIXES.collect();
    prefixes.sort_by_key(|prefix| *prefix != 1);
    let found = prefixes
        .into_iter()
        .find_map(|prefix| Some((prefix, side(tokens.checked_sub(prefix)?)?, side(wanted.checked_sub(prefix)?)?)));
    let (prefix, from, to) = found?;
    let (first, grid) = values.split_at(prefix * dim);
    let weights = filter(from, to);
    // Along columns: [from, from, dim] to [from, to, dim]; then along rows.
    let mut across = vec![0.0; from * to * dim];
    for row in 0..from {
        for (column, taps) in weights.iter().enumerate() {
            let sum = &mut across[(row * to + column) * dim..][..dim];
            for &(tap, weight) in taps {
                let source = &grid[(row * from + tap) * dim..][..dim];
                sum.iter_mut().zip(source).for_each(|(sum, x)| *sum += weight * x);
            }
        }
    }
    let mut resized = first.to_vec();
    resized.resize((prefix + to * to) * dim, 0.0);
    for (row, taps) in weights.iter().enumerate() {
        let sum = &mut resized[(prefix + row * to) * dim..][..to * dim];
        for &(tap, weight) in taps {
            let source = &across[tap * to * dim..][..to * dim];
            sum.iter_mut().zip(source).for_each(|(sum, x)| *sum += weight * x);
        }
    }
    Some(resized)
}

/// For each place of the new side: which old ones it is of, and their shares.
fn filter(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let scale = from as f64 / to as f64;
    let wide = scale.max(1.0);
    (0..to)
        .map(|place| {
            let centre = (place as f64 + 0.5) * scale;
            let first = ((centre - 2.0 * wide + 0.5).floor().max(0.0)) as usize;
            let end = ((centre + 2.0 * wide + 0.5).floor() as usize).min(from);
            let weight = |tap: usize| cubic((tap as f64 - centre + 0.5) / wide);
            let sum: f64 = (first..end).map(weight).sum();
            (first..end).map(|tap| (tap, (weight(tap) / sum) as f32)).collect()
        })
        .collect()
}

/// Keys' cubic with `a = -0.5`.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One class token, then a grid with `sin(3 row + column^2 / 5)`.
    fn embeddings(side: usize) -> Vec<f32> {
        let grid = (0..side * side).map(|at| {
            let (row, column) = ((at / side) as f32, (at % side) as f32);
            (3.0 * row + column * column / 5.0).sin()
        });
        [7.0].into_iter().chain(grid).collect()
    }

    /// `torch.nn.functional.interpolate(x, size, mode="bicubic", antialias=True)` of PyTorch 2 gives these.
    #[test]
    fn as_pytorch_resizes() {
        for (to, expected) in [(3, SMALLER.as_slice()), (6, LARGER.as_slice())] {
            let resized = resized(&embeddings(4), 17, 1, 1 + to * to).unwrap();
            assert_eq!(resized[0], 7.0);
            for (ours, theirs) in resized[1..].iter().zip(expected) {
                assert!((ours - theirs).abs() < 2e-6, "{to}: {ours} {theirs}");
            }
        }
    }

    const SMALLER: [f32; 9] =
        [0.067304, 0.232139, 0.371995, -0.089893, -0.085738, -0.016612, 0.213057, 0.035263, -0.320186];
    const LARGER: [f32; 36] = [
        -0.024078, 0.061874, 0.296062, 0.719199, 0.997573, 1.123101, 0.091935, 0.088588, 0.073290, 0.038585, -0.027827,
        -0.076957, 0.101875, 0.037869, -0.142223, -0.474136, -0.732698, -0.866989, -0.278128, -0.218071, -0.036704,
        0.311285, 0.665363, 0.880112, 0.060934, 0.067708, 0.081899, 0.102661, 0.086229, 0.065574, 0.471732, 0.395812,
        0.158385, -0.305581, -0.826552, -1.156433,
    ];

    #[test]
    fn what_is_no_grid_stays_as_it_is() {
        assert_eq!(resized(&[0.0; 7], 7, 1, 18), None);
        let same = embeddings(5);
        assert_eq!(resized(&same, 26, 1, 26).unwrap(), same);
    }
}
