//! Operations that spread the levels of each channel: Pillow's `ImageOps`.

use super::{Applied, Image, Operation};

/// How often a channel has each byte.
fn histogram(image: &Image, channel: usize) -> [u32; 256] {
    let mut counts = [0; 256];
    for byte in image.pixels[channel..].iter().step_by(image.channels) {
        counts[usize::from(*byte)] += 1;
    }
    counts
}

fn spread(image: &mut Image, table: impl Fn(&[u32; 256]) -> [u8; 256]) {
    let tables: Vec<[u8; 256]> = (0..image.channels).map(|channel| table(&histogram(image, channel))).collect();
    image.look_up(|channel| tables[channel]);
}

const SAME: fn(usize) -> u8 = |byte| byte as u8;

/// `ImageOps.autocontrast`: the darkest of a channel becomes 0, the lightest 255.
pub static AUTO_CONTRAST: Operation = Operation {
    name: "auto_contrast",
    define: "OP_AUTO_CONTRAST",
    apply: |image, _| {
        spread(image, |counts| {
            let low = counts.iter().position(|&count| count > 0).unwrap_or(0);
            let high = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
            if high <= low {
                return std::array::from_fn(SAME);
            }
            // In float64, in Pillow's order, and rounded down: products that should be whole may be a little less.
            let scale = 255.0 / (high - low) as f64;
            let offset = -(low as f64) * scale;
            std::array::from_fn(|byte| (byte as f64 * scale + offset).clamp(0.0, 255.0) as u8)
        });
    },
};

/// Spreads the levels of each channel over all 256; `ImageOps.autocontrast`.
pub fn auto_contrast() -> Applied {
    Applied::new(&AUTO_CONTRAST, [])
}

/// `ImageOps.equalize`: each level of a channel becomes the share of what is darker.
pub static EQUALIZE: Operation = Operation {
    name: "equalize",
    define: "OP_EQUALIZE",
    apply: |image, _| {
        spread(image, |counts| {
            let last = counts.iter().rposition(|&count| count > 0).map_or(0, |last| counts[last]);
            let step = (counts.iter().sum::<u32>() - last) / 255;
            if step == 0 {
                return std::array::from_fn(SAME);
            }
            let mut sum = step / 2;
            std::array::from_fn(|byte| {
                let level = sum / step;
                sum += counts[byte];
                level.min(255) as u8
            })
        });
    },
};

/// Makes all levels of each channel about equally frequent; `ImageOps.equalize`.
pub fn equalize() -> Applied {
    Applied::new(&EQUALIZE, [])
}
