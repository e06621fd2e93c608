use super::{Draw, Mirror, Transform, TransformKind, TransformOption};

/// Keras' `RandomFlip`.
pub const KIND: TransformKind = TransformKind {
    name: "random_flip",
    meaning: "turns every other image left to right, upside down, or either way",
    source: "`keras.layers.RandomFlip`",
    options: &[TransformOption::word(
        "mode",
        &["horizontal", "vertical", "horizontal_and_vertical"],
        "horizontal",
        "left to right, upside down, or each half of the time",
    )],
    build: |options| {
        let mode = options.word("mode");
        Ok(Transform::Mirror(Box::new(RandomFlip { ways: [mode != "horizontal", mode != "vertical"] })))
    },
};

#[derive(Debug)]
struct RandomFlip {
    /// Vertical, horizontal.
    ways: [bool; 2],
}

impl Mirror for RandomFlip {
    fn draw(&self, random: &mut Draw) -> [bool; 2] {
        self.ways.map(|way| way && random.coin())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawn_by;

    #[test]
    fn half_of_the_images_each_way() {
        for (mode, expected) in [
            ("random_flip", [0.0, 0.5]),
            ("random_flip: vertical", [0.5, 0.0]),
            ("random_flip: horizontal_and_vertical", [0.5, 0.5]),
        ] {
            let mut counts = [0.0; 2];
            for matrix in drawn_by(mode, [3, 5]).take(4000) {
                // x comes from 4 - x where left and right change places, y from 2 - y.
                assert!(
                    matrix == [[matrix[0][0], 0.0, 2.0 - 2.0 * matrix[0][0]], [0.0, matrix[1][1], 1.0 - matrix[1][1]]]
                );
                counts[0] += f32::from(matrix[1][1] < 0.0) / 4000.0;
                counts[1] += f32::from(matrix[0][0] < 0.0) / 4000.0;
            }
            for (count, expected) in counts.iter().zip(expected) {
                assert!((count - expected).abs() < 0.03 * f32::from(expected > 0.0) + 1e-9, "{mode} {counts:?}");
            }
        }
    }
}
