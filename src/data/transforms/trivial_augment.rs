use super::{
    Draw, INTERPOLATION_NEAREST, Operating, Transform, TransformKind,
    bytes::{Applied, Mover, auto_contrast, brightness, color, contrast, equalize, posterize, sharpness, solarize},
};

/// Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021, with its wide ranges.
pub const KIND: TransformKind = TransformKind {
    name: "trivial_augment",
    meaning: "applies one of fourteen operations on colours and positions, at any strength",
    source: "`torchvision.transforms.TrivialAugmentWide`",
    options: &[INTERPOLATION_NEAREST],
    build: |options| {
        let mover = Mover { bilinear: options.word("interpolation") == "bilinear", fill: Some(0) };
        Ok(Transform::Operating(Box::new(TrivialAugment { mover })))
    },
};

/// Strengths are in so many even steps.
const LEVELS: u32 = 31;

const OPERATIONS: u32 = 14;

#[derive(Debug)]
struct TrivialAugment {
    mover: Mover,
}

impl TrivialAugment {
    fn operation(&self, number: u32, level: u32, random: &mut Draw, size: [usize; 2]) -> Option<Applied> {
        let share = f64::from(level) / f64::from(LEVELS - 1);
        let mut signed = |largest: f64| if random.coin() { -largest * share } else { largest * share };
        Some(match number {
            0 => return None,
            1 => self.mover.shear_x(signed(0.99)),
            2 => self.mover.shear_y(signed(0.99)),
            // torchvision moves by whole pixels.
            3 => self.mover.translate_x(signed(32.0).trunc()),
            4 => self.mover.translate_y(signed(32.0).trunc()),
            5 => self.mover.rotate(signed(135.0), size),
            6 => brightness((1.0 + signed(0.99)) as f32),
            7 => color((1.0 + signed(0.99)) as f32),
            8 => contrast((1.0 + signed(0.99)) as f32),
            9 => sharpness((1.0 + signed(0.99)) as f32),
            10 => posterize(8 - (6.0 * share).round_ties_even() as u32),
            11 => solarize((255.0 * (1.0 - share)).ceil() as u32),
            12 => auto_contrast(),
            _ => equalize(),
        })
    }
}

impl Operating for TrivialAugment {
    fn most(&self) -> usize {
        1
    }

    fn draw(&self, random: &mut Draw, size: [usize; 2]) -> Vec<Applied> {
        let (number, level) = (random.below(OPERATIONS), random.below(LEVELS));
        self.operation(number, level, random, size).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Draws, tests::operations_by};
    use super::*;

    #[test]
    fn operations_are_as_likely() {
        let mut counts = std::collections::HashMap::new();
        for operations in operations_by("trivial_augment", [32, 32]).take(14_000) {
            *counts.entry(operations[0].name()).or_insert(0) += 1;
        }
        for (name, count) in counts {
            let expected: i32 = if name == "move_nearest" { 5000 } else { 1000 };
            assert!(i32::abs(count - expected) < 110 + expected / 50, "{name}: {count}");
        }
    }

    #[test]
    fn arguments_are_those_of_torchvision() {
        let policy = TrivialAugment { mover: Mover { bilinear: false, fill: Some(0) } };
        let draws = Draws { seed: 1, epoch: 1, repeats: 1 };
        let of = |number, level| {
            let all: Vec<_> = (0..32)
                .filter_map(|index| policy.operation(number, level, &mut Draw::new(draws, [index, 0], 1, 0), [32, 32]))
                .collect();
            let other = all.iter().find(|one| **one != all[0]).copied();
            (all[0], other)
        };
        assert_eq!([0, 15, 30].map(|level| of(10, level).0), [posterize(8), posterize(5), posterize(2)]);
        assert_eq!([0, 15, 30].map(|level| of(11, level).0), [solarize(255), solarize(128), solarize(0)]);
        let either = |found: (Applied, Option<Applied>), expected: [Applied; 2]| {
            assert!(expected.contains(&found.0) && expected.contains(&found.1.unwrap()), "{found:?} {expected:?}");
        };
        either(of(3, 29), [policy.mover.translate_x(30.0), policy.mover.translate_x(-30.0)]);
        either(of(1, 30), [policy.mover.shear_x(0.99), policy.mover.shear_x(-0.99)]);
        either(of(5, 10), [policy.mover.rotate(45.0, [32, 32]), policy.mover.rotate(-45.0, [32, 32])]);
        either(of(6, 30), [brightness(1.99), brightness((1.0 - 0.99) as f32)]);
    }
}
