//! The order in which an epoch visits its images.

use crate::random::{Philox, Stream};

/// A permutation of `0..count`: Fisher–Yates (Durstenfeld's form), drawing for position `i` from
/// Philox counter `(i, 0, epoch, 0)` of the shuffle stream. The same for any number of threads.
pub fn shuffled(count: usize, seed: u64, epoch: u32) -> Vec<u32> {
    let mut order = Vec::new();
    shuffle_into(&mut order, count, seed, epoch);
    order
}

/// [`shuffled`] into a vector that keeps its capacity.
pub fn shuffle_into(order: &mut Vec<u32>, count: usize, seed: u64, epoch: u32) {
    order.clear();
    order.extend(0..count as u32);
    let philox = Philox::new(seed, Stream::Shuffle);
    for i in (1..count).rev() {
        let words = philox.block([i as u32, 0, epoch, 0]);
        let word = u64::from(words[1]) << 32 | u64::from(words[0]);
        // The upper half of a 64-bit multiply maps a word to 0..=i with a bias below 2^-32.
        let j = (u128::from(word) * (i as u128 + 1)) >> 64;
        order.swap(i, j as usize);
    }
}

/// Each of the first images `repeats` times in a row, as many in all as before: what timm's `RepeatAugSampler` makes of
/// an epoch's permutation for one process (without its rounding to 256), after Hoffer et al., "Augment Your Batch", 2020. The
/// others are left to another epoch, whose permutation begins with others.
pub fn repeated(mut order: Vec<u32>, repeats: u32) -> Vec<u32> {
    // From the end: an image is read before its place is written to.
    for at in (0..order.len()).rev() {
        order[at] = order[at / repeats as usize];
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_images_stand_in_a_row() {
        assert_eq!(repeated(vec![4, 2, 0, 1, 3], 1), [4, 2, 0, 1, 3]);
        assert_eq!(repeated(vec![4, 2, 0, 1, 3], 2), [4, 4, 2, 2, 0]);
        assert_eq!(repeated(vec![4, 2, 0, 1, 3], 9), [4; 5]);
        assert!(repeated(vec![], 3).is_empty());
    }

    #[test]
    fn a_permutation_that_depends_on_seed_and_epoch() {
        let order = shuffled(1000, 7, 3);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
        assert_eq!(order, shuffled(1000, 7, 3));
        assert_ne!(order, shuffled(1000, 7, 4));
        assert_ne!(order, shuffled(1000, 8, 3));
        assert!(shuffled(0, 1, 1).is_empty());
        assert_eq!(shuffled(1, 1, 1), [0]);
    }

    /// Every element lands everywhere equally often: chi-squared over 5x5 cells, 16 degrees of
    /// freedom, 99.9% quantile 39.3.
    #[test]
    fn positions_are_uniform() {
        let mut seen = [[0f64; 5]; 5];
        let epochs = 5000;
        for epoch in 0..epochs {
            for (position, &element) in shuffled(5, 1, epoch).iter().enumerate() {
                seen[position][element as usize] += 1.0;
            }
        }
        let expected = f64::from(epochs) / 5.0;
        let chi: f64 = seen.iter().flatten().map(|count| (count - expected).powi(2) / expected).sum();
        assert!(chi < 39.3, "{chi}");
    }
}
