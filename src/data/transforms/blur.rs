use super::{
    Draw, Operating, Transform, TransformKind, TransformOption,
    bytes::{Applied, blur},
};

/// DeiT's `GaussianBlur`.
pub const KIND: TransformKind = TransformKind {
    name: "blur",
    meaning: "blurs some images",
    source: "Pillow's `ImageFilter.GaussianBlur`",
    options: &[
        TransformOption::number("probability", [0.0, 1.0], 0.1, "the share of images"),
        TransformOption::interval("radius", [0.0, 100.0], [0.1, 2.0], "the standard deviation, in pixels"),
    ],
    build: |options| {
        let (probability, radius) = (options.number("probability"), options.interval("radius"));
        Ok(Transform::Operating(Box::new(Blur { probability, radius })))
    },
};

#[derive(Debug)]
struct Blur {
    probability: f32,
    radius: [f32; 2],
}

impl Operating for Blur {
    fn most(&self) -> usize {
        1
    }

    fn draw(&self, random: &mut Draw, _: [usize; 2]) -> Vec<Applied> {
        random.chance(self.probability).then(|| blur(random.within(self.radius))).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{applied, operations_by};

    #[test]
    fn some_are_blurred() {
        let blurred = |operations: &Vec<super::Applied>| operations[0].name() == "blur";
        let count = operations_by("blur: 0.25", [4, 4]).take(4000).filter(blurred).count();
        assert!((900..1100).contains(&count), "{count}");
        let mut image = [-1.0; 81];
        image[40] = 0.984_375;
        let image = applied("blur: { probability: 1, radius: [1, 1] }", [9, 9, 1], &image);
        assert!(image[40] < -0.6 && image[40] > image[41] && image[41] > image[42] && image[42] > -1.0);
        assert_eq!([image[41], image[31], image[49]], [image[39]; 3]);
    }
}
