use super::{Affine, Draw, FILL_MODE, Fill, Geometric, Transform, TransformKind, TransformOption, fill_mode};

/// Keras' `RandomZoom`.
pub const KIND: TransformKind = TransformKind {
    name: "random_zoom",
    meaning: "shows less or more of the scene",
    source: "`keras.layers.RandomZoom`",
    options: &[
        TransformOption::factor(
            "height_factor",
            [-1.0, 10.0],
            0.2,
            "how much more of the height is seen; less below 0",
        )
        .exclusive(),
        TransformOption::factor("width_factor", [-1.0, 10.0], 0.2, "the same of the width; without it, as the height")
            .exclusive()
            .optional(),
        FILL_MODE,
    ],
    build: |options| {
        let height = options.factor("height_factor").unwrap_or_default();
        Ok(Transform::Geometric(Box::new(RandomZoom {
            height,
            width: options.factor("width_factor"),
            fill: fill_mode(options),
        })))
    },
};

/// A change of scale about the centre of the pixel grid.
#[derive(Debug)]
pub(super) struct RandomZoom {
    pub height: [f32; 2],
    /// Drawn by itself; `None` keeps the ratio of height and width.
    pub width: Option<[f32; 2]>,
    pub fill: Fill,
}

impl Geometric for RandomZoom {
    fn fill(&self) -> Fill {
        self.fill
    }

    fn draw(&self, random: &mut Draw, [height, width]: [usize; 2]) -> Affine {
        let vertical = 1.0 + random.within(self.height);
        let horizontal = self.width.map_or(vertical, |range| 1.0 + random.within(range));
        [
            [horizontal, 0.0, (width - 1) as f32 / 2.0 * (1.0 - horizontal)],
            [0.0, vertical, (height - 1) as f32 / 2.0 * (1.0 - vertical)],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{applied, drawn_by};

    #[test]
    fn a_zoom_by_two_samples_every_second_pixel_and_its_reflection() {
        let zoom = "random_zoom: { height_factor: 0, width_factor: [1, 1] }";
        // Positions -1.5, 0.5, 2.5, 4.5: halfway between (1, 0), (0, 1), (2, 3), (3, 2).
        assert_eq!(applied(zoom, [1, 4, 1], &[0.0, 1.0, 2.0, 3.0]), [0.5, 0.5, 2.5, 2.5]);
    }

    #[test]
    fn the_ratio_is_kept_unless_both_are_given() {
        assert!(drawn_by("random_zoom: 0.3", [8, 8]).take(100).all(|[[x, ..], [_, y, _]]| x == y));
        let both: Vec<_> =
            drawn_by("random_zoom: { height_factor: 0.3, width_factor: [-0.5, 0] }", [8, 8]).take(1000).collect();
        assert!(both.iter().all(|[[x, ..], [_, y, _]]| (0.5..=1.0).contains(x) && (0.7..=1.3).contains(y)));
        let spread = |of: fn(&[[f32; 3]; 2]) -> f32| {
            both.iter().map(of).fold([f32::MAX, f32::MIN], |[low, high], value| [low.min(value), high.max(value)])
        };
        let ([low, high], [top, bottom]) = (spread(|matrix| matrix[0][0]), spread(|matrix| matrix[1][1]));
        assert!(low < 0.51 && high > 0.99 && top < 0.71 && bottom > 1.29);
    }
}
