use super::{
    Draw, Operating, Transform, TransformKind, TransformOption,
    bytes::{Applied, color},
};

/// torchvision's `RandomGrayscale`.
pub const KIND: TransformKind = TransformKind {
    name: "grayscale",
    meaning: "makes some images grey",
    source: "`torchvision.transforms.RandomGrayscale`",
    options: &[TransformOption::number("probability", [0.0, 1.0], 0.1, "the share of images")],
    build: |options| Ok(Transform::Operating(Box::new(Grayscale { probability: options.number("probability") }))),
};

#[derive(Debug)]
struct Grayscale {
    probability: f32,
}

impl Operating for Grayscale {
    fn most(&self) -> usize {
        1
    }

    fn draw(&self, random: &mut Draw, _: [usize; 2]) -> Vec<Applied> {
        random.chance(self.probability).then(|| color(0.0)).into_iter().collect()
    }

    fn takes(&self, channels: usize) -> Result<(), String> {
        if channels == 1 { Err("the images are grey".into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        bytes::color,
        tests::{applied, operations_by},
    };

    #[test]
    fn some_become_grey() {
        let grey = |operations: &Vec<_>| operations[0] == color(0.0);
        let count = operations_by("grayscale: 0.25", [4, 4]).take(4000).filter(grey).count();
        assert!((900..1100).contains(&count), "{count}");
        // Bytes 10, 20 and 250 of red, green and blue.
        let image = [10.0_f32, 20.0, 250.0].map(|byte| (byte - 128.0) / 128.0);
        let level = (10 * 19_595 + 20 * 38_470 + 250 * 7_471 + 0x8000) >> 16;
        assert_eq!(applied("grayscale: 1", [1, 1, 3], &image), [(level as f32 - 128.0) / 128.0; 3]);
    }
}
