use super::{
    Draw, INTERPOLATION, Operating, Transform, TransformKind, TransformOption,
    bytes::{
        Applied, Mover, auto_contrast, brightness, color, contrast, equalize, invert, posterize, sharpness, solarize,
        solarize_add,
    },
};

/// Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space", 2020, as timm has it.
pub const KIND: TransformKind = TransformKind {
    name: "rand_augment",
    meaning: "applies some of fifteen operations on colours and positions, all about as strongly",
    source: "timm's `rand-m9-mstd0.5-inc1`",
    options: &[
        TransformOption::number("magnitude", [0.0, 10.0], 9.0, "how strong operations are"),
        TransformOption::whole("layers", [1, 8], 2, "how many operations are drawn, with repetition"),
        TransformOption::number("deviation", [0.0, 10.0], 0.5, "the standard deviation of the magnitude"),
        TransformOption::number("probability", [0.0, 1.0], 0.5, "that a drawn operation is applied"),
        INTERPOLATION,
    ],
    build: |options| {
        Ok(Transform::Operating(Box::new(RandAugment {
            magnitude: options.number("magnitude").into(),
            layers: options.whole("layers") as usize,
            deviation: options.number("deviation").into(),
            probability: options.number("probability"),
            mover: Mover { bilinear: options.word("interpolation") == "bilinear", fill: None },
        })))
    },
};

/// The largest magnitude.
const LARGEST: f64 = 10.0;

const OPERATIONS: u32 = 15;

#[derive(Debug)]
struct RandAugment {
    magnitude: f64,
    layers: usize,
    deviation: f64,
    probability: f32,
    mover: Mover,
}

impl RandAugment {
    /// An operation at a strength from 0 to 1.
    fn operation(&self, number: u32, strength: f64, random: &mut Draw, [height, width]: [usize; 2]) -> Applied {
        let mut signed = |value: f64| if random.coin() { -value } else { value };
        let factor = |change: f64| (1.0 + change).max(0.1) as f32;
        match number {
            0 => auto_contrast(),
            1 => equalize(),
            2 => invert(),
            3 => self.mover.rotate(signed(30.0 * strength), [height, width]),
            4 => posterize(4 - (4.0 * strength) as u32),
            5 => solarize(256 - (256.0 * strength) as u32),
            6 => solarize_add((110.0 * strength) as u32),
            7 => color(factor(signed(0.9 * strength))),
            8 => contrast(factor(signed(0.9 * strength))),
            9 => brightness(factor(signed(0.9 * strength))),
            10 => sharpness(factor(signed(0.9 * strength))),
            11 => self.mover.shear_x(signed(0.3 * strength)),
            12 => self.mover.shear_y(signed(0.3 * strength)),
            13 => self.mover.translate_x(signed(0.45 * strength) * width as f64),
            _ => self.mover.translate_y(signed(0.45 * strength) * height as f64),
        }
    }
}

impl Operating for RandAugment {
    fn most(&self) -> usize {
        self.layers
    }

    fn draw(&self, random: &mut Draw, size: [usize; 2]) -> Vec<Applied> {
        let numbers: Vec<u32> = (0..self.layers).map(|_| random.below(OPERATIONS)).collect();
        let mut applied = Vec::with_capacity(self.layers);
        for number in numbers {
            if !random.chance(self.probability) {
                continue;
            }
            let off = if self.deviation > 0.0 { self.deviation * random.normal() } else { 0.0 };
            let strength = (self.magnitude + off).clamp(0.0, LARGEST) / LARGEST;
            applied.push(self.operation(number, strength, random, size));
        }
        applied
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::operations_by;
    use super::*;

    #[test]
    fn operations_are_as_likely_and_half_of_them_applied() {
        let mut counts = std::collections::HashMap::new();
        let all = operations_by("rand_augment", [32, 32]).take(15_000);
        let mut none = 0;
        for operations in all {
            none += usize::from(operations.iter().all(|operation| operation.name() == "identity"));
            for operation in operations {
                *counts.entry(operation.name()).or_insert(0) += 1;
            }
        }
        assert!((3600..3900).contains(&none), "{none}");
        // Of 15,000 that are applied, five are moves.
        for (name, count) in counts {
            let expected: i32 = match name {
                "identity" => 15_000,
                "move_bilinear" => 5000,
                _ => 1000,
            };
            assert!(i32::abs(count - expected) < 110 + expected / 50, "{name}: {count}");
        }
    }

    #[test]
    fn arguments_are_those_of_timm() {
        let policy = |magnitude| RandAugment {
            magnitude,
            layers: 2,
            deviation: 0.0,
            probability: 1.0,
            mover: Mover { bilinear: true, fill: None },
        };
        let of = |magnitude: f64, number| {
            let policy = policy(magnitude);
            let mut all: Vec<Applied> = Vec::new();
            for index in 0..32 {
                let mut random = Draw::new(super::super::Draws { seed: 1, epoch: 1, repeats: 1 }, [index, 0], 1, 0);
                let operation = policy.operation(number, magnitude / LARGEST, &mut random, [32, 16]);
                if !all.contains(&operation) {
                    all.push(operation);
                }
            }
            all
        };
        assert_eq!(of(9.0, 4), [posterize(1)]);
        assert_eq!(of(9.0, 5), [solarize(26)]);
        assert_eq!(of(9.0, 6), [solarize_add(99)]);
        assert_eq!(of(10.0, 4), [posterize(0)]);
        assert_eq!(of(10.0, 5), [solarize(0)]);
        let mover = Mover { bilinear: true, fill: None };
        let both = |found: Vec<Applied>, expected: [Applied; 2]| {
            assert!(found.len() == 2 && expected.iter().all(|one| found.contains(one)), "{found:?} {expected:?}");
        };
        both(of(9.0, 7), [1.0, -1.0].map(|sign: f64| color((1.0 + sign * 0.9 * 0.9) as f32)));
        both(of(10.0, 10), [sharpness(1.9), sharpness(0.1)]);
        both(of(10.0, 3), [mover.rotate(30.0, [32, 16]), mover.rotate(-30.0, [32, 16])]);
        both(of(10.0, 11), [mover.shear_x(0.3), mover.shear_x(-0.3)]);
        both(of(10.0, 13), [mover.translate_x(7.2), mover.translate_x(-7.2)]);
        both(of(10.0, 14), [mover.translate_y(14.4), mover.translate_y(-14.4)]);
    }
}
