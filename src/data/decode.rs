//! Pictures as a viewer shows them: whole, turned as their EXIF orientation says, the first frame of
//! an animation, as RGB or grey bytes of one size. What is wrong with a file is said in words that
//! follow its path.

mod chunks;
mod jpeg;
mod kind;

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

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

impl Encoded {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it is no picture that can be read, or that it is cut off.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = contents(path)?;
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
    pub fn check(path: &Path) -> Result<(), String> {
        open(path).map(drop)
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

    /// The picture with 1 or 3 channels, an alpha channel dropped, resized if need be with a triangle
    /// filter, which is antialiased where it shrinks.
    ///
    /// # Errors
    /// A file that is broken.
    pub fn pixels(&self, channels: usize, size: Option<(u32, u32)>) -> Result<Pixels, String> {
        let mut picture = DynamicImage::from_decoder(self.decoder()?).map_err(|error| damaged(&error))?;
        picture.apply_orientation(self.orientation);
        let (width, height) = size.unwrap_or((picture.width(), picture.height()));
        let same = (picture.width(), picture.height()) == (width, height);
        let bytes = match (channels, same) {
            (1, true) => picture.into_luma8().into_raw(),
            (1, false) => imageops::resize(&picture.into_luma8(), width, height, FilterType::Triangle).into_raw(),
            (_, true) => picture.into_rgb8().into_raw(),
            (_, false) => imageops::resize(&picture.into_rgb8(), width, height, FilterType::Triangle).into_raw(),
        };
        Ok(Pixels { width, height, bytes })
    }
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

/// Opens what is a file. A FIFO would be waited for without end.
fn open(path: &Path) -> Result<File, String> {
    let data = fs::metadata(path).map_err(|error| match fs::read_link(path) {
        Ok(target) => format!("is a link to `{}`, which leads nowhere: {error}", target.display()),
        Err(_) => unreadable(error),
    })?;
    if !data.is_file() {
        return Err(format!("is {}, not a picture", kind::of_file(data.file_type())));
    }
    File::open(path).map_err(unreadable)
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
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
