//! `ImageFilter.GaussianBlur`: three blurs by boxes along the rows, then three along the columns (Gwosdek et al., "Theoretical
//! foundations of Gaussian convolution by extended box filtering", 2011).

use super::{Applied, Operation};

/// Blurs along one axis.
const TIMES: usize = 3;

/// With the standard deviation `radius`, in pixels.
pub fn blur(radius: f32) -> Applied {
    // In Pillow's order and precision.
    let variance = radius * radius / TIMES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
        / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
    let radius = whole + part;
    let inner = ((1 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
    let reach = radius as u32;
    let outer = ((1 << 24) - (reach * 2 + 1) * inner) / 2;
    Applied::new(&BLUR, [reach, inner, outer])
}

/// The arguments: how many pixels on each side count whole, what each of them counts, and what the two beyond them count, in
/// 2^24ths. The edges go on.
pub static BLUR: Operation = Operation {
    name: "blur",
    define: "OP_BLUR",
    apply: |image, &[reach, inner, outer, ..]| {
        let ([height, width], channels) = (image.size, image.channels);
        let lines = [(height, width * channels, width, channels), (width, channels, height, width * channels)];
        for (count, next, length, step) in lines {
            for _ in 0..TIMES {
                image.keep();
                for line in 0..count {
                    for channel in 0..channels {
                        let first = line * next + channel;
                        let at = |place: i64| {
                            u32::from(image.before[first + place.clamp(0, length as i64 - 1) as usize * step])
                        };
                        for place in 0..length {
                            let (here, reach) = (place as i64, i64::from(reach));
                            let sum: u32 = (here - reach..=here + reach).map(at).sum();
                            let ends = at(here - reach - 1) + at(here + reach + 1);
                            // Wraps no more than Pillow's: the weights sum to 2^24 at most.
                            let level =
                                sum.wrapping_mul(inner).wrapping_add(ends.wrapping_mul(outer)).wrapping_add(1 << 23);
                            image.pixels[first + place * step] = (level >> 24) as u8;
                        }
                    }
                }
            }
        }
    },
};
