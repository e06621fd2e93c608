use super::{Affine, Draw, FILL_MODE, Fill, Geometric, Transform, TransformKind, TransformOption, fill_mode};

/// Keras' `RandomTranslation`.
pub const KIND: TransformKind = TransformKind {
    name: "random_translation",
    meaning: "moves images up or down and to a side",
    source: "`keras.layers.RandomTranslation`",
    options: &[
        TransformOption::factor("height_factor", [-1.0, 1.0], 0.1, "how far down, as a fraction of the height"),
        TransformOption::factor(
            "width_factor",
            [-1.0, 1.0],
            0.1,
            "how far right; without it, in the range of the height",
        )
        .optional(),
        FILL_MODE,
    ],
    build: |options| {
        let height = options.factor("height_factor").unwrap_or_default();
        let width = options.factor("width_factor").unwrap_or(height);
        Ok(Transform::Geometric(Box::new(RandomTranslation { height, width, fill: fill_mode(options) })))
    },
};

#[derive(Debug)]
struct RandomTranslation {
    height: [f32; 2],
    width: [f32; 2],
    fill: Fill,
}

impl Geometric for RandomTranslation {
    fn fill(&self) -> Fill {
        self.fill
    }

    fn draw(&self, random: &mut Draw, [height, width]: [usize; 2]) -> Affine {
        let (down, right) = (random.within(self.height) * height as f32, random.within(self.width) * width as f32);
        [[1.0, 0.0, -right], [0.0, 1.0, -down]]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{applied, drawn_by};

    #[test]
    fn down_and_right_are_positive() {
        let image: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let moved = |options: &str| {
            applied(&format!("random_translation: {{ fill_mode: constant, {options} }}"), [3, 4, 1], &image)
        };
        let down = moved("height_factor: [1, 1], width_factor: 0");
        assert_eq!(down, [0.0; 12]);
        let right = moved("height_factor: 0, width_factor: [0.25, 0.25]");
        assert_eq!(right, [0.0, 0.0, 1.0, 2.0, 0.0, 4.0, 5.0, 6.0, 0.0, 8.0, 9.0, 10.0]);
    }

    #[test]
    fn both_are_drawn_by_themselves() {
        let drawn: Vec<_> = drawn_by("random_translation: 0.5", [10, 20]).take(1000).collect();
        assert!(drawn.iter().all(|[[.., x], [.., y]]| x.abs() <= 10.0 && y.abs() <= 5.0 && x != y));
        let product: f32 = drawn.iter().map(|[[.., x], [.., y]]| x * y / 50.0).sum::<f32>() / 1000.0;
        assert!(product.abs() < 0.04, "{product}");
        let most = drawn.iter().fold(0.0_f32, |most, [[.., x], _]| most.max(x.abs()));
        assert!(most > 9.9, "{most}");
    }
}
