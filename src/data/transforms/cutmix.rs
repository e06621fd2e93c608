use super::{Draw, Mix, Mixing, MixingOptions, Transform, TransformKind, TransformOption};

/// Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", 2019.
pub const KIND: TransformKind = TransformKind {
    name: "cutmix",
    meaning: "puts a rectangle of another image into every image of a batch, all at one place, and mixes labels by area",
    source: "`timm.data.Mixup(cutmix_alpha)` in its mode `batch` (a side of an odd number of pixels is one shorter, as in its \
             authors' code; timm 1.0.31 has all of it)",
    options: &[
        TransformOption::number("alpha", [0.01, 100.0], 1.0, "the area that stays is drawn from Beta(alpha, alpha)"),
        MixingOptions::PROBABILITY,
        MixingOptions::UNTIL,
    ],
    build: |options| {
        Ok(Transform::Mixing(MixingOptions::of(options), Box::new(Cutmix { alpha: options.number("alpha") })))
    },
};

#[derive(Debug)]
struct Cutmix {
    alpha: f32,
}

impl Mixing for Cutmix {
    fn draw(&self, random: &mut Draw, [height, width]: [usize; 2]) -> Mix {
        let ratio = (1.0 - random.beta(self.alpha)).sqrt();
        let mut edges = |size: usize| {
            let half = (size as f32 * ratio) as u32 / 2;
            let centre = random.below(size as u32);
            (centre.saturating_sub(half), (centre + half).min(size as u32))
        };
        let ((top, bottom), (left, right)) = (edges(height), edges(width));
        let area = ((bottom - top) * (right - left)) as f32;
        // What is cut off at the edges counts for nothing.
        Mix { share: 1.0, rectangle: [top, left, bottom, right], weight: 1.0 - area / (height * width) as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mixes_by;

    #[test]
    fn weights_are_areas_and_rectangles_lie_anywhere() {
        let mixes: Vec<_> = mixes_by("[cutmix]", [16, 24], 0).take(4000).collect();
        let mut seen = [[0_u32; 24]; 16];
        for mix in &mixes {
            let [top, left, bottom, right] = mix.rectangle;
            assert!(top <= bottom && bottom <= 16 && left <= right && right <= 24 && mix.share == 1.0);
            assert_eq!(mix.weight, 1.0 - ((bottom - top) * (right - left)) as f32 / 384.0);
            (top..bottom).for_each(|y| (left..right).for_each(|x| seen[y as usize][x as usize] += 1));
        }
        let mean = mixes.iter().map(|mix| f64::from(mix.weight)).sum::<f64>() / 4000.0;
        // A half, but for what is cut off at the edges.
        assert!((0.55..0.75).contains(&mean), "{mean}");
        assert!(seen.as_flattened().iter().all(|&count| count > 400), "{seen:?}");
    }
}
