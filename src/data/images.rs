//! Images with their labels: in memory, or in files that are decoded when they are needed.

use std::{ops::Range, sync::Arc};

use super::{
    DataError, Place,
    decode::{Encoded, Fit},
    names::shown,
};

/// Images of one split, all of one size, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Shared, never copied by the loader.
    pub images: Images,
    /// `[count]`, class indices.
    pub labels: Arc<Vec<u32>>,
}

/// Where the bytes of images are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Images {
    /// `[count, height, width, channels]`, row-major.
    Memory(Arc<Vec<u8>>),
    /// In files, or parts of files, one for each.
    Files(Arc<Vec<Place>>, Decoding),
}

/// What becomes of a picture that is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoding {
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Width and height.
    pub size: (u32, u32),
    /// What becomes of its aspect ratio.
    pub fit: Fit,
}

impl Decoding {
    /// Of an image.
    pub fn bytes(&self) -> usize {
        self.size.0 as usize * self.size.1 as usize * self.channels
    }

    /// The bytes of a picture, `[height, width, channels]`.
    ///
    /// # Errors
    /// Why it cannot be read, in words that follow its place.
    pub fn read(&self, place: &Place) -> Result<Vec<u8>, String> {
        let pixels = Encoded::read(place)?.pixels(self.channels, Some(self.size), self.fit)?;
        Ok(pixels.bytes)
    }
}

impl Split {
    /// A split of `pixels` `[count, height, width, channels]` and `labels` `[count]`.
    pub fn new(pixels: Vec<u8>, labels: Vec<u32>) -> Self {
        Self { images: Images::Memory(Arc::new(pixels)), labels: Arc::new(labels) }
    }

    /// A split of pictures and `labels` `[count]`, which are decoded when they are needed.
    pub fn of_files(places: Vec<Place>, labels: Vec<u32>, decoding: Decoding) -> Self {
        Self { images: Images::Files(Arc::new(places), decoding), labels: Arc::new(labels) }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True when the split holds no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// `[count, height, width, channels]` where they are in memory.
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.images {
            Images::Memory(pixels) => Some(pixels),
            Images::Files(..) => None,
        }
    }

    /// One image `[height, width, channels]` of so many bytes; `decoded` keeps it, if it has to be decoded.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    ///
    /// # Panics
    /// On an index of no image.
    pub fn image<'a>(&'a self, index: usize, bytes: usize, decoded: &'a mut Vec<u8>) -> Result<&'a [u8], DataError> {
        match &self.images {
            Images::Memory(pixels) => Ok(&pixels[index * bytes..][..bytes]),
            Images::Files(places, decoding) => {
                *decoded = decoding.read(&places[index]).map_err(|reason| unreadable(&places[index], reason))?;
                Ok(decoded)
            }
        }
    }

    /// At most so many of the first images.
    pub fn first(&self, limit: Option<usize>) -> Self {
        self.part(0..limit.unwrap_or(usize::MAX).min(self.len()))
    }

    /// Images of `range`, copied unless that is all of them.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        if range == (0..self.len()) {
            return self.clone();
        }
        let images = match &self.images {
            Images::Memory(pixels) => {
                let image = pixels.len() / self.len().max(1);
                Images::Memory(Arc::new(pixels[range.start * image..range.end * image].to_vec()))
            }
            Images::Files(paths, decoding) => Images::Files(Arc::new(paths[range.clone()].to_vec()), *decoding),
        };
        Self { images, labels: Arc::new(self.labels[range].to_vec()) }
    }
}

/// The error of a picture that was there when the training began.
fn unreadable(place: &Place, reason: String) -> DataError {
    let message = match &place.part {
        Some(part) => format!("`{}` {reason}", shown(part.name.as_ref())),
        None => reason,
    };
    DataError::Folder {
        path: place.path.clone(),
        message,
        help:
            "pictures are decoded when they are needed (`data.in_memory`): once this one is as it was, the run can be \
               continued"
                .into(),
    }
}
