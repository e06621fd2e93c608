use super::{
    Draw, INTERPOLATION_NEAREST, Operating, Transform, TransformKind, TransformOption,
    bytes::{
        Applied, Mover, auto_contrast, brightness, color, contrast, equalize, invert, posterize, sharpness, solarize,
    },
};

/// Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", 2019.
pub const KIND: TransformKind = TransformKind {
    name: "auto_augment",
    meaning: "applies one of 25 pairs of operations on colours and positions, which were found by a search on CIFAR-10",
    source: "`torchvision.transforms.AutoAugment(AutoAugmentPolicy.CIFAR10)`, with grey outside",
    options: &[TransformOption::word("policy", &["cifar10"], "cifar10", "the table of pairs"), INTERPOLATION_NEAREST],
    build: |options| {
        let mover = Mover { bilinear: options.word("interpolation") == "bilinear", fill: Some(128) };
        Ok(Transform::Operating(Box::new(AutoAugment { mover })))
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    AutoContrast,
    Brightness,
    Color,
    Contrast,
    Equalize,
    Invert,
    Posterize,
    Rotate,
    Sharpness,
    ShearY,
    Solarize,
    TranslateX,
    TranslateY,
}

use Kind::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Invert, Posterize, Rotate, Sharpness, ShearY, Solarize,
    TranslateX, TranslateY,
};

/// An operation, how likely it is applied, and its strength in ninths.
type Step = (Kind, f32, u32);

#[rustfmt::skip] // A line each.
const CIFAR10: [[Step; 2]; 25] = [
    [(Invert, 0.1, 0), (Contrast, 0.2, 6)],
    [(Rotate, 0.7, 2), (TranslateX, 0.3, 9)],
    [(Sharpness, 0.8, 1), (Sharpness, 0.9, 3)],
    [(ShearY, 0.5, 8), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.5, 0), (Equalize, 0.9, 0)],
    [(ShearY, 0.2, 7), (Posterize, 0.3, 7)],
    [(Color, 0.4, 3), (Brightness, 0.6, 7)],
    [(Sharpness, 0.3, 9), (Brightness, 0.7, 9)],
    [(Equalize, 0.6, 0), (Equalize, 0.5, 0)],
    [(Contrast, 0.6, 7), (Sharpness, 0.6, 5)],
    [(Color, 0.7, 7), (TranslateX, 0.5, 8)],
    [(Equalize, 0.3, 0), (AutoContrast, 0.4, 0)],
    [(TranslateY, 0.4, 3), (Sharpness, 0.2, 6)],
    [(Brightness, 0.9, 6), (Color, 0.2, 8)],
    [(Solarize, 0.5, 2), (Invert, 0.0, 0)],
    [(Equalize, 0.2, 0), (AutoContrast, 0.6, 0)],
    [(Equalize, 0.2, 0), (Equalize, 0.6, 0)],
    [(Color, 0.9, 9), (Equalize, 0.6, 0)],
    [(AutoContrast, 0.8, 0), (Solarize, 0.2, 8)],
    [(Brightness, 0.1, 3), (Color, 0.7, 0)],
    [(Solarize, 0.4, 5), (AutoContrast, 0.9, 0)],
    [(TranslateY, 0.9, 9), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.9, 0), (Solarize, 0.8, 3)],
    [(Equalize, 0.8, 0), (Invert, 0.1, 0)],
    [(TranslateY, 0.7, 9), (AutoContrast, 0.9, 0)],
];

#[derive(Debug)]
struct AutoAugment {
    mover: Mover,
}

