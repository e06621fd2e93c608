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
        let ([height, width], channels, reach) = (image.size, image.channels, reach as usize);
        // How many lines, how far apart they and their bytes are, and how long they are.
        let axes = [(height, width * channels, channels, width), (width, channels, width * channels, height)];
        let (mut line, mut padded) = (Vec::new(), Vec::new());
        for (count, apart, step, length) in axes {
            for first in (0..count).flat_map(|line| (0..channels).map(move |channel| line * apart + channel)) {
                let places = (first..).step_by(step).take(length);
                line.clear();
                line.extend(places.clone().map(|place| image.pixels[place]));
                for _ in 0..TIMES {
                    box_blur(&mut line, &mut padded, reach, [inner, outer]);
                }
                places.zip(&line).for_each(|(place, byte)| image.pixels[place] = *byte);
            }
        }
    },
};

/// Blurs a line by a box: `reach` bytes on each side, and so much less of the two beyond them.
fn box_blur(line: &mut [u8], padded: &mut Vec<u8>, reach: usize, [inner, outer]: [u32; 2]) {
    let [Some(&begin), Some(&end)] = [line.first(), line.last()] else { return };
    let beyond = reach + 1;
    padded.clear();
    padded.extend(std::iter::repeat_n(begin, beyond));
    padded.extend_from_slice(line);
    padded.extend(std::iter::repeat_n(end, beyond));
    let mut sum: u32 = padded[1..=2 * reach + 1].iter().map(|&byte| u32::from(byte)).sum();
    for (place, byte) in line.iter_mut().enumerate() {
        let (left, right) = (u32::from(padded[place]), u32::from(padded[place + 2 * beyond]));
        // Wraps no more than Pillow's: the weights sum to 2^24 at most.
        let level = sum.wrapping_mul(inner).wrapping_add((left + right).wrapping_mul(outer)).wrapping_add(1 << 23);
        *byte = (level >> 24) as u8;
        sum = sum + right - u32::from(padded[place + 1]);
    }
}
