/// A batch's share of an epoch's loss: Keras weighs a batch's mean by its images, so that a partial
/// last batch counts for what it holds.
pub fn weighted(mean: f32, images: usize) -> f64 {
    f64::from(mean) * images as f64
}
