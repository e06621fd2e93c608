//! Datasets, the input pipeline, and the loader that runs it ahead of training.

use std::sync::Arc;

/// Images of one split, all of one size, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// `[count, height, width, channels]`, row-major; shared, never copied by the loader.
    pub pixels: Arc<Vec<u8>>,
    /// `[count]`, class indices.
    pub labels: Arc<Vec<u32>>,
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True when the split holds no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// A labelled data set in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    pub name: String,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub class_names: Vec<String>,
    pub train: Split,
    pub test: Split,
}
