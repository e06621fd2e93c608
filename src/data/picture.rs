//! An image beside its patches, as the Keras example shows them.

use image::{Rgb, RgbImage};

use super::{Levels, resize::resize};

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

/// Draws an image `[height, width, channels]`, and beside it the same in grey with red where a value of `[grid, grid]` is
/// high: full at the highest, none at 0 and below.
pub fn falls(pixels: &[u8], (height, width): (usize, usize), falls: &[f32], grid: usize) -> RgbImage {
    let channels = pixels.len() / (height * width);
    let zoom = LEAST_EXPLAINED.div_ceil(height.max(width)).max(1);
    let largest = falls.iter().copied().fold(0.0, f32::max);
    let side = |count: usize, size: usize| (count * (size * zoom + GAP) + GAP) as u32;
    let mut picture = RgbImage::from_pixel(side(2, width), side(1, height), Rgb([255; 3]));
    for y in 0..height * zoom {
        for x in 0..width * zoom {
            let pixel = &pixels[(y / zoom * width + x / zoom) * channels..][..channels];
            let colour = [0, 1, 2].map(|channel: usize| pixel[channel.min(channels - 1)]);
            picture.put_pixel((GAP + x) as u32, (GAP + y) as u32, Rgb(colour));
            let fall = falls[y * grid / (height * zoom) * grid + x * grid / (width * zoom)].max(0.0);
            let share = if largest > 0.0 { fall / largest } else { 0.0 };
            let grey = colour.iter().map(|&byte| f32::from(byte)).sum::<f32>() / 3.0;
            let with = |full: f32| (grey + (full - grey) * 0.75 * share).round() as u8;
            let place = (2 * GAP + width * zoom + x, GAP + y);
            picture.put_pixel(place.0 as u32, place.1 as u32, Rgb([with(255.0), with(0.0), with(0.0)]));
        }
    }
    picture
}

/// Least side of an image whose parts are explained, in pixels of the picture.
const LEAST_EXPLAINED: usize = 224;

/// Least side of an image of a sheet, in pixels of the picture.
const LEAST: usize = 96;

/// Draws batches of normalised images `[batch, height, width, channels]`, each batch a column.
pub fn sheet(batches: &[Vec<f32>], levels: &Levels, [height, width]: [usize; 2]) -> RgbImage {
    let channels = levels.channels();
    let bytes = height * width * channels;
    let zoom = LEAST.div_ceil(height.max(width)).max(1);
    let rows = batches.iter().map(|batch| batch.len() / bytes).max().unwrap_or(0);
    let side = |count: usize, size: usize| (count * (size * zoom + GAP) + GAP) as u32;
    let mut picture = RgbImage::from_pixel(side(batches.len(), width), side(rows, height), Rgb([255; 3]));
    for (column, batch) in batches.iter().enumerate() {
        for (row, image) in batch.chunks_exact(bytes).enumerate() {
            for y in 0..height * zoom {
                for x in 0..width * zoom {
                    let pixel = &image[(y / zoom * width + x / zoom) * channels..][..channels];
                    let at = |channel: usize| {
                        let channel = channel.min(channels - 1);
                        levels.byte(channel, pixel[channel])
                    };
                    let (left, top) = (GAP + column * (width * zoom + GAP), GAP + row * (height * zoom + GAP));
                    picture.put_pixel((left + x) as u32, (top + y) as u32, Rgb([at(0), at(1), at(2)]));
                }
            }
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Statistics;

    #[test]
    fn what_falls_most_is_red() {
        // Two pixels, and a grid of one row of two and a second like it.
        let picture = falls(&[100, 40], (1, 2), &[0.5, -1.0, 0.25, 0.0], 2);
        let (zoom, gap) = (112, GAP as u32);
        assert_eq!(picture.dimensions(), (2 * 2 * zoom + 3 * gap, zoom + 2 * gap));
        let right = 2 * gap + 2 * zoom;
        let at = |x: u32, y: u32| picture.get_pixel(x, gap + y).0;
        assert_eq!([at(gap, 0), at(gap + zoom, 0)], [[100; 3], [40; 3]]);
        assert_eq!([at(right, 0), at(right + zoom, 0)], [[216, 25, 25], [40; 3]]);
        assert_eq!([at(right, zoom - 1), at(right + zoom, zoom - 1)], [[158, 63, 63], [40; 3]]);
    }

    #[test]
    fn batches_are_columns() {
        let statistics = Statistics { mean: vec![100.0], variance: vec![400.0] };
        let levels = Levels::new(&statistics, 1);
        // Two batches of two images, of one row of two pixels.
        let batches = [vec![-5.0, 0.0, 1.0, 7.75], vec![2.0, 9.0, -1.0, 3.0]];
        let picture = sheet(&batches, &levels, [1, 2]);
        let (zoom, gap) = (48, GAP as u32);
        assert_eq!(picture.dimensions(), (2 * 2 * zoom + 3 * gap, 2 * zoom + 3 * gap));
        let at = |column: u32, row: u32, x: u32| {
            let place = (gap + column * (2 * zoom + gap) + x * zoom, gap + row * (zoom + gap));
            picture.get_pixel(place.0, place.1).0[1]
        };
        assert_eq!([at(0, 0, 0), at(0, 0, 1), at(0, 1, 0), at(0, 1, 1)], [0, 100, 120, 255]);
        assert_eq!([at(1, 0, 0), at(1, 0, 1), at(1, 1, 0), at(1, 1, 1)], [140, 255, 80, 160]);
        assert_eq!(picture.get_pixel(gap + 2 * zoom, gap).0, [255; 3]);
    }

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
