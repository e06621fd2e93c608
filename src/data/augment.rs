//! The seed's augmentation: Keras' `RandomFlip("horizontal")`, `RandomRotation(rotation)`,
//! `RandomZoom(zoom, zoom)`, in that order, filled by reflection and interpolated bilinearly.

use serde::{Deserialize, Serialize};

use crate::random::{Philox, Stream, unit};

/// What is drawn anew for every image of every epoch. The default changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Mirrors every other image left to right.
    pub flip: bool,
    /// The largest angle, either way, as a fraction of a full turn.
    pub rotation: f32,
    /// The largest change of scale, in and out; drawn for height and width independently.
    pub zoom: f32,
}

/// Where the draws of one image come from: the same for any batch size and number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    pub seed: u64,
    pub epoch: u32,
}

/// What was drawn for one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    pub mirrored: bool,
    /// In radians.
    pub angle: f32,
    /// Of height and width; above 1 shows more of the scene.
    pub zoom: [f32; 2],
}

impl Augmentation {
    /// The draw for image `index`, from Philox counter `(index, 0, epoch, 0)` of the augmentation
    /// stream.
    pub fn draw(&self, draws: Draws, index: u32) -> Drawn {
        let words = Philox::new(draws.seed, Stream::Augmentation).block([index, 0, draws.epoch, 0]);
        let symmetric = |word: u32| 2.0 * unit(word) - 1.0;
        Drawn {
            mirrored: self.flip && words[0] >> 31 == 1,
            angle: std::f32::consts::TAU * self.rotation * symmetric(words[1]),
            zoom: [1.0 + self.zoom * symmetric(words[2]), 1.0 + self.zoom * symmetric(words[3])],
        }
    }
}

impl Drawn {
    /// Rotates and zooms `image` `[height, width, channels]` in place, each with an interpolation of
    /// its own as in Keras. Mirroring is left to whoever makes the image. `scratch` is as large.
    pub fn apply(&self, shape: [usize; 3], image: &mut [f32], scratch: &mut Vec<f32>) {
        for matrix in [self.rotation(shape), self.scaling(shape)].into_iter().flatten() {
            scratch.clear();
            scratch.extend_from_slice(image);
            // With the number of channels a constant the inner loops unroll.
            match shape[2] {
                1 => resample::<1>(scratch, image, shape, matrix),
                3 => resample::<3>(scratch, image, shape, matrix),
                _ => resample::<0>(scratch, image, shape, matrix),
            }
        }
    }

    /// Keras' `RandomRotation`: the turn about the centre of the pixel grid.
    fn rotation(&self, [height, width, _]: [usize; 3]) -> Option<Affine> {
        let (sin, cos) = self.angle.sin_cos();
        let (right, bottom) = ((width - 1) as f32, (height - 1) as f32);
        (self.angle != 0.0).then(|| {
            [
                [cos, -sin, (right - (cos * right - sin * bottom)) / 2.0],
                [sin, cos, (bottom - (sin * right + cos * bottom)) / 2.0],
            ]
        })
    }

    /// Keras' `RandomZoom`.
    fn scaling(&self, [height, width, _]: [usize; 3]) -> Option<Affine> {
        let [vertical, horizontal] = self.zoom;
        (self.zoom != [1.0, 1.0]).then(|| {
            [
                [horizontal, 0.0, (width - 1) as f32 / 2.0 * (1.0 - horizontal)],
                [0.0, vertical, (height - 1) as f32 / 2.0 * (1.0 - vertical)],
            ]
        })
    }
}

/// Rows give the input's x and y from the output's `(x, y, 1)`.
type Affine = [[f32; 3]; 2];

/// Bilinear samples of `input` at the transformed positions; outside it the image goes on mirrored
/// at its edges (`d c b a | a b c d | d c b a`). `CHANNELS` 0 stands for any number.
fn resample<const CHANNELS: usize>(
    input: &[f32],
    output: &mut [f32],
    [height, width, channels]: [usize; 3],
    matrix: Affine,
) {
    let channels = if CHANNELS == 0 { channels } else { CHANNELS };
    for (y, row) in output.chunks_exact_mut(width * channels).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let [from_x, from_y] = matrix.map(|[a, b, c]| a * x as f32 + b * y as f32 + c);
            let (left, top) = (from_x.floor(), from_y.floor());
            let (across, down) = (from_x - left, from_y - top);
            let (left, top) = (left as i32, top as i32);
            let columns = [left, left + 1].map(|at| reflect(at, width) * channels);
            let rows = [top, top + 1].map(|at| reflect(at, height) * width * channels);
            let corner = |row: usize, column: usize| &input[rows[row] + columns[column]..][..channels];
            let (a, b, c, d) = (corner(0, 0), corner(0, 1), corner(1, 0), corner(1, 1));
            for (channel, value) in pixel.iter_mut().enumerate() {
                let upper = a[channel] + across * (b[channel] - a[channel]);
                let lower = c[channel] + across * (d[channel] - c[channel]);
                *value = upper + down * (lower - upper);
            }
        }
    }
}

