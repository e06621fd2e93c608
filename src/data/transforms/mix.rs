//! Images mixed of two of a batch: each with the one at its place when the batch is read backwards, as timm does.

/// What is drawn for a batch that is mixed: `share` of each image and the rest of its partner, or, where `share` is 1, a
/// rectangle of the partner's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// From 0 to 1.
    pub share: f32,
    /// Top, left, bottom and right, in pixels; the last two are outside.
    pub rectangle: [u32; 4],
    /// The share of an image's own label in its target, from 0 to 1.
    pub weight: f32,
}

/// The other label of an image that is mixed of two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixed {
    /// A class index.
    pub label: u32,
    /// The share of the image's own label, from 0 to 1.
    pub weight: f32,
}

impl Mix {
    /// The batch as it is.
    pub const NONE: Self = Self { share: 1.0, rectangle: [0; 4], weight: 1.0 };

    /// Words of a row.
    pub const WORDS: usize = 6;

    /// As a device reads it.
    pub fn words(self) -> [u32; Self::WORDS] {
        let [top, left, bottom, right] = self.rectangle;
        [self.share.to_bits(), top, left, bottom, right, self.weight.to_bits()]
    }

    /// Mixes a batch of images `[batch, height, width, channels]` and their labels in place. Of two labels the one with
    /// the larger share stands first: it is the one that accuracy counts. An image that is its own partner stays as it is.
    pub fn apply(self, images: &mut [f32], [width, channels]: [usize; 2], labels: &mut [u32], mixed: &mut Vec<Mixed>) {
        mixed.clear();
        let count = labels.len();
        let Some(size) = images.len().checked_div(count) else { return };
        let (front, back) = images.split_at_mut(count / 2 * size);
        let partners = back[count % 2 * size..].chunks_exact_mut(size).rev();
        for (image, partner) in front.chunks_exact_mut(size).zip(partners) {
            self.apply_to(image, partner, [width, channels]);
        }
        let first = self.weight >= 0.5;
        let weight = if first { self.weight } else { 1.0 - self.weight };
        for (at, &label) in labels.iter().enumerate() {
            let other = labels[count - 1 - at];
            mixed.push(Mixed { label: if first { other } else { label }, weight });
        }
        if !first {
            labels.reverse();
        }
    }

    /// Mixes two images with one another.
    fn apply_to(self, one: &mut [f32], other: &mut [f32], [width, channels]: [usize; 2]) {
        if self.share == 1.0 {
            let [top, left, bottom, right] = self.rectangle.map(|edge| edge as usize);
            for y in top..bottom {
                let row = (y * width + left) * channels..(y * width + right) * channels;
                one[row.clone()].swap_with_slice(&mut other[row]);
            }
            return;
        }
        let (share, rest) = (self.share, 1.0 - self.share);
        for (one, other) in one.iter_mut().zip(other) {
            (*one, *other) = (*one * share + *other * rest, *other * share + *one * rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(mix: Mix, count: usize) -> (Vec<f32>, Vec<u32>, Vec<Mixed>) {
        // Two by two pixels of one channel.
        let mut images: Vec<f32> = (0..4 * count).map(|value| value as f32).collect();
        let (mut labels, mut others) = ((10..10 + count as u32).collect::<Vec<_>>(), Vec::new());
        mix.apply(&mut images, [2, 1], &mut labels, &mut others);
        (images, labels, others)
    }

    #[test]
    fn each_is_mixed_with_its_place_from_the_end() {
        let blend = Mix { share: 0.75, rectangle: [0; 4], weight: 0.75 };
        let (images, labels, others) = mixed(blend, 3);
        assert_eq!(images, [2.0, 3.0, 4.0, 5.0, 4.0, 5.0, 6.0, 7.0, 6.0, 7.0, 8.0, 9.0]);
        assert_eq!(labels, [10, 11, 12]);
        assert_eq!(others, [12, 11, 10].map(|label| Mixed { label, weight: 0.75 }));
        let cut = Mix { share: 1.0, rectangle: [0, 1, 2, 2], weight: 0.5 };
        let (images, ..) = mixed(cut, 4);
        assert_eq!(images[..8], [0.0, 13.0, 2.0, 15.0, 4.0, 9.0, 6.0, 11.0]);
        assert_eq!(images[8..], [8.0, 5.0, 10.0, 7.0, 12.0, 1.0, 14.0, 3.0]);
    }

    #[test]
    fn the_larger_share_stands_first() {
        let (_, labels, others) = mixed(Mix { share: 0.25, rectangle: [0; 4], weight: 0.25 }, 3);
        assert_eq!(labels, [12, 11, 10]);
        assert_eq!(others, [10, 11, 12].map(|label| Mixed { label, weight: 0.75 }));
    }

    #[test]
    fn one_image_stays_as_it_is() {
        let (images, labels, others) = mixed(Mix { share: 0.3, rectangle: [0; 4], weight: 0.3 }, 1);
        assert_eq!((images, labels), (vec![0.0, 1.0, 2.0, 3.0], vec![10]));
        assert_eq!(others[0].label, 10);
        assert!(mixed(Mix::NONE, 0).1.is_empty());
        assert_eq!(mixed(Mix::NONE, 5).0, (0..20).map(|value| value as f32).collect::<Vec<_>>());
    }
}
