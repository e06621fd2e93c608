//! An image beside its patches, as the Keras example shows them.

use image::{Rgb, RgbImage};

use super::resize::resize;

/// Sides of a pixel of the resized image, and the gap between patches, in pixels of the picture.
const ZOOM: usize = 4;
const GAP: usize = 6;

/// Draws an image `[height, width, channels]` resized to `size` square, and to its right the same
/// in patches of `patch_size`, which divides `size`.
pub fn patches(pixels: &[u8], from: (usize, usize), channels: usize, size: usize, patch_size: usize) -> RgbImage {
    let input: Vec<f32> = pixels.iter().map(|&byte| f32::from(byte)).collect();
    let resized = resize(&input, from, channels, (size, size));
    let colour = |row: usize, column: usize| {
        let at = |channel: usize| resized[(row * size + column) * channels + channel.min(channels - 1)].round() as u8;
        Rgb([at(0), at(1), at(2)])
    };
    let side = size * ZOOM;
    let gaps = (size / patch_size - 1) * GAP;
    let (width, height) = (GAP + side + 4 * GAP + side + gaps + GAP, GAP + side + gaps + GAP);
    let mut picture = RgbImage::from_pixel(width as u32, height as u32, Rgb([255; 3]));
    for row in 0..side {
        for column in 0..side {
            let value = colour(row / ZOOM, column / ZOOM);
            let middle = gaps / 2;
            picture.put_pixel((GAP + column) as u32, (GAP + middle + row) as u32, value);
            let gap = |position: usize| position / ZOOM / patch_size * GAP;
            let (x, y) = (GAP + side + 4 * GAP + column + gap(column), GAP + row + gap(row));
            picture.put_pixel(x as u32, y as u32, value);
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_and_its_patches() {
        // Two by two pixels, one colour each, as patches of one pixel.
        let pixels = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9];
        let picture = patches(&pixels, (2, 2), 3, 2, 1);
        let (zoom, gap) = (ZOOM as u32, GAP as u32);
        assert_eq!(picture.dimensions(), (2 * 2 * zoom + 7 * gap, 2 * zoom + 3 * gap));
        let left = (gap, gap + gap / 2);
        assert_eq!(picture.get_pixel(left.0, left.1).0, [255, 0, 0]);
        assert_eq!(picture.get_pixel(left.0 + zoom, left.1 + zoom).0, [9, 9, 9]);
        let right = gap + 2 * zoom + 4 * gap;
        assert_eq!(picture.get_pixel(right, gap).0, [255, 0, 0]);
        assert_eq!(picture.get_pixel(right + zoom, gap).0, [255; 3]);
        assert_eq!(picture.get_pixel(right + zoom + gap, gap).0, [0, 255, 0]);
    }
}
