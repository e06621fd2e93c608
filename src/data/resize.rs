//! Bilinear resizing with half-pixel centres and no antialiasing: Keras' `Resizing` layer and
//! `tf.image.resize(antialias=False)`.

/// Output position `i` of one axis blends inputs `low[i]` and `high[i]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub low: Vec<usize>,
    pub high: Vec<usize>,
    /// Share of `high`, in `[0, 1)`.
    pub weight: Vec<f32>,
}

impl Axis {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let last = from - 1;
        let mut axis = Self { low: Vec::new(), high: Vec::new(), weight: Vec::new() };
        for i in 0..to {
            let position = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
            let low = position as usize;
            axis.low.push(low);
            axis.high.push((low + 1).min(last));
            axis.weight.push((position - low as f64) as f32);
        }
        axis
    }
}

/// Resizing between two fixed sizes, its indices and weights computed once.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    rows: Axis,
    columns: Axis,
    from: (usize, usize),
    to: (usize, usize),
}

impl Resize {
    /// Sizes are (height, width), at least 1.
    pub fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        assert!(from.0 > 0 && from.1 > 0 && to.0 > 0 && to.1 > 0, "sizes are checked before");
        Self { rows: Axis::new(from.0, to.0), columns: Axis::new(from.1, to.1), from, to }
    }

    /// (height, width) of what comes out.
    pub fn size(&self) -> (usize, usize) {
        self.to
    }

    /// The blends of rows and of columns.
    pub(crate) fn axes(&self) -> [&Axis; 2] {
        [&self.rows, &self.columns]
    }

    /// `input` `[h, w, c]` to `output` `[H, W, c]`, mirrored left to right if asked (mirroring
    /// after resizing is free here). `between` is scratch.
    pub fn run(&self, input: &[f32], channels: usize, mirrored: bool, between: &mut Vec<f32>, output: &mut [f32]) {
        // With the number of channels a constant the inner loops unroll.
        match channels {
            1 => self.run_with(input, 1, mirrored, between, output),
            3 => self.run_with(input, 3, mirrored, between, output),
            other => self.run_with(input, other, mirrored, between, output),
        }
    }

    #[inline(always)]
    fn run_with(&self, input: &[f32], channels: usize, mirrored: bool, between: &mut Vec<f32>, output: &mut [f32]) {
        let (height, width, new_width) = (self.from.0, self.from.1, self.to.1);
        let (row, new_row) = (width * channels, new_width * channels);
        // Along rows first: the source has fewer of them when enlarging, the usual case.
        between.resize(height * new_row, 0.0);
        for (source, target) in input.chunks_exact(row).zip(between.chunks_exact_mut(new_row)) {
            for x in 0..new_width {
                let (low, high, weight) = (self.columns.low[x], self.columns.high[x], self.columns.weight[x]);
                let at = if mirrored { new_width - 1 - x } else { x } * channels;
                let low = &source[low * channels..low * channels + channels];
                let high = &source[high * channels..high * channels + channels];
                let target = &mut target[at..at + channels];
                for c in 0..channels {
                    target[c] = low[c] + (high[c] - low[c]) * weight;
                }
            }
        }
        for (y, target) in output.chunks_exact_mut(new_row).enumerate() {
            let (low, high, weight) = (self.rows.low[y], self.rows.high[y], self.rows.weight[y]);
            let low = &between[low * new_row..(low + 1) * new_row];
            let high = &between[high * new_row..(high + 1) * new_row];
            for ((target, &low), &high) in target.iter_mut().zip(low).zip(high) {
                *target = low + (high - low) * weight;
            }
        }
    }
}

/// Resizes one image `[h, w, c]` to `[H, W, c]`; sizes are (height, width), at least 1.
pub fn resize(input: &[f32], from: (usize, usize), channels: usize, to: (usize, usize)) -> Vec<f32> {
    let mut output = vec![0.0; to.0 * to.1 * channels];
    Resize::new(from, to).run(input, channels, false, &mut Vec::new(), &mut output);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_a_ramp() {
        assert_eq!(resize(&[0.0, 4.0], (1, 2), 1, (1, 4)), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(resize(&[0.0, 4.0], (2, 1), 1, (4, 1)), [0.0, 1.0, 3.0, 4.0]);
        // Without antialiasing, shrinking to a third takes the middle pixel alone.
        assert_eq!(resize(&[9.0, 5.0, 1.0], (1, 3), 1, (1, 1)), [5.0]);
    }

    #[test]
    fn same_size_is_the_identity_and_mirroring_mirrors() {
        let image: Vec<f32> = (0..24).map(|i| (i * i % 17) as f32).collect();
        for channels in [1, 2, 3] {
            let width = 8 / channels.min(2) / if channels == 3 { 2 } else { 1 };
            let height = 24 / width / channels;
            assert_eq!(resize(&image, (height, width), channels, (height, width)), image);
            let mut mirrored = vec![0.0; 24];
            let same = Resize::new((height, width), (height, width));
            same.run(&image, channels, true, &mut Vec::new(), &mut mirrored);
            for (row, mirror) in image.chunks(width * channels).zip(mirrored.chunks(width * channels)) {
                let expected: Vec<f32> = row.chunks(channels).rev().flatten().copied().collect();
                assert_eq!(mirror, expected);
            }
        }
    }
}
