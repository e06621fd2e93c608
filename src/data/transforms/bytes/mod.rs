//! Operations on the bytes of an image, each as Pillow computes it, to the bit.
//!
//! A new operation is its file (or a place in one of its kind), its line in [`OPERATIONS`], and its case in `bytes.cu`, which
//! knows it by `define`. What is drawn for an image is which operations are applied, with their arguments
//! ([`Applied`]): that is all a device needs.

mod blend;
mod blur;
mod histogram;
mod moved;
mod tables;

#[cfg(test)]
mod tests;

pub use blend::{brightness, color, contrast, sharpness};
pub use blur::blur;
pub use histogram::{auto_contrast, equalize};
pub use moved::Mover;
pub use tables::{invert, posterize, solarize, solarize_add};

use crate::data::Levels;

/// Words of an operation's arguments.
const ARGUMENTS: usize = 7;

/// An operation.
#[derive(Debug)]
pub struct Operation {
    /// As tests and messages call it.
    pub name: &'static str,
    /// Its name in `bytes.cu`.
    pub define: &'static str,
    apply: fn(&mut Image, &[u32; ARGUMENTS]),
}

/// All operations. An image's row has their places in this table.
pub static OPERATIONS: &[&Operation] = &[
    &IDENTITY,
    &blend::BRIGHTNESS,
    &blend::COLOR,
    &blend::CONTRAST,
    &blend::SHARPNESS,
    &blur::BLUR,
    &histogram::AUTO_CONTRAST,
    &histogram::EQUALIZE,
    &moved::BILINEAR,
    &moved::NEAREST,
    &tables::INVERT,
    &tables::POSTERIZE,
    &tables::SOLARIZE,
    &tables::SOLARIZE_ADD,
];

/// The image as it is: stands where fewer operations are applied than there is room for.
static IDENTITY: Operation = Operation { name: "identity", define: "OP_IDENTITY", apply: |_, _| {} };

/// An operation with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    operation: u32,
    arguments: [u32; ARGUMENTS],
}

impl Applied {
    /// Words of a row.
    pub const WORDS: usize = 1 + ARGUMENTS;

    fn new<const GIVEN: usize>(operation: &'static Operation, given: [u32; GIVEN]) -> Self {
        let place = OPERATIONS.iter().position(|other| std::ptr::eq(*other, operation));
        let mut arguments = [0; ARGUMENTS];
        arguments[..GIVEN].copy_from_slice(&given);
        // Without a line in the table it would be the first, which tests of its definition find.
        Self { operation: place.unwrap_or(0) as u32, arguments }
    }

    /// That leaves an image as it is.
    pub fn identity() -> Self {
        Self::new(&IDENTITY, [])
    }

    /// Of the operation.
    pub fn name(&self) -> &'static str {
        OPERATIONS[self.operation as usize].name
    }

    /// As a row of a [`Plan`](super::Plan)'s draws has it: the operation, then its arguments.
    pub fn words(&self) -> [u32; Self::WORDS] {
        std::array::from_fn(|at| if at == 0 { self.operation } else { self.arguments[at - 1] })
    }

    /// The inverse of [`Applied::words`], of the first words of a row.
    pub fn get(row: &[u32]) -> Self {
        Self { operation: row[0], arguments: std::array::from_fn(|at| row[1 + at]) }
    }

    /// Changes the bytes in place.
    pub fn apply(&self, image: &mut Image) {
        (OPERATIONS[self.operation as usize].apply)(image, &self.arguments);
    }
}

/// The bytes of an image `[height, width, channels]`. Of one channel it is grey, of three it is red, green and blue.
#[derive(Debug)]
pub struct Image<'a> {
    /// The bytes, row-major.
    pub pixels: &'a mut Vec<u8>,
    /// For operations that read what they write.
    pub before: &'a mut Vec<u8>,
    /// Height and width.
    pub size: [usize; 2],
    /// 1 or 3.
    pub channels: usize,
    /// The mean of the data by channel.
    pub mean: Vec<u8>,
}

impl<'a> Image<'a> {
    /// The bytes that are nearest to an image's values.
    pub fn of(values: &[f32], levels: &Levels, size: [usize; 2], [pixels, before]: [&'a mut Vec<u8>; 2]) -> Self {
        let channels = levels.channels();
        pixels.clear();
        for pixel in values.chunks_exact(channels) {
            pixels.extend(pixel.iter().enumerate().map(|(channel, &value)| levels.byte(channel, value)));
        }
        let mean = (0..channels).map(|channel| levels.byte(channel, 0.0)).collect();
        Self { pixels, before, size, channels, mean }
    }

    /// The values of its bytes.
    pub fn values(&self, levels: &Levels, values: &mut [f32]) {
        for (values, pixel) in values.chunks_exact_mut(self.channels).zip(self.pixels.chunks_exact(self.channels)) {
            for (channel, (value, &byte)) in values.iter_mut().zip(pixel).enumerate() {
                *value = levels.value(channel, byte);
            }
        }
    }

    /// Puts each byte through the table of its channel.
    fn look_up(&mut self, table: impl Fn(usize) -> [u8; 256]) {
        let channels = self.channels;
        for channel in 0..channels {
            let table = table(channel);
            for byte in self.pixels[channel..].iter_mut().step_by(channels) {
                *byte = table[usize::from(*byte)];
            }
        }
    }

    /// Keeps the pixels as they are for an operation that reads what it writes.
    fn keep(&mut self) {
        self.before.clone_from(self.pixels);
    }
}

/// How light a pixel is, as Pillow's `convert("L")`: of a grey one, its only byte.
#[inline(always)]
fn luma(pixel: &[u8]) -> u8 {
    match *pixel {
        [red, green, blue] => {
            let [red, green, blue] = [red, green, blue].map(u32::from);
            ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
        }
        _ => pixel[0],
    }
}
