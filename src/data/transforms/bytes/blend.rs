//! Operations that blend an image with a plain form of itself: Pillow's `ImageEnhance`. A factor of 0 gives the plain form, 1
//! the image, more than 1 goes on.

use super::{Applied, Operation, luma};

/// `Image.blend` of one byte: rounded down, in float32.
#[inline(always)]
fn blend(plain: u8, byte: u8, factor: f32) -> u8 {
    let (plain, byte) = (i32::from(plain), i32::from(byte));
    (plain as f32 + factor * (byte - plain) as f32).clamp(0.0, 255.0) as u8
}

/// With black.
pub static BRIGHTNESS: Operation = Operation {
    name: "brightness",
    define: "OP_BRIGHTNESS",
    apply: |image, &[factor, ..]| {
        let factor = f32::from_bits(factor);
        image.look_up(|_| std::array::from_fn(|byte| blend(0, byte as u8, factor)));
    },
};

/// Blends with black; `ImageEnhance.Brightness`.
pub fn brightness(factor: f32) -> Applied {
    Applied::new(&BRIGHTNESS, [factor.to_bits()])
}

/// With itself in grey.
pub static COLOR: Operation = Operation {
    name: "color",
    define: "OP_COLOR",
    apply: |image, &[factor, ..]| {
        let factor = f32::from_bits(factor);
        for pixel in image.pixels.chunks_exact_mut(image.channels) {
            let grey = luma(pixel);
            pixel.iter_mut().for_each(|byte| *byte = blend(grey, *byte, factor));
        }
    },
};

/// Blends with its shades of grey; `ImageEnhance.Color`.
pub fn color(factor: f32) -> Applied {
    Applied::new(&COLOR, [factor.to_bits()])
}

/// With its mean grey.
pub static CONTRAST: Operation = Operation {
    name: "contrast",
    define: "OP_CONTRAST",
    apply: |image, &[factor, ..]| {
        let sum: u64 = image.pixels.chunks_exact(image.channels).map(|pixel| u64::from(luma(pixel))).sum();
        let count = (image.pixels.len() / image.channels) as u64;
        // Rounded to nearest, halves up.
        let mean = ((2 * sum + count) / (2 * count)) as u8;
        let factor = f32::from_bits(factor);
        image.look_up(|_| std::array::from_fn(|byte| blend(mean, byte as u8, factor)));
    },
};

/// Blends with the mean of its shades of grey; `ImageEnhance.Contrast`.
pub fn contrast(factor: f32) -> Applied {
    Applied::new(&CONTRAST, [factor.to_bits()])
}

/// With `ImageFilter.SMOOTH` of itself: of the three by three pixels around one, itself five times; at the edges itself.
pub static SHARPNESS: Operation = Operation {
    name: "sharpness",
    define: "OP_SHARPNESS",
    apply: |image, &[factor, ..]| {
        image.keep();
        let ([height, width], channels, factor) = (image.size, image.channels, f32::from_bits(factor));
        let row = width * channels;
        for y in 1..height.max(1) - 1 {
            let rows: [&[u8]; 3] = std::array::from_fn(|down| &image.before[(y + down - 1) * row..][..row]);
            let inside = channels..row - channels.min(row);
            for at in inside.start..inside.end.max(inside.start) {
                let near =
                    |row: &[u8]| u32::from(row[at - channels]) + u32::from(row[at]) + u32::from(row[at + channels]);
                let byte = rows[1][at];
                let sum = near(rows[0]) + near(rows[1]) + near(rows[2]) + 4 * u32::from(byte);
                // Thirteenths, rounded to nearest: there are no halves.
                let smooth = ((2 * sum + 13) / 26) as u8;
                image.pixels[y * row + at] = blend(smooth, byte, factor);
            }
        }
    },
};

/// Blends with a smoothed image; `ImageEnhance.Sharpness`.
pub fn sharpness(factor: f32) -> Applied {
    Applied::new(&SHARPNESS, [factor.to_bits()])
}
