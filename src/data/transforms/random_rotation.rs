use std::f32::consts::TAU;

use super::{Affine, Draw, FILL_MODE, Fill, Geometric, Transform, TransformKind, TransformOption, fill_mode};

/// Keras' `RandomRotation`.
pub const KIND: TransformKind = TransformKind {
    name: "random_rotation",
    meaning: "turns images about their centre",
    source: "`keras.layers.RandomRotation`",
    options: &[
        TransformOption::factor("factor", [-1.0, 1.0], 0.1, "the angle as a fraction of a full turn, counterclockwise"),
        FILL_MODE,
    ],
    build: |options| {
        let factor = options.factor("factor").unwrap_or_default();
        Ok(Transform::Geometric(Box::new(RandomRotation::new(factor, fill_mode(options)))))
    },
};

/// A turn about the centre of the pixel grid.
#[derive(Debug)]
pub(super) struct RandomRotation {
    /// In radians, counterclockwise.
    angle: [f32; 2],
    fill: Fill,
}

impl RandomRotation {
    /// By a fraction of a turn.
    pub fn new(factor: [f32; 2], fill: Fill) -> Self {
        Self { angle: factor.map(|end| TAU * end), fill }
    }
}

impl Geometric for RandomRotation {
    fn fill(&self) -> Fill {
        self.fill
    }

    fn draw(&self, random: &mut Draw, [height, width]: [usize; 2]) -> Affine {
        let (sin, cos) = random.within(self.angle).sin_cos();
        let (right, bottom) = ((width - 1) as f32, (height - 1) as f32);
        [
            [cos, -sin, (right - (cos * right - sin * bottom)) / 2.0],
            [sin, cos, (bottom - (sin * right + cos * bottom)) / 2.0],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{applied, drawn_by};

    #[test]
    fn a_quarter_turn_moves_every_pixel_counterclockwise() {
        let image: Vec<f32> = (0..9).map(|value| value as f32).collect();
        let turned = applied("random_rotation: [0.25, 0.25]", [3, 3, 1], &image);
        let expected = [2.0, 5.0, 8.0, 1.0, 4.0, 7.0, 0.0, 3.0, 6.0];
        for (value, expected) in turned.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-5, "{turned:?}");
        }
    }

    #[test]
    fn angles_fill_the_range_about_the_centre() {
        let angles: Vec<f32> = drawn_by("random_rotation: [-0.05, 0.2]", [5, 9])
            .take(2000)
            .map(|[[cos, minus_sin, x], [_, _, y]]| {
                let fixed = |a: f32, b: f32, c: f32| a * 4.0 + b * 2.0 + c;
                assert!(
                    (fixed(cos, minus_sin, x) - 4.0).abs() < 1e-5 && (fixed(-minus_sin, cos, y) - 2.0).abs() < 1e-5
                );
                (-minus_sin).atan2(cos) / std::f32::consts::TAU
            })
            .collect();
        assert!(angles.iter().all(|angle| (-0.0501..0.2001).contains(angle)));
        let mean = angles.iter().sum::<f32>() / 2000.0;
        assert!((mean - 0.075).abs() < 0.006, "{mean}");
    }
}