/// The pixel that stands at position `at` of an axis that is mirrored at both edges, for ever.
#[inline(always)]
fn reflect(at: i32, size: usize) -> usize {
    if (at as u32) < size as u32 {
        return at as usize;
    }
    let size = size as i32;
    let folded = at.rem_euclid(2 * size);
    (if folded < size { folded } else { 2 * size - 1 - folded }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Augmentation = Augmentation { flip: true, rotation: 0.02, zoom: 0.2 };

    #[test]
    fn reflects_about_the_outer_edge_of_the_last_pixel() {
        let seen: Vec<usize> = (-4..8).map(|at| reflect(at, 4)).collect();
        assert_eq!(seen, [3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0]);
        assert_eq!(reflect(-9, 1), 0);
    }

    #[test]
    fn nothing_is_drawn_by_default() {
        let drawn = Augmentation::default().draw(Draws { seed: 1, epoch: 2 }, 3);
        assert_eq!(drawn, Drawn { mirrored: false, angle: 0.0, zoom: [1.0, 1.0] });
        let mut image: Vec<f32> = (0..24).map(|value| value as f32).collect();
        let before = image.clone();
        drawn.apply([4, 3, 2], &mut image, &mut Vec::new());
        assert_eq!(image, before);
    }

    #[test]
    fn a_quarter_turn_moves_every_pixel() {
        let mut image: Vec<f32> = (0..9).map(|value| value as f32).collect();
        let drawn = Drawn { mirrored: false, angle: std::f32::consts::FRAC_PI_2, zoom: [1.0, 1.0] };
        drawn.apply([3, 3, 1], &mut image, &mut Vec::new());
        let expected = [2.0, 5.0, 8.0, 1.0, 4.0, 7.0, 0.0, 3.0, 6.0];
        for (value, expected) in image.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-5, "{image:?}");
        }
    }

    #[test]
    fn a_zoom_by_two_samples_every_second_pixel_and_its_reflection() {
        let mut image = vec![0.0, 1.0, 2.0, 3.0];
        let drawn = Drawn { mirrored: false, angle: 0.0, zoom: [1.0, 2.0] };
        drawn.apply([1, 4, 1], &mut image, &mut Vec::new());
        // Positions -1.5, 0.5, 2.5, 4.5: halfway between (1, 0), (0, 1), (2, 3), (3, 2).
        assert_eq!(image, [0.5, 0.5, 2.5, 2.5]);
    }

    #[test]
    fn draws_fill_their_ranges_evenly() {
        let drawn: Vec<Drawn> = (0..4000).map(|index| SEED.draw(Draws { seed: 7, epoch: 1 }, index)).collect();
        let mirrored = drawn.iter().filter(|drawn| drawn.mirrored).count();
        assert!((1850..2150).contains(&mirrored), "{mirrored}");
        let largest = std::f32::consts::TAU * 0.02;
        let moments = |values: &mut dyn Iterator<Item = f32>, range: f32| {
            let values: Vec<f32> = values.collect();
            assert!(values.iter().all(|value| value.abs() <= range));
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            let variance = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
            assert!(mean.abs() < 0.05 * range, "{mean} of {range}");
            assert!((variance / (range * range / 3.0) - 1.0).abs() < 0.06, "{variance} of {range}");
        };
        moments(&mut drawn.iter().map(|drawn| drawn.angle), largest);
        moments(&mut drawn.iter().map(|drawn| drawn.zoom[0] - 1.0), 0.2);
        moments(&mut drawn.iter().map(|drawn| drawn.zoom[1] - 1.0), 0.2);
        assert_ne!(drawn[5], SEED.draw(Draws { seed: 7, epoch: 2 }, 5));
    }

    /// The same samples from a plain copy of the image that goes on by reflection for ten pixels.
    #[test]
    fn agrees_with_a_padded_image() {
        let [height, width, channels] = [7, 9, 3];
        let input: Vec<f32> = (0..height * width * channels).map(|value| (value as f32 * 0.7).sin()).collect();
        let drawn = Drawn { mirrored: false, angle: 0.4, zoom: [1.0, 1.0] };
        let mut output = input.clone();
        drawn.apply([height, width, channels], &mut output, &mut Vec::new());
        let mirror = |at: i64, size: usize| {
            let order: Vec<usize> = (0..size).chain((0..size).rev()).collect();
            order[at.rem_euclid(order.len() as i64) as usize]
        };
        let at =
            |x: i64, y: i64, c: usize| f64::from(input[(mirror(y, height) * width + mirror(x, width)) * channels + c]);
        let (sin, cos) = 0.4_f64.sin_cos();
        let centre = [(width - 1) as f64 / 2.0, (height - 1) as f64 / 2.0];
        for (index, value) in output.iter().enumerate() {
            let (c, x, y) = (index % channels, index / channels % width, index / channels / width);
            let (dx, dy) = (x as f64 - centre[0], y as f64 - centre[1]);
            let (sx, sy) = (cos * dx - sin * dy + centre[0], sin * dx + cos * dy + centre[1]);
            let (left, top) = (sx.floor(), sy.floor());
            let (u, v) = (sx - left, sy - top);
            let (left, top) = (left as i64, top as i64);
            let expected = (1.0 - v) * ((1.0 - u) * at(left, top, c) + u * at(left + 1, top, c))
                + v * ((1.0 - u) * at(left, top + 1, c) + u * at(left + 1, top + 1, c));
            assert!((f64::from(*value) - expected).abs() < 1e-5, "{index}: {value} {expected}");
        }
    }
}
