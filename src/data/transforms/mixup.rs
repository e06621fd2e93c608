use super::{Draw, Mix, Mixing, MixingOptions, Transform, TransformKind, TransformOption};

/// Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018.
pub const KIND: TransformKind = TransformKind {
    name: "mixup",
    meaning: "blends every image of a batch and its label with those of another, all by one share",
    source: "`timm.data.Mixup(mixup_alpha)` in its mode `batch`",
    options: &[
        TransformOption::number("alpha", [0.01, 100.0], 0.8, "the share of an image is drawn from Beta(alpha, alpha)"),
        MixingOptions::PROBABILITY,
        MixingOptions::UNTIL,
    ],
    build: |options| {
        Ok(Transform::Mixing(MixingOptions::of(options), Box::new(Mixup { alpha: options.number("alpha") })))
    },
};

#[derive(Debug)]
struct Mixup {
    alpha: f32,
}

impl Mixing for Mixup {
    fn draw(&self, random: &mut Draw, _: [usize; 2]) -> Mix {
        let share = random.beta(self.alpha);
        Mix { share, rectangle: [0; 4], weight: share }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mixes_by;

    #[test]
    fn shares_are_of_a_beta_distribution() {
        for (alpha, variance) in [(0.2_f32, 1.0 / (4.0 * 1.4)), (1.0, 1.0 / 12.0), (8.0, 1.0 / (4.0 * 17.0))] {
            let shares: Vec<f64> = mixes_by(&format!("[mixup: {alpha}]"), [4, 4], 0)
                .take(8000)
                .map(|mix| {
                    assert_eq!((mix.weight, mix.rectangle), (mix.share, [0; 4]));
                    f64::from(mix.share)
                })
                .collect();
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
            let mean = shares.iter().sum::<f64>() / 8000.0;
            let found = shares.iter().map(|share| (share - 0.5).powi(2)).sum::<f64>() / 8000.0;
            assert!((mean - 0.5).abs() < 0.015, "{alpha}: {mean}");
            assert!((found / variance - 1.0).abs() < 0.06, "{alpha}: {found} {variance}");
        }
    }
}
