//! The order of axes: PyTorch has what comes out first, Keras last.

/// A kernel `[out, in, window..]`, as PyTorch has it, in Keras' order, `[window.., in, out]`.
///
/// A grouped convolution has `in / groups` for `in` in both. A depthwise one, `[channels * multiplier, 1, window..]`, comes
/// out as `[window.., 1, channels * multiplier]`, which lies in memory as Keras' `[window.., channels, multiplier]`.
pub fn of_torch(shape: &[usize], values: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let &[out, inputs, ref window @ ..] = shape else { return (shape.to_vec(), values.to_vec()) };
    let taps: usize = window.iter().product();
    let mut reordered = Vec::with_capacity(values.len());
    for tap in 0..taps {
        for input in 0..inputs {
            reordered.extend((0..out).map(|out| values[(out * inputs + input) * taps + tap]));
        }
    }
    let shape = window.iter().copied().chain([inputs, out]).collect();
    (shape, reordered)
}

/// A kernel `[window.., in, out]`, as Keras has it, in PyTorch's order, `[out, in, window..]`: [`of_torch`], the other way.
pub fn to_torch(shape: &[usize], values: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let &[ref window @ .., inputs, out] = shape else { return (shape.to_vec(), values.to_vec()) };
    let taps: usize = window.iter().product();
    let mut reordered = Vec::with_capacity(values.len());
    for out_channel in 0..out {
        for input in 0..inputs {
            reordered.extend((0..taps).map(|tap| values[(tap * inputs + input) * out + out_channel]));
        }
    }
    let shape = [out, inputs].into_iter().chain(window.iter().copied()).collect();
    (shape, reordered)
}

/// Whether values of one shape are those of another, with neighbouring axes joined or split alone: `[a, b c]` for
/// `[a, b, c]`, but not `[b, a c]`, which has as many.
pub fn same_but_for_joined_axes(a: &[usize], b: &[usize]) -> bool {
    let ends = |shape: &[usize]| {
        let mut volume = 1_usize;
        let mut ends: Vec<usize> = Vec::new();
        for length in shape.iter().filter(|length| **length != 1) {
            volume = volume.saturating_mul(*length);
            ends.push(volume);
        }
        ends
    };
    let (a, b) = (ends(a), ends(b));
    let within = |some: &[usize], all: &[usize]| some.iter().all(|end| all.contains(end));
    a.last() == b.last() && (within(&a, &b) || within(&b, &a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_goes_last() {
        let count = |shape: &[usize]| (0..shape.iter().product::<usize>()).map(|x| x as f32).collect::<Vec<_>>();
        assert_eq!(of_torch(&[2, 3], &count(&[2, 3])), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        assert_eq!(of_torch(&[3], &count(&[3])), (vec![3], count(&[3])));
        // Kernel [out = 2, in = 2, 1, 2]: at (0, w, i, o) there is 4 o + 2 i + w.
        let (shape, values) = of_torch(&[2, 2, 1, 2], &count(&[2, 2, 1, 2]));
        assert_eq!((shape, values), (vec![1, 2, 2, 2], vec![0.0, 4.0, 2.0, 6.0, 1.0, 5.0, 3.0, 7.0]));
    }

    #[test]
    fn and_comes_back() {
        for shape in [&[5][..], &[2, 3], &[3, 2, 4, 5]] {
            let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|x| x as f32).collect();
            let (keras, reordered) = of_torch(shape, &values);
            assert_eq!(to_torch(&keras, &reordered), (shape.to_vec(), values));
        }
    }

    #[test]
    fn axes_are_joined_or_split_but_not_exchanged() {
        let same = same_but_for_joined_axes;
        assert!(same(&[16, 16, 3, 192], &[768, 192]) && same(&[192, 192], &[192, 3, 64]));
        assert!(
            same(&[1, 197, 192], &[197, 192]) && same(&[1, 1, 192], &[1, 192]) && same(&[3, 3, 1, 8], &[3, 3, 8, 1])
        );
        assert!(!same(&[4, 6], &[6, 4]) && !same(&[2, 6], &[2, 3]) && !same(&[192, 64], &[48, 256]));
        assert!(same(&[5], &[5]) && !same(&[5], &[6]) && same(&[1], &[1, 1]));
    }
}
