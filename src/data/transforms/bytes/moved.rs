//! Operations that move pixels: Pillow's `Image.transform` with `AFFINE`.

use super::{Applied, Image, Operation};

/// How images are moved: sampled bilinearly or at the nearest pixel, with what stands outside.
#[derive(Debug, Clone, Copy)]
pub struct Mover {
    /// Whether pixels are mixed of the four around a place; otherwise the nearest is taken.
    pub bilinear: bool,
    /// One byte for all channels; `None` for the mean of the data.
    pub fill: Option<u8>,
}

/// The argument that stands for the mean of the data.
const MEAN: u32 = 256;

/// Rows give the input's x and y from the output's `(x, y, 1)`, in pixels from the corner of the first one.
type Matrix = [[f64; 3]; 2];

impl Mover {
    fn by(&self, matrix: Matrix) -> Applied {
        let fill = self.fill.map_or(MEAN, u32::from);
        let [x, y] = matrix;
        let words = |word: fn([f64; 3]) -> [u32; 3]| {
            let [[a, b, c], [d, e, f]] = [word(x), word(y)];
            [a, b, c, d, e, f, fill]
        };
        if self.bilinear {
            return Applied::new(&BILINEAR, words(|row| row.map(|value| (value as f32).to_bits())));
        }
        // Pillow's 65536ths of a pixel, at the centre of the first one.
        let fixed: fn([f64; 3]) -> [u32; 3] =
            |[a, b, c]| [a, b, c + a * 0.5 + b * 0.5].map(|value| (value * 65_536.0 + 0.5).floor() as i32 as u32);
        Applied::new(&NEAREST, words(fixed))
    }

    /// Rows move to the left by so many pixels for each pixel that they lie lower.
    pub fn shear_x(&self, by: f64) -> Applied {
        self.by([[1.0, by, 0.0], [0.0, 1.0, 0.0]])
    }

    /// Columns move up by so many pixels for each pixel that they lie further to the right.
    pub fn shear_y(&self, by: f64) -> Applied {
        self.by([[1.0, 0.0, 0.0], [by, 1.0, 0.0]])
    }

    /// To the left, by so many pixels.
    pub fn translate_x(&self, by: f64) -> Applied {
        self.by([[1.0, 0.0, by], [0.0, 1.0, 0.0]])
    }

    /// Up, by so many pixels.
    pub fn translate_y(&self, by: f64) -> Applied {
        self.by([[1.0, 0.0, 0.0], [0.0, 1.0, by]])
    }

    /// Counterclockwise about the centre of an image `[height, width]`: `Image.rotate`.
    pub fn rotate(&self, degrees: f64, size: [usize; 2]) -> Applied {
        let (sin, cos) = (-degrees.to_radians()).sin_cos();
        let [y, x] = size.map(|size| size as f64 / 2.0);
        self.by([[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y]])
    }
}

/// What stands outside, by channel.
fn outside(image: &Image, fill: u32) -> Vec<u8> {
    match fill {
        MEAN => image.mean.clone(),
        fill => vec![fill as u8; image.channels],
    }
}

/// The pixel that lies at each position, in whole 65536ths of a pixel.
pub static NEAREST: Operation = Operation {
    name: "move_nearest",
    define: "OP_MOVE_NEAREST",
    apply: |image, &[a, b, c, d, e, f, fill]| {
        image.keep();
        let ([height, width], channels, outside) = (image.size, image.channels, outside(image, fill));
        let at = |[across, down, first]: [u32; 3], x: usize, y: usize| {
            let position =
                i64::from(first as i32) + i64::from(across as i32) * x as i64 + i64::from(down as i32) * y as i64;
            usize::try_from(position >> 16).unwrap_or(usize::MAX)
        };
        for y in 0..height {
            for x in 0..width {
                let (from_x, from_y) = (at([a, b, c], x, y), at([d, e, f], x, y));
                let from = match from_x < width && from_y < height {
                    true => &image.before[(from_y * width + from_x) * channels..][..channels],
                    false => &outside[..],
                };
                image.pixels[(y * width + x) * channels..][..channels].copy_from_slice(from);
            }
        }
    },
};

/// Blends of the four pixels about each position, in float64, rounded down. Beyond the centre of an edge's pixels the edge
/// goes on; what lies beyond the edge is outside.
pub static BILINEAR: Operation = Operation {
    name: "move_bilinear",
    define: "OP_MOVE_BILINEAR",
    apply: |image, &[a, b, c, d, e, f, fill]| {
        image.keep();
        let ([height, width], channels, outside) = (image.size, image.channels, outside(image, fill));
        let [rows_x, rows_y] = [[a, b, c], [d, e, f]].map(|row| row.map(|word| f64::from(f32::from_bits(word))));
        for y in 0..height {
            for x in 0..width {
                let at = |[a, b, c]: [f64; 3]| a * (x as f64 + 0.5) + b * (y as f64 + 0.5) + c;
                let (from_x, from_y) = (at(rows_x), at(rows_y));
                let pixel = &mut image.pixels[(y * width + x) * channels..][..channels];
                let inside = (0.0..width as f64).contains(&from_x) && (0.0..height as f64).contains(&from_y);
                if !inside {
                    pixel.copy_from_slice(&outside);
                    continue;
                }
                let axis = |from: f64, size: usize| {
                    let low = (from - 0.5).floor();
                    let last = size as i64 - 1;
                    let place = |at: i64| at.clamp(0, last) as usize;
                    (place(low as i64), place(low as i64 + 1), from - 0.5 - low)
                };
                let ((left, right, across), (top, bottom, down)) = (axis(from_x, width), axis(from_y, height));
                let corner =
                    |y: usize, x: usize, channel: usize| f64::from(image.before[(y * width + x) * channels + channel]);
                for (channel, byte) in pixel.iter_mut().enumerate() {
                    let blend = |low: f64, high: f64, by: f64| low + (high - low) * by;
                    let row = |y| blend(corner(y, left, channel), corner(y, right, channel), across);
                    *byte = blend(row(top), row(bottom), down) as u8;
                }
            }
        }
    },
};
