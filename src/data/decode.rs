//! Pictures as a viewer shows them: whole, turned as their EXIF orientation says, the first frame of
//! an animation, as RGB or grey bytes of one size. What is wrong with a file is said in words that
//! follow its path.

mod chunks;
mod jpeg;
mod kind;

use std::fs;
use std::io::{Cursor, Read};

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, GenericImageView, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Pixel};

use serde::{Deserialize, Serialize};

use super::Place;
use crate::choice::Choice;

/// The largest picture that is decoded: 100 megapixels.
const MOST_PIXELS: u64 = 100 << 20;
/// The longest file that is read.
const MOST_BYTES: u64 = 1 << 30;

/// The file of a picture, which is whole as far as its structure tells.
pub struct Encoded {
    bytes: Vec<u8>,
    format: ImageFormat,
    orientation: Orientation,
}

/// Bytes of a picture, row-major, channels last.
pub struct Pixels {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// `[height, width, channels]`, of 1 or 3 channels.
    pub bytes: Vec<u8>,
}

/// What becomes of a picture's aspect ratio where a picture gets another size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// It is that of the new size: the picture is squashed.
    #[default]
    Squash,
    /// It stays, and what is too much at two sides is cut off: Keras' `crop_to_aspect_ratio`.
    Crop,
    /// It stays, and what is wanting at two sides is black: Keras' `pad_to_aspect_ratio` with its `fill_value` of 0.
    Pad,
}

impl Choice for Fit {
    const CHOICES: &[(Self, &str, &str)] =
        &[(Self::Squash, "squash", ""), (Self::Crop, "crop", ""), (Self::Pad, "pad", "")];
}

impl Encoded {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it is no picture that can be read, or that it is cut off.
    pub fn read(place: &Place) -> Result<Self, String> {
        let bytes = contents(place)?;
        let format = kind::format(&bytes)?;
        let exif = match format {
            ImageFormat::Png => chunks::png(&bytes)?,
            ImageFormat::WebP => chunks::webp(&bytes)?,
            ImageFormat::Jpeg => jpeg::exif(&bytes)?,
            // EXIF data are a TIFF themselves.
            ImageFormat::Tiff => Some(bytes.as_slice()),
            // Their decoders tell of a file that ends too soon.
            _ => None,
        };
        // Some programs write the head of JPEG's segment into the chunks of other formats.
        let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
        let orientation = exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
        Ok(Self { bytes, format, orientation })
    }

    /// Whether a file can be opened, whatever it holds.
    ///
    /// # Errors
    /// Why not.
    pub fn check(place: &Place) -> Result<(), String> {
        open(place).map(drop)
    }

    fn decoder(&self) -> Result<impl ImageDecoder + '_, String> {
        let reader = ImageReader::with_format(Cursor::new(self.bytes.as_slice()), self.format);
        let decoder = reader.into_decoder().map_err(|error| damaged(&error))?;
        let (width, height) = decoder.dimensions();
        match u64::from(width) * u64::from(height) {
            0 => Err(format!("has no pixels: it is {width}x{height}")),
            pixels if pixels > MOST_PIXELS => {
                Err(format!("is {width}x{height}; pictures of at most {} megapixels are read", MOST_PIXELS >> 20))
            }
            _ => Ok(decoder),
        }
    }

    /// Width and height as shown.
    ///
    /// # Errors
    /// A broken head, or a picture that is too large.
    pub fn size(&self) -> Result<(u32, u32), String> {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        let (width, height) = self.decoder()?.dimensions();
        Ok(match self.orientation {
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (height, width),
            _ => (width, height),
        })
    }

    /// "JPEG", "PNG".
    pub fn format(&self) -> &'static str {
        match self.format {
            ImageFormat::Png => "PNG",
            ImageFormat::Jpeg => "JPEG",
            ImageFormat::WebP => "WebP",
            ImageFormat::Bmp => "BMP",
            ImageFormat::Gif => "GIF",
            _ => "TIFF",
        }
    }

    /// The picture with 1 or 3 channels, an alpha channel dropped, resized if need be with a triangle
    /// filter, which is antialiased where it shrinks.
    ///
    /// # Errors
    /// A file that is broken.
    pub fn pixels(&self, channels: usize, size: Option<(u32, u32)>, fit: Fit) -> Result<Pixels, String> {
        let mut picture = DynamicImage::from_decoder(self.decoder()?).map_err(|error| damaged(&error))?;
        picture.apply_orientation(self.orientation);
        let (width, height) = size.unwrap_or((picture.width(), picture.height()));
        let bytes = match channels {
            1 => fitted(picture.into_luma8(), (width, height), fit),
            _ => fitted(picture.into_rgb8(), (width, height), fit),
        };
        Ok(Pixels { width, height, bytes })
    }
}

/// The bytes of a picture in another size.
fn fitted<P: Pixel<Subpixel = u8> + 'static>(
    picture: ImageBuffer<P, Vec<u8>>,
    (width, height): (u32, u32),
    fit: Fit,
) -> Vec<u8> {
    let own = picture.dimensions();
    if own == (width, height) {
        return picture.into_raw();
    }
    let resized = |width, height| imageops::resize(&picture, width, height, FilterType::Triangle);
    match fit {
        Fit::Squash => resized(width, height).into_raw(),
        Fit::Crop => {
            let (wide, high) = inside(own, (width, height));
            let part = picture.view((own.0 - wide) / 2, (own.1 - high) / 2, wide, high);
            imageops::resize(&part.to_image(), width, height, FilterType::Triangle).into_raw()
        }
        Fit::Pad => {
            let (wide, high) = inside((width, height), own);
            let mut whole = ImageBuffer::new(width, height);
            let at = (i64::from((width - wide) / 2), i64::from((height - high) / 2));
            imageops::replace(&mut whole, &resized(wide, high), at.0, at.1);
            whole.into_raw()
        }
    }
}

/// The largest size of an aspect ratio that fits inside of another size.
fn inside((width, height): (u32, u32), ratio: (u32, u32)) -> (u32, u32) {
    let side = |other: u32, part: u32, whole: u32| {
        (f64::from(other) * f64::from(part) / f64::from(whole)).round().max(1.0) as u32
    };
    let wide = side(height, ratio.0, ratio.1);
    match wide <= width {
        true => (wide, height),
        false => (width, side(width, ratio.1, ratio.0).min(height)),
    }
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

/// Opens what is a file. A FIFO would be waited for without end.
fn open(place: &Place) -> Result<impl Read + use<>, String> {
    let data = place.metadata().map_err(|error| match fs::read_link(&place.path) {
        Ok(target) => format!("is a link to `{}`, which leads nowhere: {error}", target.display()),
        Err(_) => unreadable(error),
    })?;
    if !data.is_file() {
        return Err(format!("is {}, not a picture", kind::of_file(data.file_type())));
    }
    place.open().map_err(unreadable)
}

fn contents(place: &Place) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    open(place)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 {
        0 => Err("is empty".into()),
        1..=MOST_BYTES => Ok(bytes),
        _ => Err(format!("is longer than {} MiB", MOST_BYTES >> 20)),
    }
}

/// How a file that ends too soon is told.
fn cut_off() -> String {
    "is cut off: the file ends before the picture does".into()
}

/// A decoder's error on one line.
fn damaged(error: &image::ImageError) -> String {
    let text = match error {
        image::ImageError::Decoding(error) => {
            std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
        }
        other => other.to_string(),
    };
    format!("is damaged: {}", text.trim_matches('"').split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests;