impl AutoAugment {
    fn operation(&self, kind: Kind, ninths: u32, random: &mut Draw, [height, width]: [usize; 2]) -> Applied {
        let share = f64::from(ninths) / 9.0;
        let mut signed = |largest: f64| if random.coin() { -largest * share } else { largest * share };
        let far = 150.0 / 331.0;
        match kind {
            AutoContrast => auto_contrast(),
            Brightness => brightness((1.0 + signed(0.9)) as f32),
            Color => color((1.0 + signed(0.9)) as f32),
            Contrast => contrast((1.0 + signed(0.9)) as f32),
            Equalize => equalize(),
            Invert => invert(),
            Posterize => posterize(8 - (4.0 * share).round_ties_even() as u32),
            Rotate => self.mover.rotate(signed(30.0), [height, width]),
            Sharpness => sharpness((1.0 + signed(0.9)) as f32),
            ShearY => self.mover.shear_y(signed(0.3)),
            Solarize => solarize((255.0 * (1.0 - share)).ceil() as u32),
            // torchvision moves by whole pixels.
            TranslateX => self.mover.translate_x((signed(far) * width as f64).trunc()),
            TranslateY => self.mover.translate_y((signed(far) * height as f64).trunc()),
        }
    }
}

impl Operating for AutoAugment {
    fn most(&self) -> usize {
        2
    }

    fn draw(&self, random: &mut Draw, size: [usize; 2]) -> Vec<Applied> {
        let pair = CIFAR10[random.below(CIFAR10.len() as u32) as usize];
        let mut applied = Vec::with_capacity(2);
        for (kind, probability, ninths) in pair {
            if random.chance(probability) {
                applied.push(self.operation(kind, ninths, random, size));
            }
        }
        applied
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::operations_by;
    use super::*;

    #[test]
    fn operations_are_as_likely_as_in_the_table() {
        let mut expected = std::collections::HashMap::new();
        for (kind, probability, _) in CIFAR10.as_flattened() {
            *expected.entry(*kind as u32).or_insert(0.0) += f64::from(*probability) / 25.0;
        }
        let mut counts = std::collections::HashMap::new();
        for operation in operations_by("auto_augment", [32, 32]).take(20_000).flatten() {
            *counts.entry(operation.name()).or_insert(0.0) += 1.0 / 20_000.0;
        }
        for (name, kinds) in [
            ("auto_contrast", &[AutoContrast][..]),
            ("brightness", &[Brightness]),
            ("color", &[Color]),
            ("contrast", &[Contrast]),
            ("equalize", &[Equalize]),
            ("invert", &[Invert]),
            ("posterize", &[Posterize]),
            ("sharpness", &[Sharpness]),
            ("solarize", &[Solarize]),
            ("move_nearest", &[Rotate, ShearY, TranslateX, TranslateY]),
        ] {
            let expected: f64 = kinds.iter().map(|kind| expected[&(*kind as u32)]).sum();
            let found: f64 = counts.remove(name).unwrap_or_default();
            assert!((found - expected).abs() < 0.012, "{name}: {found} {expected}");
        }
        assert_eq!(counts.into_keys().collect::<Vec<_>>(), ["identity"]);
    }

    #[test]
    fn arguments_are_those_of_torchvision() {
        let policy = AutoAugment { mover: Mover { bilinear: false, fill: Some(128) } };
        let mut random = Draw::new(super::super::Draws { seed: 1, epoch: 1, repeats: 1 }, [0, 0], 1, 0);
        let mut of = |kind, ninths| policy.operation(kind, ninths, &mut random, [32, 64]);
        assert_eq!([0, 4, 7, 9].map(|ninths| of(Posterize, ninths)), [8, 6, 5, 4].map(posterize));
        assert_eq!([0, 2, 9].map(|ninths| of(Solarize, ninths)), [255, 199, 0].map(solarize));
        let by = |one: Applied, expected: [Applied; 2]| assert!(expected.contains(&one), "{one:?} {expected:?}");
        by(of(TranslateX, 9), [29.0, -29.0].map(|by| policy.mover.translate_x(by)));
        by(of(TranslateY, 3), [4.0, -4.0].map(|by| policy.mover.translate_y(by)));
        by(of(Color, 0), [color(1.0); 2]);
        by(of(Rotate, 9), [30.0, -30.0].map(|by| policy.mover.rotate(by, [32, 64])));
    }
}
