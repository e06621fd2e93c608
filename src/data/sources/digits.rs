//! `digits`: 8x8 handwritten digits, part of the binary.
//!
//! E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
//! Repository, 1998, doi 10.24432/C50P49, CC BY 4.0; see `data/digits/README.md`.

use std::path::Path;

use super::super::{DataError, DataOptions, Dataset, Spec, Split};
use super::Source;
use crate::model::ImageSpec;

static RECORDS: &[u8] = include_bytes!("../../../data/digits/optdigits.bin");

const SIDE: usize = 8;
const RECORD: usize = 1 + SIDE * SIDE;
/// Ink runs from 0 to 16 in the file.
const FULL_INK: u32 = 16;
/// Every fifth record tests: 1,438 train, 359 test. The source's order mixes classes, but goes from
/// writer to writer; so both splits have all writers.
const FOLD: usize = 5;
const TEST: usize = RECORDS.len() / RECORD / FOLD;

pub struct Digits;

impl Source for Digits {
    fn name(&self) -> &'static str {
        "digits"
    }

    fn about(&self) -> &'static str {
        "1,797 handwritten digits 8x8, built in"
    }

    fn published(&self) -> Option<ImageSpec> {
        Some(ImageSpec { height: SIDE, width: SIDE, channels: 1, num_classes: 10 })
    }

    fn describe(&self, _: &DataOptions) -> Result<Spec, DataError> {
        let count = RECORDS.len() / RECORD;
        Ok(Spec {
            name: self.name().into(),
            height: SIDE,
            width: SIDE,
            channels: 1,
            num_classes: 10,
            class_names: (0..10).map(|digit| digit.to_string()).collect(),
            train: count - TEST,
            test: TEST,
            place: None,
            validation: None,
            streams: false,
            notes: Vec::new(),
        })
    }

    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        let spec = self.describe(options)?;
        let tests = |index: usize| index % FOLD == FOLD - 1;
        Ok(spec.with(split(|index| !tests(index))?, split(tests)?))
    }
}

/// The chosen records as a split; ink 0..=16 becomes 0..=255, rounded to nearest.
fn split(chosen: impl Fn(usize) -> bool) -> Result<Split, DataError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (index, record) in RECORDS.chunks_exact(RECORD).enumerate().filter(|(index, _)| chosen(*index)) {
        if record[0] > 9 || record[1..].iter().any(|&ink| u32::from(ink) > FULL_INK) {
            let path = Path::new("data/digits/optdigits.bin");
            return Err(DataError::corrupt(path, index * RECORD, "a digit 0-9 and 64 values 0-16", "others"));
        }
        labels.push(u32::from(record[0]));
        pixels.extend(record[1..].iter().map(|&ink| ((u32::from(ink) * 255 + FULL_INK / 2) / FULL_INK) as u8));
    }
    Ok(Split::new(pixels, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_used_once_and_scaled() {
        let set = Digits.load(&DataOptions::default()).unwrap();
        assert_eq!((set.train.len(), set.test.len()), (1438, 359));
        assert_eq!(set.train.in_memory().unwrap().len(), 1438 * 64);
        assert_eq!(set.train.in_memory().unwrap().iter().max(), Some(&255));
        assert_eq!(set.train.labels[..5], [0, 1, 2, 3, 5]);
        for digit in 0..10 {
            assert!(set.test.labels.iter().filter(|&&label| label == digit).count() >= 20);
        }
    }
}
