//! Sums of gradients over micro-batches; see [`Accumulate`](crate::graph::ops::Accumulate).

/// Adds a gradient to the sum.
///
/// # Panics
/// When the two have not the same length.
pub fn add(gradient: &[f32], sum: &mut [f32]) {
    assert_eq!(gradient.len(), sum.len());
    for (sum, gradient) in sum.iter_mut().zip(gradient) {
        *sum += gradient;
    }
}

/// The `mean`: `share` times the sum with the last gradient. The sum becomes 0.
///
/// # Panics
/// When the three have not the same length.
pub fn end(share: f32, gradient: &[f32], sum: &mut [f32], mean: &mut [f32]) {
    assert!(gradient.len() == sum.len() && mean.len() == sum.len(), "tensors of one length");
    for ((mean, sum), gradient) in mean.iter_mut().zip(sum).zip(gradient) {
        *mean = (*sum + gradient) * share;
        *sum = 0.0;
    }
}
