//! Taking parts of a data set: fewer images for quick runs, and the validation split.

use super::{DataError, Dataset, Spec, Split};

impl Spec {
    /// Numbers of images to train and to validate on, as [`Dataset::limit`] and
    /// [`Dataset::split_validation`] leave them.
    ///
    /// # Errors
    /// As [`Dataset::split_validation`].
    pub fn split(&self, train_limit: Option<usize>, fraction: f64) -> Result<(usize, usize), DataError> {
        let images = train_limit.map_or(self.train, |limit| limit.min(self.train));
        if let Some(validation) = self.validation {
            return Ok((images, validation));
        }
        let at = training(images, fraction)?;
        Ok((at, images - at))
    }
}

impl Dataset {
    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.class_names.len()
    }

    /// Bytes of one image.
    pub fn image_bytes(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Keeps the first `train` and `test` images, for quick runs. Every source puts its classes in
    /// mixed order, so the first images are a fair sample.
    pub fn limit(&mut self, train: Option<usize>, test: Option<usize>) {
        for (split, limit) in [(&mut self.train, train), (&mut self.test, test)] {
            *split = split.first(limit);
        }
    }

    /// Images to train and to validate on. Where the set has images to validate on, those; otherwise the
    /// training images without, and only, their last `fraction`: Keras' `validation_split`, which takes `floor(count * (1 - fraction))` training images, in the order of the arrays,
    /// before any shuffling (Keras `data_adapter_utils.train_validation_split`).
    ///
    /// # Errors
    /// A fraction outside `[0, 1)`, or one above 0 that leaves either part empty.
    pub fn split_validation(&self, fraction: f64) -> Result<(Split, Split), DataError> {
        if let Some(validation) = &self.validation {
            return Ok((self.train.clone(), validation.clone()));
        }
        let count = self.train.len();
        let at = training(count, fraction)?;
        Ok((self.train.part(0..at), self.train.part(at..count)))
    }
}

/// How many of `count` images are left to train on when the last `fraction` validates.
///
/// # Errors
/// As [`Dataset::split_validation`].
fn training(count: usize, fraction: f64) -> Result<usize, DataError> {
    let at = (count as f64 * (1.0 - fraction)).floor() as usize;
    if !(0.0..1.0).contains(&fraction) {
        return Err(DataError::Invalid {
            message: format!("validation split {fraction} is not in [0, 1)"),
            help: "it is the fraction of the training images that validate, for example 0.1".into(),
        });
    }
    if fraction > 0.0 && (at == 0 || at == count) {
        return Err(DataError::Invalid {
            message: format!(
                "validation split {fraction} of {count} images leaves {at} to train on and {} to validate",
                count - at
            ),
            help: "use more images or another fraction".into(),
        });
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::super::{DataOptions, load};

    #[test]
    fn the_last_part_validates() {
        let mut set = load("digits", &DataOptions::default()).unwrap();
        set.limit(Some(15), Some(3));
        let (train, validation) = set.split_validation(0.1).unwrap();
        // floor(15 * 0.9) = 13
        assert_eq!((train.len(), validation.len(), set.test.len()), (13, 2, 3));
        assert_eq!(validation.labels[..], set.train.labels[13..]);
        assert_eq!(validation.in_memory().unwrap(), &set.train.in_memory().unwrap()[13 * 64..]);
        assert_eq!(set.split_validation(0.0).unwrap().1.len(), 0);
        for bad in [-0.1, 1.0, f64::NAN, 0.99] {
            assert!(set.split_validation(bad).is_err(), "{bad}");
        }
    }
}
