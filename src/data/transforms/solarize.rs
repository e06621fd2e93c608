use super::{
    Draw, Operating, Transform, TransformKind, TransformOption,
    bytes::{Applied, solarize},
};

/// torchvision's `RandomSolarize`.
pub const KIND: TransformKind = TransformKind {
    name: "solarize",
    meaning: "inverts the light levels of some images",
    source: "`torchvision.transforms.RandomSolarize`",
    options: &[
        TransformOption::number("probability", [0.0, 1.0], 0.1, "the share of images"),
        TransformOption::whole("threshold", [0, 256], 128, "bytes from this one on are inverted"),
    ],
    build: |options| {
        let (probability, threshold) = (options.number("probability"), options.whole("threshold"));
        Ok(Transform::Operating(Box::new(Solarize { probability, threshold })))
    },
};

#[derive(Debug)]
struct Solarize {
    probability: f32,
    threshold: u32,
}

impl Operating for Solarize {
    fn most(&self) -> usize {
        1
    }

    fn draw(&self, random: &mut Draw, _: [usize; 2]) -> Vec<Applied> {
        random.chance(self.probability).then(|| solarize(self.threshold)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::applied;

    #[test]
    fn light_levels_are_inverted() {
        let value = |byte: u8| (f32::from(byte) - 128.0) / 128.0;
        let image = [0, 99, 100, 255].map(value);
        assert_eq!(
            applied("solarize: { probability: 1, threshold: 100 }", [2, 2, 1], &image),
            [0, 99, 155, 0].map(value)
        );
        assert_eq!(applied("solarize: 0", [2, 2, 1], &image), image);
    }
}
